"""One client's samples on the device that trains it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from fedlab.data.samples import Samples
from fedlab.scenarios.partition import ClientSplit


@dataclass(frozen=True)
class ClientData:
    """A client's samples as the sources decoded them; they are normalised batch by batch.

    Attributes:
        inputs: Training inputs, uint8 images of shape (n, c, h, w) or float32 of shape (n, f).
        labels: Observed training labels, int64 of shape (n,).
        labelled: Which of them are known, bool of shape (n,), on the CPU, where rows are chosen.
        test_inputs: Test inputs.
        test_labels: Test labels.
        test_domains: Domain index of every test sample.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    labelled: torch.Tensor
    test_inputs: torch.Tensor
    test_labels: torch.Tensor
    test_domains: torch.Tensor

    @classmethod
    def gather(
        cls, split: ClientSplit, train: Samples, test: Samples, device: torch.device
    ) -> ClientData:
        """Copies the client's rows out of the pools."""

        def rows(pool: np.ndarray, index: np.ndarray) -> torch.Tensor:
            return as_tensor(pool[index]).to(device)

        return cls(
            inputs=rows(train.inputs, split.train),
            labels=as_tensor(split.labels).to(device),
            labelled=as_tensor(split.labelled),
            test_inputs=rows(test.inputs, split.test),
            test_labels=rows(test.labels, split.test),
            test_domains=rows(test.domains, split.test),
        )

    def split(self, name: Literal["all", "labelled", "unlabelled"]) -> torch.Tensor:
        """Row indices of the training samples that a phase reads, on the CPU."""
        if name == "all":
            return torch.arange(len(self.labels))
        return (self.labelled if name == "labelled" else ~self.labelled).nonzero().flatten()


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over an array's memory, which may be read-only (Ray's object store)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def batches(
    rows: torch.Tensor,
    batch_size: int | Literal["full"],
    *,
    epochs: int,
    steps: int | None,
    generator: torch.Generator,
    smallest: int = 1,
) -> Iterator[torch.Tensor]:
    """Row indices of every step of a phase, in an order drawn anew for every pass.

    Args:
        rows: The rows to draw from, shape (n,).
        batch_size: Rows per step; the last step of a pass takes what is left.
        epochs: Passes over the rows.
        steps: Steps in all instead of passes, drawn from as many passes as needed.
        generator: Draws the orders.
        smallest: A remainder with fewer rows than this is left out of its pass, unless it is the
            whole pass (batch normalisation cannot train on a single sample).
    """
    if len(rows) == 0:
        return
    size = len(rows) if batch_size == "full" else batch_size
    taken = 0
    passes = 0
    while passes < epochs if steps is None else taken < steps:
        order = rows[torch.randperm(len(rows), generator=generator)]
        for chunk in order.split(size):
            if len(chunk) < smallest and len(rows) > size:
                continue
            yield chunk
            taken += 1
            if steps is not None and taken == steps:
                return
        passes += 1
