"""Image files in folders: ``<path>/<domain>/<class>/<image>``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from fedlab import rng
from fedlab.data.class_names import normal, refuse_spellings
from fedlab.data.given_split import refuse_idle_share
from fedlab.data.image_tree import SPLITS, Folder, Tree, find
from fedlab.data.owners import OwnerSplit, numbered, owned, refuse_constant, refuse_spanning
from fedlab.data.picture import Picture
from fedlab.data.picture_source import PictureSource, picture_remarks
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.data.stratify import split_domain
from fedlab.errors import InputError

log = logging.getLogger("fedlab")


class ImageFolder(PictureSource):
    """Photographs in folders, a folder for each domain and in it one for each class.

    A domain's folder may instead hold the two folders ``train`` and ``test`` with the class
    folders in them; the split is then theirs. The classes are those of all domains together,
    sorted by name. Every format that Pillow decodes by itself is read, and what is left out is
    counted. Images are decoded once, in threads, and kept in the cache.

    Attributes:
        path: The folder of the domains; with `domain`, the folder of that one domain.
        domains: The domains to read, by the names of their folders; all by default.
        test_share: Share of the samples that become the test split, stratified by class.
        owners: Whether there is a level of owners (writers, patients) between domains and classes:
            ``<path>/<domain>/<owner>/<class>/<image>``.
        split: With owners and without `train` and `test` folders: ``within_owners`` splits each
            owner's images, ``by_owner`` draws owners all of whose images are tested.
    """

    name: Literal["image_folder"] = "image_folder"
    cached: ClassVar[bool] = True
    version: ClassVar[int] = 2
    path: Path
    domains: tuple[str, ...] | None = Field(default=None, min_length=1)
    test_share: float = Field(default=0.2, gt=0, lt=1)
    owners: bool = False
    split: OwnerSplit = "within_owners"

    @field_validator("domains")
    @classmethod
    def _in_normal_form(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return names and tuple(map(normal, names))

    @model_validator(mode="after")
    def _domain_or_domains(self) -> ImageFolder:
        if self.domain and self.domains:
            raise ValueError("domain makes path the folder of one domain; leave out domains")
        if self.split == "by_owner" and not self.owners:
            raise ValueError("split: by_owner needs owners: true, and a level of folders for them")
        return self

    def reads(self, context: LoadContext) -> Sequence[Path]:
        """All image files.

        Raises:
            InputError: As `load`, except that files are not decoded.
        """
        return self._tree(context).files()

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`."""
        return self._made_names(list(self._tree(context).folders))

    def remarks(self, context: LoadContext) -> Sequence[str]:
        """What is left out, by domain and reason."""
        tree = self._tree(context)
        if system := sum(left.system for left in tree.left_out.values()):
            log.info("%s.path: skipped %d hidden or system files", context.key, system)
        return tree.remarks(f"{context.key}.path")

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Decodes all images.

        Raises:
            InputError: If a folder is missing or empty, or an image cannot be decoded.
        """
        found = self._tree(context).folders
        if all(len(folders) == len(SPLITS) for folders in found.values()):
            refuse_idle_share(self, "folders test", context)
        class_names = sorted(
            {name for own in found.values() for each in own for name in each.images}
        )
        refuse_spellings(class_names, f"{context.key}.path: there are class folders")
        domains = [
            self._domain(name, folders, class_names, context) for name, folders in found.items()
        ]
        if self.owners:
            names = [each for domain in domains for each in domain.owner_names]
            refuse_constant(names, f"{context.key}.owners", context)
        if self.split == "by_owner":
            refuse_spanning(domains, f"{context.key}.split: by_owner")
        return domains

    def _domain(
        self, name: str, folders: list[Folder], class_names: list[str], context: LoadContext
    ) -> Domain:
        """One domain of its folder, or of those of its splits."""
        decoded = [self._decode(folder, class_names, context) for folder in folders]
        where = f"{context.key}.path: domain '{name}'"
        remarks = picture_remarks([each for _, _, own in decoded for each in own], where)
        splits = [(images, labels) for images, labels, _ in decoded]
        cells = [owner for folder in folders for owner in folder.owners]
        owners = numbered(cells, where) if self.owners else None
        if len(splits) < len(SPLITS):
            dealing = rng.generator(context.seed, "split", name)
            return split_domain(
                name, *splits[0], tuple(class_names), self.test_share, dealing, owners, self.split
            ).with_remarks(remarks)
        if self.split == "by_owner" and not context.single_client:
            raise InputError(
                f"{where} has the folders train and test, so that there is nothing to split "
                "by_owner; leave split out"
            )
        domain = Domain(name, *splits[0], *splits[1], tuple(class_names), tuple(remarks))
        return owned(domain, owners)

    def _tree(self, context: LoadContext) -> Tree:
        place = context.locate(self.path)
        return find(place, self.domain, self.domains, context.key, self.owners)

    def _decode(
        self, folder: Folder, class_names: list[str], context: LoadContext
    ) -> tuple[np.ndarray, np.ndarray, list[Picture]]:
        """Images uint8 (n, channels, size, size), labels int64 (n,), and what was read, bare."""
        paths = [path for paths in folder.images.values() for path in paths]
        sizes = [len(paths) for paths in folder.images.values()]
        labels = np.repeat([class_names.index(name) for name in folder.images], sizes)
        where = f"{context.key}.path: the {len(paths):,} images of '{folder.path}'"
        called = f"{context.key}.path: the image '{{}}'"
        images, bare = self.decoded(paths, lambda i: called.format(paths[i]), context, where)
        return images, labels.astype(np.int64), bare
