"""Sources of ``.npy`` files, one array each, which are mapped and never read as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from fedlab.data.array_labels import classes
from fedlab.data.array_targets import columns, reader
from fedlab.data.class_names import normal
from fedlab.data.given_split import refuse_shared_files
from fedlab.data.owned_arrays import concatenated
from fedlab.data.owners import numbered, owned, refuse_constant
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.errors import InputError
from fedlab.targets.base import CLASS, EVERY


class Npy(Source):
    """Arrays saved with ``numpy.save``, each in its file; one domain, which may exceed the memory.

    Samples stay in their file as they are: uint8 images of the scenario's size, (n, channels,
    height, width), or numbers of shape (n, features), int64, float32 or float64. Labels and owners
    are read. The files must not be written to during a run. Where a run is on a cluster of other
    machines (``resources.address``), samples are read into memory.

    Attributes:
        domain: Name of the domain; by default that of the folder of `x_train`.
        x_train: File of the training inputs.
        y_train: File of the training labels.
        x_test: File of the test inputs.
        y_test: File of the test labels.
        owner_train: File of the owners of the training samples: text or whole numbers.
        owner_test: File of those of the test samples.
        class_names: Names of the classes; by default the labels themselves. Of another
            `data.target`, whose labels have the shape (n, columns), names of the columns.
    """

    targets: ClassVar[frozenset[str]] = EVERY
    name: Literal["npy"] = "npy"
    domain: str | None = Field(default=None, min_length=1)
    x_train: Path
    y_train: Path
    x_test: Path
    y_test: Path
    owner_train: Path | None = None
    owner_test: Path | None = None
    class_names: tuple[str, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _both_or_none(self) -> Npy:
        if (self.owner_train is None) != (self.owner_test is None):
            raise ValueError("owner_train and owner_test go together; name both files, or none")
        return self

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`."""
        for key in ("x_train", "y_train", "x_test", "y_test", "owner_train", "owner_test"):
            if getattr(self, key) is not None:
                path = context.locate(getattr(self, key))
                context.limits.check_file(path, f"{context.key}.{key}: '{path}'")
        inputs = {key: [context.locate(getattr(self, key))] for key in ("x_train", "x_test")}
        refuse_shared_files(inputs, context.key)
        return [self._name(context)]

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Maps the inputs and reads labels and owners.

        Raises:
            InputError: If a file is missing or no array, or arrays do not fit together.
        """
        self.names(context)
        inputs = [self._mapped(key, context) for key in ("x_train", "x_test")]
        arrays = [self._mapped(key, context) for key in ("y_train", "y_test")]
        labels: list[Any] = [
            reader(context)(np.array(own), f"{context.key}.y_{split}")
            for own, split in zip(arrays, ("train", "test"), strict=True)
        ]
        for own, given, split in zip(inputs, labels, ("train", "test"), strict=True):
            if len(own) != len(given):
                raise InputError(
                    f"{context.key}.y_{split} has {len(given)} labels and x_{split} {len(own)} "
                    "samples; save one label for each sample"
                )
        if context.target.kind == CLASS:
            numbering, class_names, remarks = classes(labels, self.class_names, context.key)
        else:
            numbering, class_names, remarks = columns(labels, self.class_names, context)
        train, test = (numbering(own) for own in labels)
        domain = Domain(
            self._name(context), inputs[0], train, inputs[1], test, class_names, tuple(remarks)
        )
        if self.owner_train is None:
            return [domain]
        found = [np.array(self._mapped(key, context)) for key in ("owner_train", "owner_test")]
        for own, given, split in zip(found, labels, ("train", "test"), strict=True):
            if own.shape != (len(given),):
                raise InputError(
                    f"{context.key}.owner_{split} has the shape {own.shape}, and there are "
                    f"{len(given)} samples; save one owner for each"
                )
        trained, tested = f"{context.key}.owner_train", f"{context.key}.owner_test"
        both = concatenated({trained: found[0], tested: found[1]})
        owners = numbered(both, trained)
        refuse_constant(owners.names, trained, context)
        return [owned(domain, owners)]

    def _name(self, context: LoadContext) -> str:
        return normal(self.domain or context.locate(self.x_train).parent.name)

    def _mapped(self, key: str, context: LoadContext) -> np.ndarray:
        """The array of a file, mapped read-only."""
        path = context.locate(getattr(self, key))
        try:
            array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(array, np.ndarray) or not array.ndim:
                raise ValueError("it holds no samples one after the other")
        except (OSError, ValueError, EOFError) as error:
            raise InputError(
                f"{context.key}.{key}: '{path}' is no .npy file of numbers or text ({error}); save "
                "it with numpy.save"
            ) from error
        return array
