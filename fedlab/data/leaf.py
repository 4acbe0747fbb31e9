"""LEAF's JSON files: samples by user.

Caldas et al., "LEAF: A Benchmark for Federated Settings", 2018, arXiv 1812.01097: a file is
``{"users": [...], "num_samples": [...], "user_data": {user: {"x": [...], "y": [...]}}}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from fedlab import rng
from fedlab.data.array_labels import classes, texts
from fedlab.data.class_names import normal
from fedlab.data.given_split import refuse_idle_share
from fedlab.data.image_source import ImageSource
from fedlab.data.leaf_users import User, refuse_other_lengths, users_of
from fedlab.data.owners import OwnerSplit, numbered, owned, refuse_constant
from fedlab.data.resize import conform
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.data.stored_numbers import stored
from fedlab.data.stratify import split_domain
from fedlab.errors import InputError

SPLITS = ("train", "test")


class Leaf(ImageSource):
    """Files that LEAF's ``preprocess.sh`` writes; each user is an owner.

    Numbers are features, or with `shape` images; a user's text samples need a subclass that says
    with `encode` which token ids they are.

    Attributes:
        path: The folder of the files; with folders ``train`` and ``test`` in it, the split is
            theirs (after ``-t user`` test users are others, which are new clients).
        shape: Shape of an image, (height, width), with 1 or 3 channels before or behind.
        invert: Whether 1 is black in the files, as nothing is in FEMNIST, whose paper is 1: with
            this, strokes are light on black as in MNIST.
        test_share: Share of the samples that become the test split, where there are no such
            folders.
        split: Whether each user's samples are then split, or user by user.
        class_names: Names of the classes; by default the labels themselves.
    """

    cached: ClassVar[bool] = True
    name: Literal["leaf"] = "leaf"
    path: Path
    shape: tuple[PositiveInt, ...] | None = Field(default=None, min_length=2, max_length=3)
    invert: bool = False
    test_share: float = Field(default=0.2, gt=0, lt=1)
    split: OwnerSplit = "within_owners"
    class_names: tuple[str, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _inverts_images(self) -> Leaf:
        if self.invert and self.shape is None:
            raise ValueError("invert is of images; give their shape, or leave it out")
        return self

    def encode(self, samples: Sequence[str], context: LoadContext) -> np.ndarray:
        """Token ids of texts, int64 of shape (n, length); for subclasses.

        A subclass that is named by its path needs ``name: str``, too.

        Raises:
            InputError: Always, here.
        """
        raise InputError(
            f"{context.key}.path: the samples are texts ('{samples[0][:30]}'), and what their "
            "token ids are is not said; name a subclass of fedlab.data.leaf:Leaf with a method "
            "encode(samples, context) in place of leaf"
        )

    def reads(self, context: LoadContext) -> Sequence[Path]:
        """All files.

        Raises:
            InputError: If there are none.
        """
        return [path for paths in self._files(context).values() for path in paths]

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`."""
        self._files(context)
        return self._made_names([self._domain_name(context)])

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads all files.

        Raises:
            InputError: If a file is missing or not of LEAF's form, or samples are not all alike.
        """
        read = {
            split: [user for path in paths for user in users_of(path, context)]
            for split, paths in self._files(context).items()
        }
        if "test" in read:
            refuse_idle_share(self, "folder test", context)
        if any(not users for users in read.values()):
            raise InputError(f"{context.key}.path: the files of a split name no user with samples")
        where = f"{context.key}.path: the labels"
        labels = {
            split: texts(_labels([y for user in users for y in user.y], where), where)
            for split, users in read.items()
        }
        numbering, class_names, remarks = classes(
            list(labels.values()), self.class_names, context.key, remedy="correct y in the files"
        )
        inputs = self._inputs(read, context)
        names = [user.name for users in read.values() for user in users for _ in user.y]
        owners = numbered(names, f"{context.key}.path: the list of users")
        refuse_constant(owners.names, f"{context.key}.path", context)
        name, train = self._domain_name(context), numbering(labels["train"])
        if "test" not in read:
            dealing = rng.generator(context.seed, "split", name)
            domain = split_domain(
                name,
                inputs["train"],
                train,
                class_names,
                self.test_share,
                dealing,
                owners,
                self.split,
            )
        elif self.split == "by_owner" and not context.single_client:
            raise InputError(
                f"{context.key}.split: by_owner has nothing to split where the files are in "
                "train and test; leave it out"
            )
        else:
            test = numbering(labels["test"])
            splits = (inputs["train"], train, inputs["test"], test)
            domain = owned(Domain(name, *splits, class_names), owners)
        return [domain.with_remarks(remarks)]

    def _domain_name(self, context: LoadContext) -> str:
        return self.domain or normal(context.locate(self.path).name)

    def _files(self, context: LoadContext) -> dict[str, list[Path]]:
        """The files of each split; all are of ``train`` where there are no folders for splits."""
        folder = context.locate(self.path)
        found = {s: sorted((folder / s).glob("*.json")) for s in SPLITS if (folder / s).is_dir()}
        if not found:
            found = {"train": sorted(folder.glob("*.json"))}
        for split, paths in found.items():
            if not paths:
                raise InputError(
                    f"{context.key}.path: there is no .json file in '{folder}' (or its folder "
                    f"{split}); name the folder that LEAF's preprocess.sh has written"
                )
            for path in paths:
                context.limits.check_file(path, f"{context.key}.path: '{path}'")
        if "train" not in found:
            raise InputError(f"{context.key}.path: '{folder}' has test files and no train files")
        return found

    def _inputs(self, read: dict[str, list[User]], context: LoadContext) -> dict[str, np.ndarray]:
        """Images, features or token ids of each split."""
        samples = {split: [x for user in users for x in user.x] for split, users in read.items()}
        where = f"{context.key}.path: the samples"
        are_texts = {isinstance(each, str) for own in samples.values() for each in own}
        if len(are_texts) > 1:
            raise InputError(
                f"{where} are texts and lists of numbers; all must be of one kind: correct x in "
                "the files"
            )
        if True in are_texts:
            if self.shape is not None:
                raise InputError(
                    f"{context.key}.shape is of images, and the samples are texts; leave it out"
                )
            return {split: self.encode(own, context) for split, own in samples.items()}
        arrays: dict[str, np.ndarray] = {}
        for split, own in samples.items():
            try:
                arrays[split] = np.array(own)
                if arrays[split][0].size != arrays["train"][0].size:
                    raise ValueError("those of the test files from those of the train files")
            except ValueError as error:
                refuse_other_lengths([user for users in read.values() for user in users])
                raise InputError(
                    f"{where} differ in length ({error}); all must have as many numbers"
                ) from error
            if arrays[split].dtype.kind not in "iuf" or arrays[split].ndim < 2:
                raise InputError(
                    f"{where} are no lists of numbers of one length; all must have as many numbers"
                )
        if self.shape is not None:
            whole = all(own.dtype.kind in "iu" for own in arrays.values())
            if whole and max(own.max() for own in arrays.values()) == 1:
                raise InputError(
                    f"{where} are the whole numbers 0 and 1, and whole numbers of images go to "
                    "255; write 0.0 and 1.0, or multiply them"
                )
            kind = np.int64 if whole else np.float64
            return {s: self._images(own.astype(kind), where, context) for s, own in arrays.items()}
        flat = [own.reshape(len(own), -1) for own in arrays.values()]
        if all(own.dtype.kind in "iu" for own in flat):
            return {s: own.astype(np.int64) for s, own in zip(arrays, flat, strict=True)}
        return dict(zip(arrays, stored([own.astype(np.float64) for own in flat]), strict=True))

    def _images(self, numbers: np.ndarray, where: str, context: LoadContext) -> np.ndarray:
        """Numbers in 0 to 1 (or bytes) as uint8 images of the scenario's shape."""
        shape = cast("tuple[int, ...]", self.shape)
        if numbers[0].size != np.prod(shape):
            raise InputError(
                f"{where} have {numbers[0].size} numbers, which is not {context.key}.shape "
                f"{list(shape)}; correct it"
            )
        whole = numbers.dtype.kind in "iu"
        most = 255 if whole else 1
        if numbers.min() < 0 or numbers.max() > most:
            raise InputError(
                f"{where} lie in {numbers.min():g} to {numbers.max():g}, and images in 0 to "
                f"{most}; leave shape out if they are features"
            )
        images = numbers.reshape(len(numbers), *shape)
        images = (images if whole else np.rint(255 * images)).astype(np.uint8)
        images = 255 - images if self.invert else images
        if images.ndim == 3:
            images = images[:, None]
        elif images.shape[1] not in (1, 3):
            images = images.transpose(0, 3, 1, 2)
        if images.shape[1] not in (1, 3):
            raise InputError(f"{context.key}.shape {list(shape)} has not 1 or 3 channels")
        made = (len(images), context.channels, context.image_size, context.image_size)
        context.limits.check_array(made, 1, where)
        return conform(images, context.channels, context.image_size)


def _labels(labels: list[Any], where: str) -> np.ndarray:
    """Labels in an array: whole numbers, or text."""
    array = np.array(labels)
    if array.ndim != 1:
        raise InputError(f"{where} are lists; a sample has one label, a whole number or a text")
    return array
