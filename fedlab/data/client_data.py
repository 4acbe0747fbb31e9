"""One client's training samples on the device that trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch

from fedlab.targets.base import Target
from fedlab.targets.classes import Classes

Split = Literal["all", "labelled", "unlabelled"]
"""Training samples that a phase reads, by what the client knows of them."""


@dataclass(frozen=True)
class ClientData:
    """A client's training samples as decoded by the sources, normalised batch by batch.

    Attributes:
        inputs: uint8 images of shape (n, c, h, w) or float32 of shape (n, f).
        labels: As observed and as losses read them (`Target.to_learn`): int64 of shape (n,) where
            classes are learnt, else float32 of shape (n, outputs).
        labelled: Which of them are known, bool of shape (n,), on the CPU, where rows are chosen.
        normalise: Turns inputs into what the network reads, without augmentation.
        bags: Number of each sample's bag, int64 of shape (n,) on the CPU, -1 for none, where the
            shares of the classes in bags are what is known; None otherwise.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    labelled: torch.Tensor
    normalise: Callable[[torch.Tensor], torch.Tensor] = torch.Tensor.float
    bags: torch.Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return self.inputs.nbytes + self.labels.nbytes + self.labelled.nbytes

    @cached_property
    def known(self) -> int:
        """Number of labelled samples."""
        return int(self.labelled.count_nonzero())

    @cached_property
    def labelled_there(self) -> torch.Tensor:
        """`labelled` on the device of the samples."""
        return self.labelled.to(self.labels.device)

    @cached_property
    def _counts(self) -> dict[int, torch.Tensor]:
        return {}

    def counts(self, target: Target, outputs: int) -> torch.Tensor:
        """Labelled training samples of every class, or with every label (`Target.counts`)."""
        if outputs not in self._counts:  # an accelerator is waited for, once in a run
            whole = self.known == len(self.labels)
            known = self.labels if whole else self.labels[self.labelled_there]
            self._counts[outputs] = target.counts(known, outputs)
        return self._counts[outputs]

    def class_counts(self, classes: int) -> torch.Tensor:
        """Labelled training samples of every class, int64 of shape (classes,)."""
        return self.counts(Classes(), classes)

    def number(self, name: Split) -> int:
        """Number of the training samples that a phase reads."""
        every = self.labelled.shape[0]
        return {"all": every, "labelled": self.known, "unlabelled": every - self.known}[name]

    def rows(self, name: Split, places: torch.Tensor) -> torch.Tensor:
        """Row indices of those of a split's samples that have these places in it, on the CPU."""
        whole = self.bags is None and self.number(name) == self.labelled.shape[0]
        if whole or not places.shape[0]:
            return places
        return self.split(name)[places]

    def split(self, name: Split) -> torch.Tensor:
        """Row indices of the training samples that a phase reads, on the CPU; bag after bag."""
        if name == "labelled" and self.bags is not None:
            order = self.bags.argsort(stable=True)
            return order[self.labelled[order]]
        if name == "all":
            return torch.arange(len(self.labels))
        return (self.labelled if name == "labelled" else ~self.labelled).nonzero().flatten()
