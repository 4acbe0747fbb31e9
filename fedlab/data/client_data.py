"""One client's samples on the device that trains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch


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

    def class_counts(self, classes: int) -> torch.Tensor:
        """Labelled training samples of every class, int64 of shape (classes,)."""
        known = self.labels[self.labelled.to(self.labels.device)]
        return torch.bincount(known, minlength=classes)

    def split(self, name: Literal["all", "labelled", "unlabelled"]) -> torch.Tensor:
        """Row indices of the training samples that a phase reads, on the CPU."""
        if name == "all":
            return torch.arange(len(self.labels))
        return (self.labelled if name == "labelled" else ~self.labelled).nonzero().flatten()
