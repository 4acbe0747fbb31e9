"""Checks that an exported model gives the same outputs as the trained one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedlab.errors import RunError
from fedlab.export.formats.base import Inference
from fedlab.metrics.base import Metric
from fedlab.records import as_tensor
from fedlab.targets.base import CLASS, REGRESSION, Target

MOST = 512
"""Test samples that are compared, at most."""

TOLERANCE = 1e-4
"""Largest difference of a logit, as a share of the largest logit: float32 sums in another order."""

TOLERANCE_WITH_EXTRACTOR = 1e-2
"""The same where features are made anew: those of the run may come from a GPU's shorter floats."""

EPS = float(np.finfo(np.float32).eps)

BATCH_SIZES = 33, 1
"""Samples that are run at once, in turn: a program has to take any number of them."""


@dataclass(frozen=True)
class ExportComparison:
    """Differences between an exported model and the original.

    Attributes:
        samples: Test samples compared.
        largest: The largest difference of a logit; of numbers in units of what is learnt.
        allowed: Up to which it is rounding.
        same: Share of the samples that both put into the same class; of the labels that both give;
            None of a regression.
        score: Of the exported model on the test samples: of classes the accuracy.
        scored: The name of that score.
    """

    samples: int
    largest: float
    allowed: float
    same: float | None
    score: float
    scored: str

    def insist(self) -> None:
        """Refuses an exported model with other outputs.

        Raises:
            RunError: With the difference.
        """
        if not self.largest <= self.allowed:
            raise RunError(
                f"the exported model differs from the original by {self.largest:.2g} on "
                f"{self.samples} test samples, more than the {self.allowed:.2g} that rounding "
                "explains; nothing was written"
            )


def spread(rows: np.ndarray) -> np.ndarray:
    """At most `MOST` of some rows, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int))]


@torch.inference_mode()
def compare(
    exported: Inference,
    original: Callable[[Tensor], Tensor],
    inputs: np.ndarray,
    stored: np.ndarray,
    labels: np.ndarray,
    tolerance: float,
    target: Target,
) -> ExportComparison:
    """Runs both on the same samples.

    Args:
        exported: What a device makes of the file.
        original: The trained model, for samples as the run had them.
        inputs: Samples as the exported model takes them, shape (n, ...).
        stored: The same samples as the run had them (features, where it was trained on these).
        labels: As stored, int64 of shape (n,) where classes are learnt.
        tolerance: Largest difference as a share of the largest logit, or of 1.
        target: What is learnt.
    """
    given, start = [], 0
    while start < len(inputs):
        size = BATCH_SIZES[len(given) % len(BATCH_SIZES)]
        given.append(exported(as_tensor(inputs[start : start + size])))
        start += size
    logits, wanted = torch.cat(given), original(as_tensor(stored))
    learnt, meant = logits, wanted
    same, coarse = None, 0.0
    if target.kind == REGRESSION:  # numbers far from 0 are coarse in float32
        learnt, meant, next_ones = map(target.to_learn, (logits, wanted, wanted * (1 + 4 * EPS)))
        coarse = float((next_ones - meant).abs().max())
    else:
        picks = [each.argmax(1) if target.kind == CLASS else each > 0 for each in (logits, wanted)]
        same = float((picks[0] == picks[1]).float().mean())
    metric: Any = Metric.choose(target.score)
    return ExportComparison(
        samples=len(labels),
        largest=float((learnt - meant).abs().max()),
        allowed=tolerance * max(1.0, float(meant.abs().max())) + coarse,
        same=same,
        score=float(metric.values(logits, as_tensor(labels)).double().mean()),
        scored=metric.words,
    )
