"""Mean and standard deviation of every feature, of samples larger than memory."""

from __future__ import annotations

import math
from functools import reduce
from typing import NamedTuple

import numpy as np

from fedlab.data.mapped_pool import Inputs, pieces


class FeatureMoments(NamedTuple):
    """Mean and standard deviation of features, float64 of shape (features,) or (channels,).

    Attributes:
        mean: The mean of all numbers of a feature.
        std: Their standard deviation; 1 where they are all the same, so that these become 0.
    """

    mean: np.ndarray
    std: np.ndarray


def moments(inputs: Inputs, rows: np.ndarray) -> FeatureMoments:
    """Mean and standard deviation of samples, which are read twice, a piece at a time.

    The numbers do not depend on where the samples are. The numbers of a channel go together.

    Args:
        inputs: Numbers of shape (n, features) or (n, channels, ...).
        rows: Indices of the samples that count, at least one, int64.
    """
    axes = (0, *range(2, inputs.ndim))
    count = len(rows) * math.prod(inputs.shape[2:])
    with np.errstate(over="ignore", invalid="ignore"):
        totals, least, most = zip(
            *(
                (own.sum(axis=axes), own.min(axis=axes), own.max(axis=axes))
                for own in (piece.astype(np.float64) for piece in pieces(inputs, rows))
            ),
            strict=True,
        )
        mean = reduce(np.add, totals) / count
        centre = mean.reshape(-1, *[1] * (inputs.ndim - 2))
        squares = (
            np.square(piece.astype(np.float64) - centre).sum(axis=axes)
            for piece in pieces(inputs, rows)
        )
        std = np.sqrt(reduce(np.add, squares) / count)
    std[reduce(np.minimum, least) == reduce(np.maximum, most)] = 1
    return FeatureMoments(mean, std)
