"""Runs that are adapted to test samples, and the accuracy that comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas

from fedlab.adaptation.adapt_test import Adapted
from fedlab.runs.run import Run
from fedlab.simulation import simulate
from helpers import toy


def finished(folder: Path, **fields: Any) -> Run:
    """A finished run of the toy scenario with other fields."""
    return simulate(toy.scenario(**fields), out=folder, progress=False)


def learnt_looks(folder: Path) -> Run:
    """Learnt of handwriting; tested on that, a dim look, and other shares of classes."""
    data = {
        "sources": [{"name": "helpers.looks:Looks"}],
        "image_size": 16,
        "channels": 1,
        "unseen_domains": ["dim", "skewed"],
    }
    return finished(
        folder,
        data=data,
        partition={"clients": 2},
        model={"name": "small_cnn", "widths": [8, 8, 16]},
        evaluation={"validation": 0.3, "every": 12},
        rounds=12,
        training={"batch_size": 16, "optimizer": {"lr": 0.1}},
    )


def accuracy(found: Adapted) -> pandas.DataFrame:
    """The rows of accuracy, by domain."""
    return found.table[found.table.metric == "accuracy"].set_index("domain")
