"""A run to forget clients of: stripes, in the hands of three clients of unequal sizes."""

from __future__ import annotations

from pathlib import Path

from fedlab.runs.run import Run
from helpers.adapting import finished


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
