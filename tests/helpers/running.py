"""Runs that are compared byte by byte, with observers that act after a round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fedlab.federation.callbacks import RoundReport
from fedlab.runs.run import Run
from fedlab.strategies.base import Strategy


class At:
    """Observer that does something after a round."""

    def __init__(self, server_round: int, action) -> None:
        self.round, self.action = server_round, action

    def on_start(self, strategy: Strategy, first_round: int, rounds: int) -> None: ...

    def on_round(self, strategy: Strategy, report: RoundReport) -> None:
        if report.round == self.round:
            self.action()

    def on_end(self, strategy: Strategy) -> None: ...


def result(folder: Path) -> dict[str, bytes]:
    """Everything of a run that must be reproducible, byte by byte."""
    files = [folder / "history.csv", folder / "model.safetensors"]
    files += sorted((folder / "checkpoints" / "clients").glob("*"))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def on(backend: str) -> dict:
    return {"backend": backend, "actors": 2} if backend == "ray" else {"backend": backend}


ELSEWHERE = {"ggeur", "fedbuff", "feddg_ga", "nmtune", "llp_bp"}
"""Methods that need features, devices, validation samples or bags, and are interrupted in tests of
their own."""


LIKE_OTHERS = {
    *("fedprox", "fedntd", "fedsam", "fixbn", "fedwon", "centralised"),  # fedavg: the model alone
    *("fixmatch", "uda"),  # fedlabel
    *("fedadagrad", "fedyogi", "flwr:FedAdam"),  # fedadam, flwr:FedAvgM
    *("fedetf", "fedbabu", "qfedavg", "fediir", "sla"),  # fedavg, fedavgm
    "fedrod",  # fedala
    *("fedper", "f2dc", "fedsr"),  # lg_fedavg
    "pardon",  # ccst
    "fedlesam",  # moon
    "fedplvm",  # fpl
}
"""Methods that keep from round to round what another one keeps; they are slow tests."""


def every(methods: Sequence[str]) -> list[Any]:
    """Methods as parameters of a test."""
    marks = dict.fromkeys(LIKE_OTHERS, pytest.mark.slow)
    return [pytest.param(name, marks=marks.get(name, ())) for name in methods]


class Failures:
    """Observer that keeps who failed in which round, and why."""

    def __init__(self) -> None:
        self.rounds: dict[int, dict[str, str]] = {}

    def on_start(self, strategy: Strategy, first_round: int, rounds: int) -> None: ...

    def on_round(self, strategy: Strategy, report: RoundReport) -> None:
        self.rounds[report.round] = dict(report.failures)

    def on_end(self, strategy: Strategy) -> None: ...


def trained(run: Run, server_round: int) -> list[int]:
    """Clients whose training entered a round."""
    rows = run.history[(run.history.split == "train") & (run.history["round"] == server_round)]
    return sorted(set(rows.client))
