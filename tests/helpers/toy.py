"""A quick little problem for tests: stripes of four classes, in domains of other brightness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.scenario import Scenario

CLASSES = 4


class Stripes(Source):
    """Class = which quarter of the image is bright; domain = brightness, contrast and polarity."""

    domains: int = 3
    train: int = 40
    test: int = 20

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Makes the images; nothing is read."""
        return [self._domain(index, context) for index in range(self.domains)]

    def _domain(self, index: int, context: LoadContext) -> Domain:
        generator = np.random.default_rng([context.seed, index])

        def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
            labels = np.arange(count) % CLASSES
            size = context.image_size
            images = generator.normal(70 + 30 * index, 20, (count, context.channels, size, size))
            quarter = size // CLASSES
            for image, label in zip(images, labels, strict=True):
                image[:, :, label * quarter : (label + 1) * quarter] += 90 - 40 * index
            return images.clip(0, 255).astype(np.uint8), labels.astype(np.int64)

        names = tuple("abcd"[:CLASSES])
        return Domain(f"d{index}", *draw(self.train), *draw(self.test), names)


def scenario(**changes: Any) -> Scenario:
    """A scenario over the toy problem that a test can change."""
    fields: dict[str, Any] = {
        "name": "toy",
        "rounds": 2,
        "data": {"sources": [{"name": "helpers.toy:Stripes"}], "image_size": 8},
        "partition": {"clients": 3},
        "model": {"name": "small_cnn"},
        "strategy": "fedavg",
        "training": {"batch_size": 16, "optimizer": {"lr": 0.05}},
        "resources": {"backend": "local"},
    }
    return Scenario.model_validate(fields | changes)


class Many(Stripes):
    """Very many images of one domain, quickly made."""

    domains: int = 1

    def _domain(self, index: int, context: LoadContext) -> Domain:
        side = context.image_size

        def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
            labels = np.arange(count) % CLASSES
            images = np.repeat(labels.astype(np.uint8) * 60, context.channels * side * side)
            return images.reshape(count, context.channels, side, side), labels

        return Domain(f"d{index}", *draw(self.train), *draw(self.test), tuple("abcd"[:CLASSES]))


class PoisonedTests(Stripes):
    """The same images with wrong test labels."""

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Turns each test label into the next class."""
        wrong = [(domain.test_labels + 1) % CLASSES for domain in super().load(context)]
        domains = super().load(context)
        return [replace(d, test_labels=labels) for d, labels in zip(domains, wrong, strict=True)]
