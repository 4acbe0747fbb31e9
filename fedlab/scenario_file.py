"""From a YAML file, a shipped name or a mapping, and overrides, to a `Scenario`; and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedlab.config import overrides as override
from fedlab.config import yaml_text
from fedlab.config.builtin_scenarios import find, read_text
from fedlab.config.error_messages import describe
from fedlab.config.experiment import Experiment
from fedlab.config.yaml_text import KeyPath
from fedlab.errors import InputError
from fedlab.scenario import Scenario


def load_scenario(
    source: str | Path | Mapping[str, Any] | Scenario,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    **fields: Any,
) -> Scenario:
    """Reads a scenario, applies overrides, and checks it.

    Args:
        source: A YAML file, the name of a shipped scenario (a file of that name wins), the values
            themselves, or a scenario.
        overrides: Changes: ``a.b=value`` texts with YAML values, list items by their index, or a
            mapping with dotted or nested keys. ``strategy=fedbn`` and ``strategy={name: fedbn}``
            replace the block by that component, with defaults for what is not said; so does
            ``strategy.name=fedbn`` where the name changes. A block without a name changes the keys
            that it says.
        **fields: Changes of top-level fields, applied first: ``strategy="fedbn"``, ``seed=3``;
            ``client`` is short for ``strategy.client``. A strategy or a client trainer may be given
            by its class, wherever that is defined.

    Raises:
        InputError: If there is no such scenario, or anything in it is wrong: one line for each
            problem with the file, line, key, value and remedy.
    """
    where, origins = "scenario", dict[KeyPath, str]()
    if isinstance(source, Scenario):
        values: Any = source.model_dump()
    elif isinstance(source, Mapping):
        values = dict(source)
    else:
        path = find(source)
        where = str(path)
        values, lines = yaml_text.read(read_text(path), where)
        origins = {place: f"{where}:{line}" for place, line in lines.items()}
        if not isinstance(values, dict):
            raise InputError(f"{where}: holds no scenario; start from `fedlab copy domain_skew`")
    if "client" in fields:
        fields["strategy.client"] = fields.pop("client")
    changes = override.parse(fields) | override.parse(overrides)
    values = override.apply(Scenario, values, changes)
    origins = (
        {  # what an override replaced is no longer what the file says there
            place: origin
            for place, origin in origins.items()
            if not any(place[: len(change)] == change for change in changes)
        }
        | dict.fromkeys(changes, "override")
    )
    try:
        return Scenario.model_validate(values)
    except ValidationError as error:
        raise InputError(describe(error, Scenario, values, where, origins)) from error


def to_yaml(scenario: Experiment) -> str:
    """The whole scenario, defaults included, as YAML that loads to an equal one."""
    return yaml_text.write(scenario.model_dump(mode="json"))
