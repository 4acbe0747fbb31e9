"""Label budget: only a share of a client's training samples has a label."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from fedlab.config.component import ConfigBlock
from fedlab.data.stratify import shuffled_groups


class LabelBudget(ConfigBlock):
    """Which share of a client's training samples is labelled.

    Attributes:
        share: Share of labelled samples, in (0, 1].
        stratified: Whether each class of a client keeps that share (at least one sample);
            otherwise only the client as a whole does.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    stratified: bool = True

    def mask(
        self, labels: np.ndarray, owners: np.ndarray, classes: int, rng: np.random.Generator
    ) -> np.ndarray:
        """Chooses the labelled samples.

        Fractions of samples are carried on from class to class and from client to client, so
        that the share also holds for each client and for the whole population, except where the
        one sample that every group keeps is more than its share.

        Args:
            labels: True labels, client after client, int64 of shape (N,).
            owners: The client of each of them, int64 of shape (N,), in ascending order.
            classes: Number of classes.
            rng: Source of randomness.

        Returns:
            bool of shape (N,).
        """
        if self.share == 1.0:
            return np.ones(len(labels), dtype=bool)
        group = owners * classes + labels if self.stratified else owners
        order = shuffled_groups(group, rng)
        _, starts, sizes = np.unique(group[order], return_index=True, return_counts=True)
        edges = np.floor(np.cumsum(self.share * sizes) + rng.uniform())
        budgets = np.maximum(np.diff(edges, prepend=0.0), 1)
        rank = np.arange(len(group)) - np.repeat(starts, sizes)
        mask = np.empty(len(group), dtype=bool)
        mask[order] = rank < np.repeat(budgets, sizes)
        return mask
