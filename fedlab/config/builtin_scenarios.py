"""The scenarios that come with fedlab, and how a scenario's file is found."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from fedlab.config import yaml_text
from fedlab.errors import InputError


class Shipped(NamedTuple):
    """A scenario that comes with fedlab: its title, one sentence, and its file."""

    title: str
    path: Path


def shipped_scenarios() -> dict[str, Shipped]:
    """The scenarios that come with fedlab, by name."""
    folder = Path(str(files("fedlab.scenarios")))
    return {path.stem: Shipped(_title(path), path) for path in sorted(folder.glob("*.yaml"))}


def is_scenario(source: str) -> bool:
    """Whether `find` finds a scenario."""
    return Path(source).is_file() or source in shipped_scenarios()


def find(source: str | Path) -> Path:
    """The file of a scenario, given by its path or its shipped name.

    Raises:
        InputError: If there is neither; suggests the nearest shipped name.
    """
    path = Path(source)
    if path.is_file():
        return path
    shipped = shipped_scenarios()
    if str(source) in shipped:
        return shipped[str(source)].path
    if path.is_dir():
        raise InputError(f"'{source}' is a folder; name the scenario file in it")
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        ships = path.stem in shipped
        hint = f"fedlab ships '{path.stem}': say just that" if ships else "check the path"
        raise InputError(f"there is no file '{source}'; {hint}, or see `fedlab list scenarios`")
    near = difflib.get_close_matches(str(source), shipped, n=1)
    hint = (
        f"did you mean '{near[0]}'?" if near else "name a YAML file or one that comes with fedlab"
    )
    raise InputError(f"there is no scenario '{source}'; {hint} (see `fedlab list scenarios`)")


def read_text(path: Path) -> str:
    """A scenario file's text.

    Raises:
        InputError: If it cannot be read, or is larger than a scenario can be.
    """
    try:
        size = path.stat().st_size
        if size > 4 * yaml_text.LONGEST:
            raise InputError(
                f"{path}: has {size:,} bytes, which no scenario has; name a scenario's file"
            )
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _title(path: Path) -> str:
    """First sentence of the comment that opens the file, or else of its description."""
    text = read_text(path)
    comment: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.lstrip("# "))
    words = " ".join(comment).strip()
    if not words:
        values, _ = yaml_text.read(text, str(path))
        words = str(values.get("description", "")) if isinstance(values, dict) else ""
    return " ".join(words.split()).split(". ")[0].rstrip(".")
