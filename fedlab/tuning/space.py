"""The search space: ranges of keys that all methods share, and of each method's own parameters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedlab.config import registry, yaml_text
from fedlab.config.ranges import LogUniform, Range, read_range
from fedlab.errors import InputError
from fedlab.scenario import Scenario

LEARNING_RATE = "training.optimizer.lr"

TUNABLE = ("training", "model", "updates")
"""Blocks whose keys may be drawn for all methods alike."""

FACTOR = 10.0
"""The learning rate of a scenario is tried from a tenth of it to ten times it."""


@dataclass(frozen=True)
class Space:
    """Ranges by dotted key.

    Attributes:
        shared: What every method draws alike.
        own: What a method draws for itself, by its name, by the names of its parameters; a method
            that is missing has the ranges that its `Parameters` declare (``space``).
        file: Where it stands, for errors.
    """

    shared: Mapping[str, Range]
    own: Mapping[str, Mapping[str, Range]]
    file: str = "space"

    def of(self, scenario: Scenario) -> Mapping[str, Range]:
        """A method's own ranges, by dotted key."""
        strategy = scenario.strategy
        idle = strategy.without_effect()
        declared = {key: each for key, each in type(strategy).space.items() if key not in idle}
        ranges = self.own.get(strategy.name, declared)
        return {f"strategy.{key}": each for key, each in ranges.items()}

    def refuse_own(self, methods: Collection[str]) -> None:
        """Refuses methods' own ranges that would not be drawn, or that change what is minimised.

        Args:
            methods: Names of the methods that are tuned.

        Raises:
            InputError: With the remedy.
        """
        for name, ranges in self.own.items():
            where = f"{self.file}: own: {name}"
            if name not in methods:
                raise InputError(
                    f"{where}: is not among the methods that are tuned ({', '.join(methods)}), so "
                    "that nothing of it would be drawn; name it in --strategies, or leave it out"
                )
            for key in ranges:
                if key.rpartition(".")[2] == "weighting":
                    raise InputError(
                        f"{where}: {key}: is not drawn, since it says how clients count in the "
                        "loss that is minimised, and draws of two losses are not compared; leave "
                        f"it out, and set it in the scenario (strategy.{key}=uniform)"
                    )

    def place(self, key: str, method: str) -> str:
        """The place of a dotted key's range, for messages.

        Args:
            key: The key.
            method: The name of the method that draws it.
        """
        if key in self.shared:
            return f"{self.file}: shared: {key}"
        return f"{self.file}: own: {method}: {key.partition('.')[2]}"

    def to_yaml(self) -> dict[str, Any]:
        """The space as values of YAML, in the form of its file."""
        return {
            "shared": {key: each.to_yaml() for key, each in self.shared.items()},
            "own": {
                name: {key: each.to_yaml() for key, each in ranges.items()}
                for name, ranges in self.own.items()
            },
        }


def default_space(scenario: Scenario) -> Space:
    """The learning rate around the scenario's, and the ranges that methods declare."""
    lr = scenario.training.optimizer.lr
    return Space({LEARNING_RATE: LogUniform(lr / FACTOR, lr * FACTOR)}, {})


def read_space(file: str | Path, scenario: Scenario) -> Space:
    """A space from a YAML file.

    ::

        shared:
          training.optimizer.lr: {log: [0.001, 1]}
          training.batch_size: [16, 32, 64]
        own:
          fedprox: {mu: {log: [0.0001, 1]}}

    A missing ``shared`` is that of `default_space`; ``shared: {}`` draws nothing for all alike.

    Raises:
        InputError: If the file cannot be read, or a range is empty or none.
    """
    path = Path(file)
    try:
        written = yaml_text.read(path.read_text(encoding="utf-8"), str(path))[0]
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"--space: '{path}' cannot be read: {why}; check the path") from error
    if not isinstance(written, Mapping) or not {*written} <= {"shared", "own"}:
        raise InputError(f"{path}: must be a block with the keys shared and own")
    shared = written.get("shared")
    own = written.get("own") or {}
    blocks = {"shared": shared, "own": own}
    blocks |= {f"own: {name}": own[name] for name in own if isinstance(own, Mapping)}
    for key, block in blocks.items():
        if block is not None and not isinstance(block, Mapping):
            raise InputError(f"{path}: {key}: must be a block of ranges by key")
    for key in shared or {}:
        if str(key).partition(".")[0] not in TUNABLE:
            raise InputError(
                f"{path}: shared: {key}: is not drawn, since draws are compared with one another: "
                f"they need the same data, clients, rounds and measures; draw {', '.join(TUNABLE)}"
            )
    for name in own:
        try:
            registry.path_of("strategies", str(name))
        except InputError as error:
            raise InputError(f"{path}: own: {error}") from error
    return Space(
        default_space(scenario).shared
        if shared is None
        else {key: read_range(each, f"{path}: shared: {key}") for key, each in shared.items()},
        {
            name: {key: read_range(r, f"{path}: own: {name}: {key}") for key, r in block.items()}
            for name, block in own.items()
        },
        str(path),
    )
