"""Parses the arguments of `fedlab compare`: lists of methods, of values, of seeds.

A comma separates, unless it stands in brackets or quotes, where it belongs to a value of YAML:
``model.hidden=[8,8],[16]`` are two values, ``data.domains=[a,b]`` is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlab.config import overrides as override
from fedlab.config import registry, yaml_text
from fedlab.config.builtin_scenarios import shipped_scenarios
from fedlab.errors import InputError
from fedlab.strategies.parameters import StrategyParameters

OPENING, CLOSING, QUOTES = "[{", "]}", "\"'"
BEFORE_A_VALUE = "[{,:="
"""After these (or nothing), a quote opens a value; elsewhere it is an apostrophe."""


@dataclass(frozen=True)
class Changes:
    """The changes of a scenario that a command line asks for.

    Attributes:
        fixed: What is the same for all runs, as ``key=value``.
        variants: Values to compare, by dotted key.
    """

    fixed: Sequence[str]
    variants: Mapping[str, Sequence[Any]]


def split(text: str, separates: Callable[[str], bool] = ",".__eq__) -> list[str]:
    """The parts of a text between separators that stand outside of brackets and quotes.

    Args:
        text: The text.
        separates: Whether a character is a separator.
    """
    parts, depth, quote = [""], 0, ""
    for character in text:
        before = parts[-1].rstrip()[-1:]
        if quote:
            quote = "" if character == quote else quote
        elif character in QUOTES and (not before or before in BEFORE_A_VALUE):
            quote = character
        elif separates(character) and depth == 0:
            parts.append("")
            continue
        depth += (character in OPENING) - (character in CLOSING) if not quote else 0
        parts[-1] += character
    return [part.strip() for part in parts]


def listed(text: str | None) -> list[str]:
    """The parts of an option that is a list; none where it is not given."""
    return [part for part in split(text or "") if part]


def changes_of(texts: Sequence[str]) -> Changes:
    """Separates overrides of all runs, ``key=value``, from compared ``key=value,value``.

    Raises:
        InputError: If a text is of neither form, or a value is missing or stands there twice.
    """
    fixed, variants = [], {}
    for text in texts:
        key, equals, written = text.partition("=")
        if not equals and _is_method(text):
            alone = [each for each in texts if "=" not in each.split(" ")[0] and _is_method(each)]
            methods = ",".join(alone if len(alone) > 1 or text == "fedavg" else ["fedavg", text])
            raise InputError(
                f"'{text}' stands alone, and names a method; name methods with commas between "
                f"them, such as --strategies {methods}"
            )
        values = split(written)
        if len(values) == 1:
            fixed.append(text)
            continue
        where = f"override '{text}'"
        if not all(values):
            raise InputError(
                f"{where}: has a comma without a value on both sides; put a value that holds a "
                "comma into quotes or brackets"
            )
        override.parse([f"{key}={values[0]}"])  # refuses a key that is none
        variants[key.strip()] = [yaml_text.read(v, where, numbered=False)[0] for v in values]
    return Changes(fixed, variants)


def is_scenario(text: str) -> bool:
    """Whether a word of the command line is a scenario: a file, or one that comes with fedlab."""
    return "=" not in text and (text in shipped_scenarios() or text.endswith((".yaml", ".yml")))


def refuse_run_folders(texts: Sequence[str]) -> None:
    """Refuses folders of runs where scenarios and changes stand.

    Raises:
        InputError: With the verb that puts finished runs side by side.
    """
    stand_alone = [text for text in texts if "=" not in text and not is_scenario(text)]
    if folders := [text for text in stand_alone if Path(text).is_dir()]:
        raise InputError(
            f"'{folders[0]}' is a folder, and compare trains what a scenario says; put runs that "
            f"are there side by side with `fedlab report {' '.join(folders)}`"
        )


def _is_method(text: str) -> bool:
    name = text.partition(" ")[0]
    return name in registry.names("strategies") or name.startswith("flwr:")


def seeds_of(text: str) -> int | list[int]:
    """``5`` is a number of seeds, ``0,3,7`` or ``[7]`` are seeds.

    Raises:
        InputError: If it is neither.
    """
    written = text.strip()
    is_list = "," in written or written.startswith("[")
    parts = [part.strip() for part in written.strip("[]").split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise InputError(
            f"--seeds: '{text}' is no number of seeds and no list of them; give how many, such as "
            "5, or which, such as 0,3,7"
        )
    return [int(part) for part in parts] if is_list else int(parts[0])


def strategy_change(strategy: Any) -> dict[str, Any]:
    """The changes of a scenario that select a method, given in any form.

    The scenario's own method keeps the parameters that the scenario gives it; any other starts
    from its defaults.

    Args:
        strategy: ``fedprox``, ``fedprox mu=0.1``, ``{"name": "fedprox", "mu": 0.1}``, a strategy's
            class, or its parameters.

    Raises:
        InputError: If it is none of these.
    """
    if isinstance(strategy, StrategyParameters):
        return {"strategy": strategy}
    if isinstance(strategy, type):
        return {"strategy.name": registry.name_of("strategies", strategy)}
    if isinstance(strategy, Mapping) and "name" in strategy:
        named = strategy_change(strategy["name"])
        return named | {f"strategy.{key}": v for key, v in strategy.items() if key != "name"}
    if not isinstance(strategy, str) or not strategy.strip():
        raise InputError(
            f"strategies: {strategy!r} names no method; write fedprox, 'fedprox mu=0.1', or give "
            "the class"
        )
    name, *parameters = filter(None, split(strategy, str.isspace))
    changed: dict[str, Any] = {"strategy.name": name}
    for text in parameters:
        key, equals, written = text.partition("=")
        if not equals or not key or not written:
            raise InputError(
                f"strategies: '{text}' in '{strategy}' is not of the form parameter=value; "
                "separate methods by commas"
            )
        where = f"strategies: '{strategy}'"
        changed[f"strategy.{key}"] = yaml_text.read(written, where, numbered=False)[0]
    return changed
