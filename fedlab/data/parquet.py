"""Parquet files: tables of numbers, or pictures in the format of Hugging Face's hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, FiniteFloat, field_validator, model_validator

from fedlab.data.array_labels import Labels, classes
from fedlab.data.categories import Encoding, check_encoding
from fedlab.data.class_names import normal
from fedlab.data.csv_header import check_features
from fedlab.data.csv_table import Csv
from fedlab.data.given_split import refuse_shared_files
from fedlab.data.labels import LabelType, check_label_type
from fedlab.data.named_files import named
from fedlab.data.owners import OwnerSplit, refuse_constant, refuse_spanning
from fedlab.data.parquet_columns import check_purposes
from fedlab.data.parquet_file import File
from fedlab.data.parquet_rows import FileRows, column_of, declared_classes
from fedlab.data.picture_source import PictureSource, picture_remarks
from fedlab.data.remarks import counted, listed
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.data.table_rows import Rows
from fedlab.errors import InputError


class Parquet(PictureSource):
    """Rows of Parquet files, read with pyarrow alone.

    A column of pictures (bytes, or ``struct<bytes, path>`` as on Hugging Face's hub) makes images,
    which are decoded as those of ``image_folder``. Without one, columns of numbers are features,
    which are treated as those of ``csv``. Class names are those of Hugging Face's metadata, where
    the label has some.

    Attributes:
        train: The file, or the folder or pattern of the files, that hold the training samples, or
            all samples; or a list of these.
        test: Likewise for the test samples.
        label: Column of the labels.
        owner: Column that says whose a row is (a writer, a patient).
        domain_column: Column that names the domain of a row; without it all rows are of the one
            `domain`, by default called as the folder of the first file.
        image: Column of the pictures; by default the only one there is.
        columns: Columns of numbers that are features; by default all but those named above and in
            `ignore`.
        ignore: Columns that are no features, in place of `columns`.
        test_share: Share of the samples that become the test split, where `test` names no files.
        split: With owners: ``within_owners`` splits each owner's samples, ``by_owner`` draws owners
            all of whose samples are tested.
        class_names: Names of the classes, in place of those in the files.
        label_type: See ``csv``, as of all that follow.
        positive_above: Makes two classes of a numeric label.
        impute: What stands in for missing values: ``median``, ``mean``, or ``drop``.
        categorical: Columns of categories.
        encoding: How these become numbers: ``one_hot`` or ``codes``.
    """

    cached: ClassVar[bool] = True
    name: Literal["parquet"] = "parquet"
    train: tuple[str, ...] = Field(min_length=1)
    test: tuple[str, ...] = ()
    label: str = "label"
    owner: str | None = None
    domain_column: str | None = None
    image: str | None = None
    columns: tuple[str, ...] | None = Field(default=None, min_length=1)
    ignore: tuple[str, ...] = ()
    test_share: float = Field(default=0.2, gt=0, lt=1)
    split: OwnerSplit = "within_owners"
    class_names: tuple[str, ...] | None = Field(default=None, min_length=1)
    label_type: LabelType = "auto"
    positive_above: FiniteFloat | None = None
    impute: Literal["median", "mean", "drop"] = "median"
    categorical: tuple[str, ...] = ()
    encoding: Encoding = "one_hot"

    @field_validator("train", "test", "columns", "ignore", "categorical", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (str(value),) if isinstance(value, str | Path) else value

    @model_validator(mode="after")
    def _is_consistent(self) -> Parquet:
        if self.domain and self.domain_column:
            raise ValueError("has both domain and domain_column; say once what the domain is")
        if self.split == "by_owner" and (self.owner is None or self.test):
            raise ValueError("split: by_owner needs owner, and no test files")
        if self.test and self.test_share != type(self).model_fields["test_share"].default:
            raise ValueError("test_share splits what has no test files; leave one of them out")
        check_label_type(self.label_type, self.positive_above)
        check_encoding(self.encoding, self.categorical)
        return self

    @model_validator(mode="after")
    def _gives_each_column_one_purpose(self) -> Parquet:
        single = {key: getattr(self, key) for key in ("label", "owner", "domain_column", "image")}
        check_purposes(single, self.columns or (), self.categorical, self.ignore)
        return self

    def reads(self, context: LoadContext) -> Sequence[Path]:
        """All files, and the picture files that they refer to.

        Raises:
            InputError: If there are none, or a column is missing.
        """
        files = [file for own in self._opened(context).values() for file in own]
        image = self._image(files[0], context)
        pictures = [path for file in files if image for path in file.pictures_beside(image)]
        for path in pictures:
            context.limits.check_file(path, f"{context.key}.image: '{path}'")
        return [*(file.path for file in files), *pictures]

    def depends_on(self, context: LoadContext) -> dict[str, Any]:
        """Which domains of a table fill gaps and name categories."""
        first = self._opened(context)["train"][0]
        is_table = self._image(first, context) is None
        return context.statistics if is_table else {}

    def names(self, context: LoadContext) -> Sequence[str] | None:
        """See `Source.names`."""
        self._opened(context)
        return None if self.domain_column else self._made_names([self._domain_name(context)])

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads all files.

        Raises:
            InputError: If a file or a column is missing or damaged, or cells are not of the kind
                that the class describes.
        """
        files = self._opened(context)
        everything = [file for own in files.values() for file in own]
        for own in files.values():
            if not any(file.rows for file in own):
                raise InputError(f"{own[0].where} has no rows; name a file that has some")
        image = self._image(everything[0], context)
        tested = np.repeat(
            [split == "test" for split, own in files.items() for _ in own],
            [file.rows for file in everything],
        )
        rows = FileRows(
            everything,
            tested if self.test else None,
            column_of(everything, self.owner, "owner"),
            self._domains_of(everything, context),
        )
        if rows.owners is not None:
            refuse_constant(rows.owners, f"{context.key}.owner", context)
        domains = (
            self._tables(rows, context) if image is None else self._images(rows, image, context)
        )
        if self.split == "by_owner":
            refuse_spanning(domains, f"{context.key}.split: by_owner")
        return domains

    def _named(self) -> dict[str, str]:
        """The columns that the source names, by key."""
        single = {"label": self.label, "owner": self.owner, "domain_column": self.domain_column}
        given = {key: column for key, column in single.items() if column is not None}
        many = {f"columns.{i}": column for i, column in enumerate(self.columns or ())}
        for key in ("ignore", "categorical"):
            many |= {f"{key}.{i}": column for i, column in enumerate(getattr(self, key))}
        return given | ({"image": self.image} if self.image else {}) | many

    def _paths(self, context: LoadContext) -> dict[str, list[Path]]:
        """The files of each split."""
        found: dict[str, list[Path]] = {}
        for split in ("train", "test"):
            for each in getattr(self, split):
                paths = named(each, ".parquet", context, split).values()
                found.setdefault(split, []).extend(paths)
        refuse_shared_files(found, context.key)
        return found

    def _opened(self, context: LoadContext) -> dict[str, list[File]]:
        """The files of each split, which must have the columns that the source names."""
        files = {
            split: [File.opened(path, f"{context.key}.{split}", context.limits) for path in paths]
            for split, paths in self._paths(context).items()
        }
        for key, column in self._named().items():
            for file in [file for own in files.values() for file in own]:
                file.check([column], f"{context.key}.{key}")
        return files

    def _domain_name(self, context: LoadContext) -> str:
        return self.domain or normal(self._paths(context)["train"][0].parent.name)

    def _domains_of(self, files: Sequence[File], context: LoadContext) -> np.ndarray:
        """The domain of every row."""
        names = column_of(files, self.domain_column, "domain")
        if names is None:
            return np.repeat(self._domain_name(context), sum(file.rows for file in files))
        return np.array([normal(name) for name in names])

    def _image(self, file: File, context: LoadContext) -> str | None:
        """The column of the pictures; None for a table."""
        pictures = [name for name in file.schema.names if file.is_picture(name)]
        if self.image is not None:
            if self.image not in pictures:
                raise InputError(
                    f"{context.key}.image: column '{self.image}' holds no pictures (bytes, or "
                    "struct<bytes, path>); name another, or leave it out for a table"
                )
        elif self.columns is None and len(pictures) > 1:
            raise InputError(
                f"{file.where} has the columns of pictures {', '.join(pictures)}; set "
                f"{context.key}.image to one of them"
            )
        image = self.image or (pictures[0] if pictures and self.columns is None else None)
        of_tables = ("columns", "categorical", "positive_above", "impute", "encoding")
        for key in of_tables if image else ():
            if getattr(self, key) != type(self).model_fields[key].default:
                raise InputError(
                    f"{context.key}.{key} is of tables, and column '{image}' holds pictures; leave "
                    "it out"
                )
        return image

    def _images(self, rows: FileRows, image: str, context: LoadContext) -> list[Domain]:
        """The domains of pictures."""
        labels = np.array(column_of(rows.files, self.label, "label"))
        found, codes = np.unique(labels, return_inverse=True)
        given = self.class_names or declared_classes(rows.files, self.label, found, context.key)
        all_labels = Labels(codes.reshape(-1).astype(np.int64), found.tolist())
        numbering, class_names, remarks = classes(
            [all_labels], given, context.key, self.label_type, "name another column as label"
        )
        numbers = numbering(all_labels)
        pictures = [picture for file in rows.files for picture in file.pictures(image)]
        used = {image, *self._named().values()}
        if unread := [name for name in rows.files[0].schema.names if name not in used]:
            what = counted({f"column{{s}} ({listed(unread)})": len(unread)})
            remarks.append(f"{context.key}: left out {what}, which no key of the source names")
        domains: list[Domain] = []
        for name in dict.fromkeys(rows.domains.tolist()):
            own = np.flatnonzero(rows.domains == name)
            where = f"{context.key}.train: domain '{name}'"
            images, bare = self.decoded(
                [pictures[row] for row in own],
                lambda i, own=own: rows.picture(int(own[i])),
                context,
                where,
            )
            owners = rows.owners and [rows.owners[row] for row in own]
            tested = None if rows.tested is None else rows.tested[own]
            domain = Rows(images, numbers[own], owners, tested).domain(
                name, class_names, self.test_share, context, self.split
            )
            domains.append(domain.with_remarks(picture_remarks(bare, where)))
        return [domains[0].with_remarks(remarks), *domains[1:]]

    def _tables(self, rows: FileRows, context: LoadContext) -> list[Domain]:
        """The domains of numbers, processed as CSV tables."""
        first = rows.files[0]
        if self.columns is None:
            rows.check_columns(f"{context.key}.columns")
        beside = {self.label, self.owner, self.domain_column, *self.ignore}
        names = self.columns or [name for name in first.schema.names if name not in beside]
        if self.columns is None:
            check_features([name for name in names if name not in self.categorical], first.where)
        names = list(dict.fromkeys([*names, *self.categorical]))
        if not names:
            raise InputError(f"{first.where} has no column of numbers beside the label; add some")
        context.limits.check_array((len(rows.domains), len(names)), 8, first.where)
        features, categories = rows.features(names, self.categorical)
        labels = column_of(rows.files, self.label, "label") or []
        declared = None
        if self.class_names is None and self.positive_above is None:
            declared = declared_classes(rows.files, self.label, np.unique(labels), context.key)
        tables = rows.tables(features, names, categories, labels)
        way = {key: getattr(self, key) for key in _SHARED}
        domains = Csv(files={"all": Path("all")}, **way).domains(tables, context)
        if declared is None:
            return domains
        place = np.array([int(name) for name in domains[0].class_names])
        return [
            replace(
                each,
                train_labels=place[each.train_labels],
                test_labels=place[each.test_labels],
                class_names=declared,
            )
            for each in domains
        ]


_SHARED = (
    *("label_type", "positive_above", "impute", "test_share", "split", "encoding", "class_names"),
    *("owner", "categorical"),
)
"""Keys that a table has from the source ``csv``."""
