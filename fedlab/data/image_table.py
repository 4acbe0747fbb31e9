"""Pictures that a table names, with one label or several: findings of X-rays, say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator, model_validator

from fedlab.data.array_labels import Labels, classes
from fedlab.data.array_targets import names_of_columns
from fedlab.data.class_names import normal
from fedlab.data.csv_rows import named_rows
from fedlab.data.numbers import number
from fedlab.data.owners import OwnerSplit, refuse_constant, refuse_spanning
from fedlab.data.picture_source import PictureSource, picture_remarks
from fedlab.data.remarks import counted
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.data.table_rows import Rows
from fedlab.errors import InputError
from fedlab.targets.base import CLASS, EVERY, MULTI_LABEL

UNCERTAIN = -1.0


class ImageTable(PictureSource):
    r"""Picture files and a CSV table with a header, a row for each of them.

    Findings (``data.target: multi_label``) are columns of 0 and 1. In tables as those of CheXpert
    (Irvin et al., AAAI 2019, arXiv 1901.07031) -1 is a finding that the report leaves open, and an
    empty cell one that it does not mention; what they are taken for has to be said. Numbers
    (``regression``) are columns, too, and a class is a column of text. Pictures are decoded as
    those of ``image_folder``.

    Attributes:
        train: The table of the training samples, or of all.
        test: The table of the test samples.
        images: Folder that the names of files start from; by default each table's own.
        file: Column of the files' names.
        label: Column of the labels, or a list of columns.
        uncertain: What a finding of -1 is taken for, 0 or 1; by default it is refused.
        blank: What a finding without a value is taken for, likewise.
        owner: Column that says whose a picture is (a patient).
        owner_pattern: Regular expression whose first match in a file's name is its owner instead,
            such as ``patient\d+``.
        domain_column: Column that names the domain of a picture; without it all are of the one
            `domain`, by default called as the folder of the table.
        test_share: Share of the samples that become the test split, where there is no `test`.
        split: With owners: ``within_owners`` splits each owner's samples, ``by_owner`` draws owners
            all of whose samples are tested.
        class_names: Names of the classes in the order of the sorted labels; of columns their
            names, by default those of the header.
    """

    cached: ClassVar[bool] = True
    targets: ClassVar[frozenset[str]] = EVERY
    name: Literal["image_table"] = "image_table"
    train: Path
    test: Path | None = None
    images: Path | None = None
    file: str = "file"
    label: str | tuple[str, ...] = Field(default="label", min_length=1)
    uncertain: Literal[0, 1] | None = None
    blank: Literal[0, 1] | None = None
    owner: str | None = None
    owner_pattern: str | None = None
    domain_column: str | None = None
    test_share: float = Field(default=0.2, gt=0, lt=1)
    split: OwnerSplit = "within_owners"
    class_names: tuple[str, ...] | None = Field(default=None, min_length=1)

    @field_validator("owner_pattern")
    @classmethod
    def _is_a_pattern(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"'{pattern}' is no regular expression ({error})") from error
        return pattern

    @model_validator(mode="after")
    def _is_consistent(self) -> ImageTable:
        if self.domain and self.domain_column:
            raise ValueError("has both domain and domain_column; say once what the domain is")
        if self.owner and self.owner_pattern:
            raise ValueError("has both owner and owner_pattern; say once who owners are")
        if self.split == "by_owner" and (self.test or not (self.owner or self.owner_pattern)):
            raise ValueError("split: by_owner needs owner or owner_pattern, and no test table")
        if self.test and self.test_share != type(self).model_fields["test_share"].default:
            raise ValueError("test_share splits what has no test table; leave one of them out")
        named = [self.file, *self._columns, *({self.owner, self.domain_column} - {None})]
        for column in named:
            if named.count(column) > 1:
                raise ValueError(f"names the column '{column}' twice; give each its own purpose")
        return self

    @property
    def _columns(self) -> tuple[str, ...]:
        return (self.label,) if isinstance(self.label, str) else self.label

    def reads(self, context: LoadContext) -> Sequence[Path]:
        """The tables and all pictures.

        Raises:
            InputError: If a file is missing, or a table is no such table.
        """
        rows = self._rows(context)
        for row in rows:
            context.limits.check_file(row.path, f"{row.where}: '{row.path}'")
        tables = [context.locate(path) for path in (self.train, self.test) if path is not None]
        return [*tables, *(row.path for row in rows)]

    def names(self, context: LoadContext) -> Sequence[str] | None:
        """See `Source.names`."""
        for key in ("train", "test"):
            if getattr(self, key) is not None:
                path = context.locate(getattr(self, key))
                context.limits.check_file(path, f"{context.key}.{key}: '{path}'")
        return None if self.domain_column else self._made_names([self._domain_name(context)])

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Reads the tables and decodes all pictures.

        Raises:
            InputError: If a file is missing or damaged, or labels are not of the target's kind.
        """
        rows = self._rows(context)
        labels, names, remarks = self._labels(rows, context)
        domains: list[Domain] = []
        of = np.array([row.domain for row in rows])
        for name in dict.fromkeys(of.tolist()):
            own = np.flatnonzero(of == name)
            mine = [rows[place] for place in own]
            where = f"{context.key}: domain '{name}'"
            images, bare = self.decoded(
                [row.path for row in mine],
                lambda i, mine=mine: f"{mine[i].where}: '{mine[i].path}'",
                context,
                where,
            )
            owners = [row.owner for row in mine if row.owner is not None]
            tested = np.array([row.tested for row in mine]) if self.test else None
            made = Rows(images, labels[own], owners or None, tested)
            domain = made.domain(name, names, self.test_share, context, self.split)
            domains.append(domain.with_remarks(picture_remarks(bare, where)))
        if owners := [row.owner for row in rows if row.owner is not None]:
            key = "owner" if self.owner else "owner_pattern"
            refuse_constant(owners, f"{context.key}.{key}", context)
        if self.split == "by_owner":
            refuse_spanning(domains, f"{context.key}.split: by_owner")
        return [domains[0].with_remarks(remarks), *domains[1:]]

    def _domain_name(self, context: LoadContext) -> str:
        return self.domain or normal(context.locate(self.train).parent.name)

    def _rows(self, context: LoadContext) -> list[_Row]:
        """The rows of both tables, no file among them twice."""
        named = {"file": self.file, "owner": self.owner, "domain_column": self.domain_column}
        wanted = [(key, column) for key, column in named.items() if column is not None]
        wanted += [("label", column) for column in self._columns]
        found: dict[Path, _Row] = {}
        for split in ("train", "test"):
            if getattr(self, split) is None:
                continue
            table = context.locate(getattr(self, split))
            where = f"{context.key}.{split}: '{table}'"
            folder = table.parent if self.images is None else context.locate(self.images)
            before = len(found)
            for line, cells in named_rows(table, wanted, where, context.key, context.limits):
                row = self._row(cells, folder, f"{where}, line {line}", split == "test", context)
                other = found.setdefault(row.path, row)
                if other is not row:
                    raise InputError(
                        f"{row.where} names '{row.path}', which {other.where} names, too; give "
                        "each picture one row"
                    )
            if len(found) == before:
                raise InputError(f"{where} has a header and no rows; add some or leave it out")
        return list(found.values())

    def _row(
        self, cells: dict[str, str], folder: Path, where: str, tested: bool, context: LoadContext
    ) -> _Row:
        for column in (self.file, self.owner, self.domain_column):
            if column is not None and not normal(cells[column]):
                raise InputError(f"{where} has nothing in the column '{column}'; write it down")
        owner = cells[self.owner] if self.owner else None
        if self.owner_pattern:
            match = re.search(self.owner_pattern, cells[self.file])
            if not match or not match[0]:
                raise InputError(
                    f"{where}: no part of '{cells[self.file]}' is as {context.key}.owner_pattern "
                    f"says, {self.owner_pattern}; correct it"
                )
            owner = match[0]
        domain = normal(cells[self.domain_column]) if self.domain_column else None
        labels = [cells[column] for column in self._columns]
        path = folder / cells[self.file]
        return _Row(where, path, labels, owner, domain or self._domain_name(context), tested)

    def _labels(
        self, rows: Sequence[_Row], context: LoadContext
    ) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
        """The labels of all rows, the names of the classes or columns, and remarks."""
        key, target = context.key, context.target
        for each in ("uncertain", "blank") if target.kind != MULTI_LABEL else ():
            if getattr(self, each) is not None:
                raise InputError(
                    f"{key}.{each} is of findings, and data.target is '{target.name}'; leave it out"
                )
        if target.kind != CLASS:
            taken: Counter[str] = Counter()
            values = [
                [
                    self._number(cell, f"{row.where}, column '{column}'", taken, context)
                    for column, cell in zip(self._columns, row.labels, strict=True)
                ]
                for row in rows
            ]
            names = names_of_columns(self.class_names, self._columns, len(values[0]), context)
            remarks = [f"{key}: took {counted(taken)}"] if taken else []
            return np.array(values, np.float64), names, remarks
        if len(self._columns) > 1:
            raise InputError(
                f"{key}.label: a list of columns is for data.target 'multi_label' or 'regression', "
                f"and it is '{target.name}'; name one column, or set data.target"
            )
        for row in rows:
            if not normal(row.labels[0]):
                raise InputError(f"{row.where} has no label; write it down or remove the row")
        found, codes = np.unique([row.labels[0] for row in rows], return_inverse=True)
        own = Labels(codes.reshape(-1).astype(np.int64), found.tolist())
        remedy = "name another column as label"
        numbering, names, remarks = classes([own], self.class_names, key, "auto", remedy)
        return numbering(own), names, remarks

    def _number(self, cell: str, where: str, taken: Counter[str], context: LoadContext) -> float:
        """A label as a number; what it was taken for is counted."""
        value = number(cell)
        if context.target.kind == MULTI_LABEL:
            open_ones: dict[str, Any] = {
                "uncertain": (value == UNCERTAIN, f"{cell}, which marks an uncertain finding"),
                "blank": (not cell, "no value"),
            }
            for key, (is_meant, what) in open_ones.items():
                if is_meant:
                    if getattr(self, key) is None:
                        raise InputError(
                            f"{where} has {what}; set {context.key}.{key} to 0 or 1, or "
                            "leave the row out"
                        )
                    taken[f"{key} finding{{s}} for {getattr(self, key)}"] += 1
                    return float(getattr(self, key))
            if value not in (0.0, 1.0):
                raise InputError(f"{where} has '{cell[:60]}', and a finding is 0 or 1; correct it")
        if value is None or not np.isfinite(value):
            raise InputError(f"{where} has '{cell[:60]}', which is no finite number; correct it")
        return value


class _Row(NamedTuple):
    """A picture: what its row is called in errors, its file, its labels as they stand there."""

    where: str
    path: Path
    labels: list[str]
    owner: str | None
    domain: str
    tested: bool
