"""Detects networks whose outputs for a sample depend on the other samples of the batch."""

from __future__ import annotations

from torch import nn

from fedlab.models.anatomy import anatomy_of
from fedlab.models.normalisation import normalises_batch


def mixes_test_samples(model: nn.Module) -> bool:
    """Whether outputs depend on other samples in evaluation mode.

    This was observed in a run, or follows from batch normalisation without running statistics.
    """
    observed = anatomy_of(model).observed
    if observed is not None and observed.mixes_in_tests:
        return True
    return any(
        normalises_batch(module) and getattr(module, "track_running_stats", True) is False
        for module in model.modules()
    )
