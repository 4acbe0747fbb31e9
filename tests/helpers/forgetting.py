"""A run to forget clients of: stripes, in the hands of three clients of unequal sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedlab.runs.run import Run
from fedlab.simulation import simulate
from helpers import toy


def finished(folder: Path, **fields: Any) -> Run:
    """A run of the toy problem."""
    return simulate(toy.scenario(**fields), out=folder, progress=False)


def striped(folder: Path) -> Run:
    """Three clients, whose samples are one batch each; with batch normalisation."""
    return finished(
        folder,
        rounds=3,
        partition={
            "clients": 3,
            "domains": "mixed",
            "quantity": {"name": "lognormal", "sigma": 0.5},
        },
        model={"name": "small_cnn", "widths": [4, 4, 8]},
        training={"batch_size": "full", "local_epochs": 2, "optimizer": {"lr": 0.05}},
    )
