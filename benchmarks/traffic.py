"""What leaves a client in a round and what comes down, by method: the table of docs/deploy.md.

    python -m benchmarks.traffic

Bytes are measured: two clients train the network of `domain_skew` for two rounds on a few samples,
and the second round is looked at, so that what travels only once is not in it. What the tensors are
is the sentence with which each method's module opens.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import fedlab
from fedlab.config.registry import BUILTIN
from fedlab.report.units import size

SCENARIO: dict[str, Any] = {
    "name": "traffic",
    "rounds": 3,
    "data": {
        "sources": [{"name": "digits"}],
        "domains": ["handwritten", "scan"],
        "train_samples_per_domain": 40,
        "test_samples_per_domain": 20,
    },
    "partition": {"clients": 2},
    "model": {"name": "small_cnn"},
    "training": {"batch_size": 20},
    "evaluation": {"every": 3},
    "resources": {"backend": "local", "gpus_per_actor": 0},
}
FEW_LABELS = {"partition": {"clients": 2, "label_budget": {"share": 0.2}}}
FEATURES = {
    "model": {"name": "linear"},
    "data": SCENARIO["data"] | {"features": {"name": "warm_up", "rounds": 1}},
}
WANTED: dict[str, dict[str, Any]] = {
    "feddg_ga": {"evaluation": {"every": 3, "validation": 0.2}},
    "fedlabel": FEW_LABELS,
    "fixmatch": FEW_LABELS,
    "uda": FEW_LABELS,
    "ggeur": FEATURES,
    "nmtune": FEATURES,
    "llp_bp": {"partition": {"clients": 2, "label_proportions": {"bag_size": 5}}},
}
"""What some methods cannot do without."""


@dataclass(frozen=True)
class Traffic:
    """Bytes of array values of one client in one round.

    Attributes:
        up: What it sends.
        down: What it is sent to train with.
        once: What it sends before the first round.
    """

    up: int
    down: int
    once: int


NOT_ON_DEVICES = ("centralised", "fedbuff")
"""One has all samples in one place, the other a clock that is simulated."""


def methods() -> list[str]:
    """All methods that devices can take part in."""
    return [name for name in BUILTIN["strategies"] if name not in NOT_ON_DEVICES]


def measure(strategy: str, folder: Path) -> Traffic:
    """Trains for a moment and reads the history."""
    fields = SCENARIO | WANTED.get(strategy, {}) | {"strategy": strategy}
    run = fedlab.simulate(fields, out=folder, progress=False)
    rows = run.history.query("split == 'round'").set_index(["round", "metric"]).value

    def of_client(metric: str, server_round: int) -> int:
        return int(rows[server_round, metric] / rows[server_round, "clients"])

    up = of_client("bytes_up", 2)
    return Traffic(up, of_client("bytes_down", 2), of_client("bytes_up", 1) - up)


def sentences(strategy: str) -> dict[str, str]:
    """What goes up, what comes down and what stays, in the words of the method's module."""
    module = BUILTIN["strategies"][strategy].partition(":")[0]
    text = " ".join((import_module(module).__doc__ or "").split()) + " "
    found = dict(re.findall(r"(Up|Down|Stays|Every round)(?:, once)?: (.*?)\. (?=[A-Z]|$)", text))
    if "Every round" in found:
        found["Up"] = f"once {found['Up']}; every round {found['Every round']}"
    return {key: value.replace("``", "`") for key, value in found.items()}


def row(strategy: str, folder: Path) -> str:
    """A line of the table."""
    found, said = measure(strategy, folder), sentences(strategy)
    up = size(found.up) + f" (once: {size(found.once)})" * (found.once > 0)
    return f"| `{strategy}` | {up} | {size(found.down)} | {said['Up']} | {said['Stays']} |"


def table(folder: Path) -> str:
    """Markdown: a row per method."""
    lines = ["| method | up | down | what goes up | what stays |", "|---|--:|--:|---|---|"]
    return "\n".join([*lines, *(row(strategy, folder / strategy) for strategy in methods())])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(table(Path(folder)))


if __name__ == "__main__":
    main()
