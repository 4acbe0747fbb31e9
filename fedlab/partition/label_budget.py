"""Label budget: a share of a client's samples has labels, or of its positive labels is known."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from fedlab.config.component import ConfigBlock
from fedlab.data.stratify import shuffled_groups


class LabelBudget(ConfigBlock):
    """Which share of a client's training samples is labelled.

    With ``data.target: multi_label``, labels may also be partial: of the labels that hold, the
    share `positives` is known, and of all others it is not known whether they hold. A client reads
    a 1 for a known positive and a 0 for everything else; what it is tested and validated on keeps
    all labels.

    Attributes:
        share: Share of labelled samples, in (0, 1].
        positives: Share of known labels among those that hold, in the labelled samples, in (0, 1].
        stratified: Whether each class of a client keeps its share (at least one sample), and each
            label its share of `positives` (at least one); otherwise only the client as a whole
            does.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    positives: float = Field(default=1.0, gt=0, le=1)
    stratified: bool = True

    @model_validator(mode="after")
    def _stratifies_a_draw(self) -> Self:
        if not self.stratified and self.share == self.positives == 1:
            raise ValueError(
                "stratified false would have no effect: share and positives are 1, so that all "
                "labels are known; leave it out, or set share"
            )
        return self

    def mask(
        self, labels: np.ndarray, owners: np.ndarray, classes: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Chooses the labelled samples.

        Args:
            labels: True labels, client after client, int64 of shape (N,).
            owners: The client of each of them, int64 of shape (N,), in ascending order.
            classes: Number of classes.
            rng: Source of randomness.

        Returns:
            bool of shape (N,).
        """
        group = owners * classes + labels if self.stratified else owners
        return _drawn(self.share, group, rng)

    def known(
        self, labels: np.ndarray, owners: np.ndarray, labelled: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """The labels that clients read: those that hold and are not known become 0.

        Args:
            labels: Labels, client after client; where `positives` is below 1, a 0 or a 1 for each
                label, uint8 of shape (N, labels).
            owners: The client of each sample, int64 of shape (N,), in ascending order.
            labelled: Whether a sample is labelled, bool of shape (N,); others stay as they are.
            rng: Source of randomness.

        Returns:
            Of the shape and type of `labels`, which are not written to.
        """
        if self.positives == 1.0:
            return labels
        samples, columns = np.nonzero(labels * labelled[:, None])
        owner = owners[samples]
        group = owner * labels.shape[1] + columns if self.stratified else owner
        hidden = ~_drawn(self.positives, group, rng)
        observed = labels.copy()
        observed[samples[hidden], columns[hidden]] = 0
        return observed


def _drawn(share: float, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws a share of each group.

    Fractions are carried on from group to group, so that the share also holds for each client and
    for the whole population, except where the one member that every group keeps is more than its
    share.

    Args:
        share: The share, in (0, 1].
        group: The group of each member, int64 of shape (M,).
        rng: Source of randomness.

    Returns:
        bool of shape (M,).
    """
    if share == 1.0:
        return np.ones(len(group), dtype=bool)
    order = shuffled_groups(group, rng)
    _, starts, sizes = np.unique(group[order], return_index=True, return_counts=True)
    edges = np.floor(np.cumsum(share * sizes) + rng.uniform())
    budgets = np.maximum(np.diff(edges, prepend=0.0), 1)
    rank = np.arange(len(group)) - np.repeat(starts, sizes)
    mask = np.empty(len(group), dtype=bool)
    mask[order] = rank < np.repeat(budgets, sizes)
    return mask
