"""Texts in tables, plain files and class folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from fedlab.data.class_names import normal
from fedlab.data.named_files import Files, named
from fedlab.data.source import LoadContext
from fedlab.data.text_rows import PLAIN, TABLES, Columns, TextRow, read_rows
from fedlab.data.text_source import TextSource
from fedlab.errors import InputError


class Text(TextSource):
    """Texts with labels, such as reviews; or texts whose next token is learnt.

    Tables are ``.csv`` with a header, ``.jsonl`` (an object a line) or ``.parquet``, with a column
    of texts and one of labels. Plain texts (``.txt``, UTF-8) have their label in the name of their
    folder, or none, where the next token is learnt. For the other parameters see `TextSource`.

    Attributes:
        files: The file of each domain, by the domain's name; or a folder of them, or a pattern such
            as ``sites/*.jsonl``, whose files are domains called as they are.
        path: A folder of plain texts, ``<path>/<domain>/<class>/<text>.txt``, instead of `files`.
        text: Column of the texts.
        label: Column of the labels.
        domain_column: Column whose values name the domains (a role, an author); by default a file
            is a domain.
    """

    name: Literal["text"] = "text"
    files: Files = Field(default={})
    path: Path | None = None
    text: str = "text"
    label: str = "label"
    domain_column: str | None = None

    @model_validator(mode="after")
    def _reads_one_place(self) -> Text:
        if (self.path is None) == (not self.files):
            raise ValueError("needs either path (folders of texts) or files (a file a domain)")
        if self.path is not None and self.domain_column:
            raise ValueError("domain_column goes with files; folders of path are the domains")
        if self.task == "next_token" and self.path is not None:
            raise ValueError(
                "path has texts in folders of classes, and task: next_token knows none; list them "
                "as files"
            )
        if self.task == "next_token" and self.label != "label":
            raise ValueError("label goes with task: classes, and task is next_token; leave it out")
        return self

    def names(self, context: LoadContext) -> Sequence[str] | None:
        """See `Source.names`."""
        if self.path is not None:
            return [folder.name for folder in self._folders(context)]
        files = self._files(context)
        for name, path in files.items():
            context.limits.check_file(path, f"{context.key}.files.{name}: '{path}'")
        return None if self.domain_column else list(files)

    def texts(self, context: LoadContext) -> Mapping[str, Sequence[TextRow]]:
        """See `TextSource.texts`."""
        if self.path is not None:
            return self._of_folders(context)
        label = self.label if self.task == "classes" else None
        columns = Columns(self.text, label, self.domain_column)
        found: dict[str, list[TextRow]] = {}
        for name, path in self._files(context).items():
            key = f"{context.key}.files.{name}"
            if path.suffix.lower() == PLAIN and (label or self.domain_column):
                raise InputError(
                    f"{key}: '{path}' is a plain text, which has no columns; set {context.key}."
                    "path to folders of texts, or task: next_token"
                )
            for row in read_rows(path, columns, key, context.key, context.limits):
                found.setdefault(normal(row.domain) if self.domain_column else name, []).append(row)
        return found

    def _files(self, context: LoadContext) -> dict[str, Path]:
        """The file of each domain; a folder holds files of one kind."""
        ending = PLAIN if self.task == "next_token" else ".csv"
        if isinstance(self.files, str) and context.locate(Path(self.files)).is_dir():
            listed = context.locate(Path(self.files)).iterdir()
            kinds = {each.suffix.lower() for each in listed} & {*TABLES, PLAIN}
            if len(kinds) > 1:
                raise InputError(
                    f"{context.key}.files: '{self.files}' has files of several kinds "
                    f"({', '.join(sorted(kinds))}); name a pattern, such as {self.files}/*"
                    f"{sorted(kinds)[0]}"
                )
            ending = next(iter(kinds), ending)
        return named(self.files, ending, context)

    def _folders(self, context: LoadContext) -> list[Path]:
        root = context.locate(self.path or Path())
        folders = sorted(each for each in root.glob("*") if _is_shown_folder(each))
        if not folders:
            raise InputError(
                f"{context.key}.path: '{root}' has no folder of a domain; texts lie in "
                "<path>/<domain>/<class>/<text>.txt"
            )
        return folders

    def _of_folders(self, context: LoadContext) -> dict[str, list[TextRow]]:
        found: dict[str, list[TextRow]] = {}
        nothing = Columns(self.text, None, None)
        for domain in self._folders(context):
            rows = found.setdefault(normal(domain.name), [])
            for folder in sorted(filter(_is_shown_folder, domain.glob("*"))):
                for path in sorted(folder.glob(f"*{PLAIN}")):
                    key = f"{context.key}.path"
                    (row,) = read_rows(path, nothing, key, context.key, context.limits)
                    rows.append(row._replace(label=folder.name))
            if not rows:
                raise InputError(
                    f"{context.key}.path: '{domain}' has no {PLAIN} file in a folder of a class; "
                    "texts lie in <path>/<domain>/<class>/<text>.txt"
                )
        return found


def _is_shown_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "__"))
