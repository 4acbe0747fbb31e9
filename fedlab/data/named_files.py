"""A file for each domain: listed by name, or found in a folder or by a pattern."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from fedlab.data.class_names import normal
from fedlab.data.remarks import counted
from fedlab.data.remarks import listed as shortly
from fedlab.data.source import LoadContext
from fedlab.errors import InputError

Files = dict[str, Path] | str
"""A file for each domain by its name; or a single one, a folder, or a pattern (``sites/*.csv``)."""

FilesAre = Literal["domains", "owners"]
"""What each file is: a domain, or the samples of one owner of a single domain."""


def check_files_are(
    files_are: FilesAre, domain: str | None, owner: int | str | None, split: str
) -> None:
    """Refuses keys about owners, or about the one domain, that contradict `files_are`.

    Args:
        files_are: What each file is.
        domain: Name of the one domain.
        owner: The column or array that names owners.
        split: How samples with owners are split.

    Raises:
        ValueError: With the remedy.
    """
    if files_are == "owners" and owner is not None:
        raise ValueError("has both files_are: owners and owner; say once who the owners are")
    if files_are == "domains" and domain is not None:
        raise ValueError(
            "domain names the one domain of files_are: owners; here the files name the domains"
        )
    if split == "by_owner" and files_are == "domains" and owner is None:
        raise ValueError("split: by_owner needs owners; name their column with owner")


def one_name(domain: str | None, files: Mapping[str, Path] | str) -> str:
    """Name of the one domain whose owners the files are."""
    if domain is not None:
        return normal(domain)
    parts = Path(files).parts if isinstance(files, str) else ()
    plain = [part for part in parts if not set("*?[") & set(part)]
    return normal(plain[-1]) if plain and plain[-1] not in ("/", "..") else "all"


def named(
    files: Mapping[str, Path] | str, ending: str, context: LoadContext, key: str = "files"
) -> dict[str, Path]:
    """The file of each domain; found files are named after themselves, without their ending.

    Args:
        files: What the scenario says.
        ending: Of the files to take out of a folder.
        context: Where to look.
        key: The source's key that says it.

    Raises:
        InputError: If there is none, or two have the same name.
    """
    if isinstance(files, str):
        listed = [
            (path.stem, path) for path in _found(files, ending, context, f"{context.key}.{key}")
        ]
    else:
        listed = [(name, context.locate(path)) for name, path in files.items()]
    found: dict[str, Path] = {}
    for name, path in listed:
        other = found.setdefault(normal(name), path)
        if other != path:
            raise InputError(
                f"{context.key}.{key}: '{other}' and '{path}' would both be the domain "
                f"'{normal(name)}'; give them different names, or list them by domain"
            )
    return found


def left_out(files: Mapping[str, Path] | str, ending: str, context: LoadContext) -> list[str]:
    """A remark on the files of a folder that are of another kind."""
    if not isinstance(files, str) or not context.locate(Path(files)).is_dir():
        return []
    others = [
        each.suffix or each.name
        for each in context.locate(Path(files)).iterdir()
        if not each.name.startswith(".") and each.suffix.lower() != ending
    ]
    if not others:
        return []
    what = counted({f"file{{s}} of other kinds ({shortly(others)})": len(others)})
    return [f"{context.key}.files: left out {what} of '{files}'"]


def _found(files: str, ending: str, context: LoadContext, key: str) -> list[Path]:
    folder = context.locate(Path(files))
    if folder.is_file():
        return [folder]
    if folder.is_dir():
        found = [each for each in folder.iterdir() if each.suffix.lower() == ending]
    else:
        fixed = [part for part in folder.parts if not set("*?[") & set(part)]
        base = Path(*folder.parts[: _first_pattern(folder)])
        if len(fixed) == len(folder.parts):
            raise InputError(
                f"{key}: there is neither a file nor a folder '{folder}'; name a "
                f"{ending} file, a folder of them or a pattern such as sites/*{ending}; relative "
                "paths start from data.root"
            )
        try:
            found = list(base.glob(str(folder.relative_to(base))))
        except (OSError, ValueError) as error:
            raise InputError(f"{key}: '{files}': {error}; correct it") from error
    found = sorted(each for each in found if each.is_file() and not each.name.startswith("."))
    if not found:
        raise InputError(
            f"{key}: '{files}' finds no file (looked in '{folder}'); correct it, or "
            "data.root if it is relative"
        )
    return found


def _first_pattern(path: Path) -> int:
    """Index of the first part with a pattern in it."""
    return next((i for i, part in enumerate(path.parts) if set("*?[") & set(part)), 0)
