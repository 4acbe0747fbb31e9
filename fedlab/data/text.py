"""Texts in tables, plain files and class folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from fedlab.data.class_names import normal
from fedlab.data.named_files import Files, named
from fedlab.data.remarks import counted, listed
from fedlab.data.source import LoadContext
from fedlab.data.text_rows import PLAIN, TABLES, TextColumns, TextRow, read_rows
from fedlab.data.text_source import TextSource
from fedlab.errors import InputError


class Text(TextSource):
    """Texts with labels, such as reviews; or texts for next-token prediction.

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
        for key in ("text", "label"):
            if self.path is not None and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(
                    f"{key} names a column of a table, and path is of plain texts in folders of "
                    "classes; leave it out"
                )
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
            return list(self._folders(context))
        files = self._files(context)
        for name, path in files.items():
            context.limits.check_file(path, f"{context.key}.files.{name}: '{path}'")
        return None if self.domain_column else list(files)

    def remarks(self, context: LoadContext) -> Sequence[str]:
        """A remark on files below `path` that are not texts, or lie in no class folder."""
        others: Counter[str] = Counter()
        for domain in self._folders(context).values() if self.path is not None else ():
            for path in domain.rglob("*"):
                shown = not any(_is_hidden(part) for part in path.relative_to(domain).parts)
                depth = len(path.relative_to(domain).parts)
                if path.is_file() and shown and (depth != 2 or path.suffix.lower() != PLAIN):
                    others[path.suffix.lower() or "without ending"] += 1
        if not others:
            return []
        what = counted({f"file{{s}} ({listed(others.elements())})": others.total()})
        return [f"{context.key}.path: left out {what} that are no <domain>/<class>/<text>{PLAIN}"]

    def texts(self, context: LoadContext) -> Mapping[str, Sequence[TextRow]]:
        """See `TextSource.texts`."""
        if self.path is not None:
            return self._of_folders(context)
        label = self.label if self.task == "classes" else None
        columns = TextColumns(self.text, label, self.domain_column)
        found: dict[str, list[TextRow]] = {}
        for name, path in self._files(context).items():
            key = f"{context.key}.files.{name}"
            if path.suffix.lower() == PLAIN and (label or self.domain_column):
                raise InputError(
                    f"{key}: '{path}' is a plain text, which has no columns; set {context.key}."
                    "path to folders of texts, or task: next_token"
                )
            if path.suffix.lower() == PLAIN and self.text != "text":
                raise InputError(
                    f"{key}: '{path}' is a plain text, which has no column '{self.text}'; leave "
                    f"{context.key}.text out"
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

    def _folders(self, context: LoadContext) -> dict[str, Path]:
        """The folder of each domain."""
        root = context.locate(self.path or Path())
        found: dict[str, Path] = {}
        for folder in sorted(filter(_is_shown_folder, root.glob("*"))):
            other = found.setdefault(normal(folder.name), folder)
            if other != folder:
                raise InputError(
                    f"{context.key}.path: '{other}' and '{folder}' would both be the domain "
                    f"'{normal(folder.name)}'; give each domain one name"
                )
        if not found:
            raise InputError(
                f"{context.key}.path: '{root}' has no folder of a domain; texts lie in "
                "<path>/<domain>/<class>/<text>.txt"
            )
        return found

    def _of_folders(self, context: LoadContext) -> dict[str, list[TextRow]]:
        found: dict[str, list[TextRow]] = {}
        nothing = TextColumns(self.text, None, None)
        key = f"{context.key}.path"
        for name, domain in self._folders(context).items():
            rows = found.setdefault(name, [])
            for folder in sorted(filter(_is_shown_folder, domain.glob("*"))):
                texts = [each for each in sorted(folder.iterdir()) if _is_text(each)]
                for path in texts:
                    (row,) = read_rows(path, nothing, key, context.key, context.limits)
                    rows.append(row._replace(label=folder.name))
                if not texts:
                    raise InputError(
                        f"{key}: the class folder '{folder}' has no {PLAIN} file; add some or "
                        "remove the folder"
                    )
            if not rows:
                raise InputError(
                    f"{key}: '{domain}' has no folder of a class; texts lie in "
                    "<path>/<domain>/<class>/<text>.txt"
                )
        return found


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def _is_text(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == PLAIN and not path.name.startswith(".")


def _is_shown_folder(path: Path) -> bool:
    return path.is_dir() and not _is_hidden(path.name)
