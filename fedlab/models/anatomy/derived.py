"""Recomputes buffers that are derived from weights, after aggregation.

Spectral normalisation divides a weight by its largest singular value, uᵀ W v; each training step
improves the vectors by a power iteration. The mean of clients' vectors is not a unit vector and
does not belong to the aggregated weight.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from fedlab.models.anatomy.anatomy import anatomy_of, fill
from fedlab.models.anatomy.buffers import fitting_vectors, singular_vectors
from fedlab.models.copies import copy_of
from fedlab.records import Tensors


def fitted(model: nn.Module, state: Mapping[str, torch.Tensor]) -> Tensors:
    """The state with derived buffers recomputed, also for frozen weights.

    Args:
        model: The network; not changed.
        state: Tensors by their first names. Buffers whose weights are missing are not changed.
    """
    filled = fill(copy_of(model), state)
    frozen = set(anatomy_of(model).frozen)
    new = dict(state)
    for each in singular_vectors(filled):
        there = all(name in state or name in frozen for name in each.inputs)
        if there and each.left in state and each.right in state:
            new |= fitting_vectors(filled, each, new)
    return new
