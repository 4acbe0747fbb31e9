"""Data sets of Hugging Face's hub, or saved by its library, read as tables or pictures."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from fedlab.data.parquet import Parquet
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.errors import InputError, format_error

OWN = ("dataset", "path", "config")
"""Keys that say where the data set is; all others are those of ``parquet``."""


class HuggingFace(Parquet):
    """A data set that the library ``datasets`` finds (extra ``hf``), read as ``parquet`` is.

    `train` and `test` name its splits in place of files. Columns, owners, domains, pictures and
    class names are those of ``parquet``.

    Attributes:
        dataset: Its name on the hub, such as ``ylecun/mnist``; fetched where ``data.download`` is
            true, or else found where an earlier download has put it.
        path: The folder that ``save_to_disk`` has written, in place of `dataset`.
        config: Which of the data set's configurations, where it has several.
        train: The splits that hold the training samples, or all samples.
        test: Likewise for the test samples.
    """

    cached: ClassVar[bool] = True
    name: Literal["hf"] = "hf"  # type: ignore[assignment]
    dataset: str | None = Field(default=None, min_length=1)
    path: Path | None = None
    config: str | None = None
    train: tuple[str, ...] = Field(default=("train",), min_length=1)

    @model_validator(mode="after")
    def _one_place(self) -> HuggingFace:
        if (self.dataset is None) == (self.path is None):
            raise ValueError("needs dataset (a name on the hub) or path (a folder), one of them")
        if self.path is not None and self.config:
            raise ValueError("config is that of a dataset on the hub; leave it out")
        return self

    def reads(self, context: LoadContext) -> Sequence[Path]:
        """The files that the library maps the splits from.

        Raises:
            InputError: If the data set or a split is not there.
        """
        return [
            Path(file["filename"])
            for split in self._splits(context).values()
            for file in split.cache_files
        ]

    def depends_on(self, context: LoadContext) -> dict[str, Any]:
        """The unseen domains, as `Parquet.depends_on` of a table."""
        return {"unseen_domains": sorted(context.unseen_domains)}

    def names(self, context: LoadContext) -> Sequence[str] | None:
        """See `Source.names`."""
        return None if self.domain_column else self._made_names([self._domain_name(context)])

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads the splits, by way of Parquet files that are there meanwhile.

        Raises:
            InputError: If the data set, a split or a column is not there, or cells are not of the
                kind that ``parquet`` describes.
        """
        splits = self._splits(context)
        with TemporaryDirectory(prefix="fedlab-hf-") as folder:
            files = {name: Path(folder) / f"{i}.parquet" for i, name in enumerate(splits)}
            for name, split in splits.items():
                split.to_parquet(files[name])
            way = {key: getattr(self, key) for key in self.model_fields_set if key not in OWN}
            way |= {
                key: [str(files[name]) for name in getattr(self, key)] for key in ("train", "test")
            }
            way |= {"name": "parquet", "domain": self._told_domain(context)}
            return Parquet.model_validate(way).load(context)

    def _told_domain(self, context: LoadContext) -> str | None:
        return None if self.domain_column else self._domain_name(context)

    def _domain_name(self, context: LoadContext) -> str:
        place = self.dataset or context.locate(self.path or Path()).name
        return self.domain or place.rpartition("/")[2]

    def _splits(self, context: LoadContext) -> dict[str, Any]:
        """The splits that the source names.

        Raises:
            InputError: If the library, the data set or a split is not there.
        """
        try:
            datasets: Any = import_module("datasets")  # part of an extra, and takes seconds
        except ImportError as error:
            raise InputError(
                f"{context.key}: 'hf' needs the library datasets; install fedlab-sim[hf]"
            ) from error
        where = f"{context.key}.{'path' if self.dataset is None else 'dataset'}"
        offline = datasets.config.HF_HUB_OFFLINE
        datasets.config.HF_HUB_OFFLINE = offline or not context.download
        try:
            if self.dataset is None:
                found = datasets.load_from_disk(str(context.locate(self.path or Path())))
            else:
                found = datasets.load_dataset(self.dataset, self.config)
        except Exception as error:  # of the library, of the network, of the files
            hint = "" if context.download or self.path else "; data.download=true fetches it"
            raise InputError(
                f"{where}: '{self.dataset or self.path}': {format_error(error)}{hint}"
            ) from error
        finally:
            datasets.config.HF_HUB_OFFLINE = offline
        if isinstance(found, datasets.Dataset):
            found = {"train": found}
        wanted = dict.fromkeys([*self.train, *self.test])
        for name in wanted:
            if name not in found:
                raise InputError(
                    f"{where}: '{self.dataset or self.path}' has no split '{name}'; it has "
                    f"{', '.join(found)}"
                )
        return {name: found[name] for name in wanted}
