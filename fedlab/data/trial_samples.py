"""Two samples to test a network with before training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from fedlab.data.mapped_pool import pieces
from fedlab.data.preprocess import Preprocess
from fedlab.data.sample_shape import ids_in
from fedlab.data.samples import FederatedData
from fedlab.records import as_tensor


class TrialSamples(NamedTuple):
    """Samples in the form of a network's inputs.

    Attributes:
        inputs: Shape (2, ...).
        labels: As losses read them: classes, int64 of shape (2,), or of shape (2, ...).
    """

    inputs: torch.Tensor
    labels: torch.Tensor


def trial_samples(data: FederatedData, preprocess: Preprocess) -> TrialSamples:
    """Two training samples; placeholders where there are none.

    Of whole numbers (ids) these are the samples with the largest and with the smallest one, which a
    table that is too short lacks; else the first and the last.
    """
    rows = [0, len(data.train) - 1]
    if not len(data.train):
        labels = data.target.to_learn(data.target.example(2, len(data.class_names)))
        return TrialSamples(placeholder(data.input_shape), labels)
    if preprocess.ids:
        ends = [
            (flat.max(axis=1), flat.min(axis=1))
            for flat in (piece.reshape(len(piece), -1) for piece in pieces(data.train.inputs))
        ]
        most, least = (np.concatenate(each) for each in zip(*ends, strict=True))
        rows = [int(most.argmax()), int(least.argmin())]
    inputs = as_tensor(data.train.inputs[rows])
    labels = data.target.to_learn(as_tensor(data.train.labels[rows]))
    return TrialSamples(preprocess.inputs(inputs), labels)


def placeholder(shape: tuple[int, ...]) -> torch.Tensor:
    """Two samples where none are at hand, shape (2, ...): standard normal noise, or ids."""
    ids = ids_in(shape)
    if ids is not None and ids.vocabulary is not None:
        return torch.arange(2 * shape[0]).view(2, -1) % ids.vocabulary
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
