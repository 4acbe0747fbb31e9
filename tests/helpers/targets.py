"""Small tables whose labels are sets or numbers, for tests of other targets than classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.scenario import Scenario
from fedlab.targets.base import EVERY

OTHERS = ("multi_label", "regression")
NAMES = {"multi_label": ("red", "green", "blue"), "regression": ("height", "weight")}


class Tables(Source):
    """Five features; labels are signs of sums of them, or these sums far from 0."""

    name: str = "helpers.targets:Tables"
    targets: ClassVar[frozenset[str]] = EVERY
    domains: int = 2
    train: int = 60
    test: int = 40

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Makes the tables; nothing is read."""
        return [self._domain(index, context) for index in range(self.domains)]

    def _domain(self, index: int, context: LoadContext) -> Domain:
        generator = np.random.default_rng([context.seed, index])
        kind = context.target.kind
        names = NAMES.get(kind, ("no", "yes"))
        weights = np.random.default_rng(7).normal(size=(5, len(names)))

        def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
            inputs = generator.normal(index / 2, 1, (count, 5)).astype(np.float32)
            sums = inputs @ weights + 0.1 * generator.normal(size=(count, len(names)))
            if kind == "multi_label":
                return inputs, (sums > 0.5).astype(np.uint8)
            if kind == "regression":
                return inputs, 1000 + sums * [20.0, 3.0]
            return inputs, (sums[:, 0] > 0).astype(np.int64)

        return Domain(f"d{index}", *draw(self.train), *draw(self.test), names)


class Pictures(Source):
    """Small pictures; labels are which edges are bright, or how bright two of them are."""

    name: str = "helpers.targets:Pictures"
    targets: ClassVar[frozenset[str]] = EVERY
    domains: int = 2
    train: int = 12
    test: int = 8

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Makes the pictures; nothing is read."""
        return [self._domain(index, context) for index in range(self.domains)]

    def _domain(self, index: int, context: LoadContext) -> Domain:
        generator = np.random.default_rng([context.seed, index])
        kind = context.target.kind

        def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
            size = (count, context.channels, context.image_size, context.image_size)
            images = generator.integers(20 * index, 120, size)
            bright = generator.integers(0, 2, (count, 3)) * 100
            images[:, :, 0] += bright[:, :1, None]
            images[:, :, -1] += bright[:, 1:2, None]
            images[:, :, :, 0] += bright[:, 2:, None]
            numbers = bright[:, :2] + generator.normal(size=(count, 2))
            labels = numbers if kind == "regression" else (bright > 0).astype(np.uint8)
            return images.astype(np.uint8), labels

        return Domain(f"d{index}", *draw(self.train), *draw(self.test), NAMES[kind])


def scenario(target: str | dict[str, Any], **changes: Any) -> Scenario:
    """A scenario that a test can change."""
    data = {"sources": ["helpers.targets:Tables"], "target": target}
    fields: dict[str, Any] = {
        "name": "tables",
        "rounds": 2,
        "data": data | changes.pop("data", {}),
        "partition": {"clients": 4},
        "model": {"name": "mlp", "hidden": [8]},
        "training": {"batch_size": 16, "optimizer": {"lr": 0.05}},
        "resources": {"backend": "local"},
    }
    return Scenario.model_validate(fields | changes)
