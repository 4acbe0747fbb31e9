"""Digits as they are and in another look, and with other shares of classes in the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedlab.data.digits import Digits
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source

FEW = 10
"""Test samples of each of the last seven classes in ``skewed``, of 50."""


class Looks(Source):
    """Handwriting in two domains more: ``dim``, with a third of its contrast, and ``skewed``."""

    train: int = 300
    test: int = 300

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Changes the embedded digits."""
        source = Digits(
            train_per_domain=self.train, test_per_domain=self.test, domains=("handwritten",)
        )
        (plain,) = source.load(context)

        def dim(images: np.ndarray) -> np.ndarray:
            return (images // 3 + 120).astype(np.uint8)

        shown = replace(
            plain,
            name="dim",
            train_inputs=dim(plain.train_inputs),
            test_inputs=dim(plain.test_inputs),
        )
        kept = np.concatenate(
            [
                np.flatnonzero(plain.test_labels == label)[: None if label < 3 else FEW // 3]
                for label in range(10)
            ]
        )
        skewed = replace(
            plain,
            name="skewed",
            test_inputs=plain.test_inputs[kept],
            test_labels=plain.test_labels[kept],
        )
        return [plain, shown, skewed]
