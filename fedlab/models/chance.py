"""Detects networks that draw random numbers in training mode."""

from __future__ import annotations

from torch import nn

from fedlab.models.anatomy import anatomy_of

DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


def draws_random_numbers(model: nn.Module) -> bool:
    """Whether a network draws random numbers in training mode: observed in a run, or by dropout."""
    observed = anatomy_of(model).observed
    if observed is not None and observed.random:
        return True
    return any(isinstance(module, DROPOUTS) and module.p > 0 for module in model.modules())
