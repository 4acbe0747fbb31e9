"""Standard normal numbers, from a seed or from the operating system."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import numpy as np
import torch

from fedlab.records import as_tensor

UNIT = 2.0**-53
"""The step between uniform numbers that double precision holds all of."""


def standard_normal(shape: Sequence[int], generator: torch.Generator | None) -> torch.Tensor:
    """Independent standard normal numbers, float64 of the given shape.

    Args:
        shape: The shape.
        generator: Their source. None takes every single bit from the operating system: a seed,
            however it was drawn, could be guessed, for PyTorch uses no more than 32 bits of it,
            and the right one could be recognised, as its noise explains the model.
    """
    if generator is not None:
        return torch.randn(tuple(shape), generator=generator, dtype=torch.float64)
    size = math.prod(shape)
    pairs = -(-size // 2)
    bits = np.frombuffer(os.urandom(16 * pairs), np.uint64).reshape(2, pairs) >> np.uint64(11)
    first, second = (bits + 0.5) * UNIT  # in (0, 1)
    radius, angle = np.sqrt(-2 * np.log(first)), 2 * np.pi * second  # Box and Muller, 1958
    values = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
    return as_tensor(values).reshape(tuple(shape))
