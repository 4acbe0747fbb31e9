"""Data sets of Hugging Face's hub, or saved by its library, read as tables or pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from fedlab.data import hub
from fedlab.data.parquet import Parquet
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.errors import InputError, format_error

OWN = ("dataset", "path", "config", "revision")
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
        revision: The commit to take, or a branch or tag, of which the commit is looked up when a
            run begins; by default the latest one, or without ``data.download`` what an earlier
            download has put there last. The run's ``scenario.yaml`` has the commit.
        train: The splits that hold the training samples, or all samples.
        test: Likewise for the test samples.
    """

    cached: ClassVar[bool] = True
    name: Literal["hf"] = "hf"  # type: ignore[assignment]
    dataset: str | None = Field(default=None, min_length=1)
    path: Path | None = None
    config: str | None = None
    revision: str | None = Field(default=None, min_length=1)
    train: tuple[str, ...] = Field(default=("train",), min_length=1)

    @field_validator("dataset")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        if name and not hub.NAME.fullmatch(name):
            raise ValueError(
                f"'{name}' is no name on the hub, such as ylecun/mnist; path names a folder"
            )
        return name

    @model_validator(mode="after")
    def _one_place(self) -> HuggingFace:
        if (self.dataset is None) == (self.path is None):
            raise ValueError("needs dataset (a name on the hub) or path (a folder), one of them")
        for key in ("config", "revision"):
            if self.path is not None and getattr(self, key):
                raise ValueError(f"{key} is that of a dataset on the hub; leave it out")
        return self

    def pinned(self, context: LoadContext) -> HuggingFace:
        """The source with the commit of its data set, where it is one of the hub."""
        if self.dataset is None:
            return self
        commit = hub.commit_of(self.dataset, self.revision, context.download, context.key)
        return self.model_copy(update={"revision": commit})

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
        """As `Parquet.depends_on` of a table."""
        return context.statistics

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
        if self.dataset is None:
            found = self._saved(context)
        else:
            commit = hub.commit_of(self.dataset, self.revision, context.download, context.key)
            asked = (self.dataset, self.config, commit, context.download, context.key)
            found = hub.splits_of(*asked)
        place = "path" if self.dataset is None else "dataset"
        wanted = dict.fromkeys([*self.train, *self.test])
        for name in wanted:
            if name not in found:
                raise InputError(
                    f"{context.key}.{place}: '{self.dataset or self.path}' has no split '{name}'; "
                    f"it has {', '.join(found)}"
                )
        return {name: found[name] for name in wanted}

    def _saved(self, context: LoadContext) -> Mapping[str, Any]:
        """The splits of a folder; of one without splits, ``train``.

        Raises:
            InputError: If the library has saved nothing there, or it is damaged.
        """
        datasets, folder = hub.library(context.key), context.locate(self.path or Path())
        try:
            found = datasets.load_from_disk(str(folder))
        except Exception as error:  # of the library, of the files
            raise InputError(
                f"{context.key}.path: '{self.path}': {format_error(error)}; name a folder "
                "that save_to_disk has written"
            ) from error
        return {"train": found} if isinstance(found, datasets.Dataset) else found


def is_saved(folder: Path) -> bool:
    """Whether a folder looks like one that ``save_to_disk`` has written."""
    whole = all((folder / name).is_file() for name in ("dataset_info.json", "state.json"))
    return whole or (folder / "dataset_dict.json").is_file()
