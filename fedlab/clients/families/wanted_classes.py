"""What the synthetic representations of a step are made for: classes, and noise beside them.

They are laid out once for a step, one draw of noise after the other, for all passes that make
representations (FRAug).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from fedlab.models.fraug_networks import one_hot
from fedlab.records import Tensors

DRAWS = 5
"""Noise vectors that a step takes for each sample: two for the head, one for the generator's step,
two for RTNet's."""

HEAD, GENERATOR, RTNET = slice(0, 2), slice(2, 3), slice(3, 5)
"""Which of the draws these are; the first of two is for a class dealt in turn, the second for the
sample's own. The generator's is for the dealt one."""


class Wanted(NamedTuple):
    """What some representations are made for.

    Attributes:
        labels: Classes, int64 of shape (n,).
        kinds: The same as zeros and ones, shape (n, classes).
        rows: Noise beside `kinds`, what the generator makes them from, shape (n, latent + classes).
    """

    labels: torch.Tensor
    kinds: torch.Tensor
    rows: torch.Tensor


def all_wanted(dealt: torch.Tensor, own: torch.Tensor, noise: torch.Tensor, classes: int) -> Wanted:
    """What all draws of a step are for.

    Args:
        dealt: Classes dealt in turn, int64 of shape (n,).
        own: The classes of the batch's samples, of the same shape.
        noise: Shape (`DRAWS`, n, latent).
        classes: Number of classes.
    """
    labels = torch.cat([dealt, own, dealt, dealt, own])
    kinds = one_hot(labels, classes, noise)
    return Wanted(labels, kinds, torch.cat([noise.flatten(0, 1), kinds], dim=1))


def part_of(wanted: Tensors, draws: slice) -> Wanted:
    """What some of the draws are for, of `all_wanted` by names."""
    size = len(wanted["labels"]) // DRAWS
    rows = slice(draws.start * size, draws.stop * size)
    return Wanted(*(wanted[name][rows] for name in Wanted._fields))
