"""From a YAML file, a shipped name or a mapping, and overrides, to a `Scenario`; and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from fedlab import overrides as override
from fedlab import yaml_text
from fedlab.errors import InputError
from fedlab.problems import describe, nearest
from fedlab.scenario import Scenario
from fedlab.yaml_text import Place


class Shipped(NamedTuple):
    """A scenario that comes with fedlab: what it shows, in a sentence, and its file."""

    title: str
    path: Path


def load_scenario(
    source: str | Path | Mapping[str, Any] | Scenario,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    **fields: Any,
) -> Scenario:
    """Reads a scenario, changes it and checks it.

    Args:
        source: A YAML file, the name of a shipped scenario (a file of that name wins), the values
            themselves, or a scenario.
        overrides: Changes: ``a.b=value`` texts with YAML values, list items by their index, or a
            mapping with dotted or nested keys. ``strategy=fedbn`` replaces the block by that
            component with its defaults; so does ``strategy.name=fedbn`` where the name changes.
        **fields: Changes of top-level fields, applied first: ``strategy="fedbn"``, ``seed=3``.

    Raises:
        InputError: If there is no such scenario, or anything in it is wrong: one line for each
            problem with the file, line, key, value and remedy.
    """
    where, origins = "scenario", dict[Place, str]()
    if isinstance(source, Scenario):
        values: Any = source.model_dump()
    elif isinstance(source, Mapping):
        values = dict(source)
    else:
        path = find(source)
        where = str(path)
        values, lines = yaml_text.read(_text(path), where)
        origins = {place: f"{where}:{line}" for place, line in lines.items()}
        if not isinstance(values, dict):
            raise InputError(f"{where}: holds no scenario; start from `fedlab copy domain_skew`")
    changes = override.parse(fields) | override.parse(overrides)
    values = override.apply(Scenario, values, changes)
    origins |= dict.fromkeys(changes, "override")
    try:
        return Scenario.model_validate(values)
    except ValidationError as error:
        raise InputError(describe(error, Scenario, values, where, origins)) from error


def to_yaml(scenario: Scenario) -> str:
    """The whole scenario, defaults included, as YAML that loads to an equal one."""
    return yaml_text.write(scenario.model_dump(mode="json"))


def shipped_scenarios() -> dict[str, Shipped]:
    """The scenarios that come with fedlab, by name."""
    folder = Path(str(files("fedlab.scenarios")))
    return {path.stem: Shipped(_title(path), path) for path in sorted(folder.glob("*.yaml"))}


def find(source: str | Path) -> Path:
    """The file of a scenario that is given by its path or its shipped name.

    Raises:
        InputError: If there is neither; the nearest shipped name is offered.
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
    raise InputError(
        f"there is no scenario '{source}'; {nearest(str(source), list(shipped))} "
        "See `fedlab list scenarios`, or name a YAML file."
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _title(path: Path) -> str:
    """First sentence of the comment that opens the file, or else of its description."""
    text = _text(path)
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
