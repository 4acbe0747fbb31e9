"""A file for each domain: listed by name, or found in a folder or by a pattern."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedlab.data.class_names import normal
from fedlab.data.remarks import counted
from fedlab.data.remarks import listed as shortly
from fedlab.data.source import LoadContext
from fedlab.errors import InputError

Files = dict[str, Path] | str
"""A file for each domain by its name; or a folder, or a pattern such as ``sites/*.csv``."""


def named(files: Mapping[str, Path] | str, ending: str, context: LoadContext) -> dict[str, Path]:
    """The file of each domain; found files are called as they are, without their ending.

    Args:
        files: What the scenario says.
        ending: Of the files to take out of a folder.
        context: Where to look.

    Raises:
        InputError: If there is none, or two have the same name.
    """
    if isinstance(files, str):
        listed = [(path.stem, path) for path in _found(files, ending, context)]
    else:
        listed = [(name, context.locate(path)) for name, path in files.items()]
    found: dict[str, Path] = {}
    for name, path in listed:
        other = found.setdefault(normal(name), path)
        if other != path:
            raise InputError(
                f"{context.key}.files: '{other}' and '{path}' would both be the domain "
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


def _found(files: str, ending: str, context: LoadContext) -> list[Path]:
    folder = context.locate(Path(files))
    if folder.is_dir():
        found = [each for each in folder.iterdir() if each.suffix.lower() == ending]
    else:
        fixed = [part for part in folder.parts if not set("*?[") & set(part)]
        base = Path(*folder.parts[: _first_pattern(folder)])
        if len(fixed) == len(folder.parts):
            raise InputError(
                f"{context.key}.files: there is no folder '{folder}'; name a folder of {ending} "
                f"files, a pattern such as sites/*{ending}, or a file for each domain"
            )
        try:
            found = list(base.glob(str(folder.relative_to(base))))
        except (OSError, ValueError) as error:
            raise InputError(f"{context.key}.files: '{files}': {error}; correct it") from error
    found = sorted(each for each in found if each.is_file() and not each.name.startswith("."))
    if not found:
        raise InputError(
            f"{context.key}.files: '{files}' finds no file (looked in '{folder}'); correct it, or "
            "data.root if it is relative"
        )
    return found


def _first_pattern(path: Path) -> int:
    """Number of the parts before the first with a pattern in it."""
    return next((i for i, part in enumerate(path.parts) if set("*?[") & set(part)), 0)
