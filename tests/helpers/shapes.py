"""A quick little problem in samples of every shape: each class has a mean of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.scenario import Scenario
from helpers import toy

CLASSES = 3
VOCABULARY = 12
SHAPES: dict[str, tuple[int, ...]] = {
    "series": (2, 10),
    "map": (2, 8, 9),
    "volume": (1, 4, 4, 4),
    "ids": (7,),
}
NETWORKS: dict[str, dict[str, Any]] = {
    "series-cnn1d": {"name": "cnn1d", "widths": [4, 4, 4]},
    "series-gru": {"name": "gru", "width": 6, "layers": 2},
    "series-transformer": {"name": "transformer", "width": 8, "layers": 1, "heads": 2},
    "map-small_cnn": {"name": "small_cnn", "widths": [4, 4, 4]},
    "volume-cnn3d": {"name": "cnn3d", "widths": [4, 4]},
    "ids-lstm": {"name": "lstm", "width": 6, "embedding": 4},
    "ids-transformer": {"name": "transformer", "width": 8, "layers": 1, "heads": 2},
    "ids-text_cnn": {"name": "text_cnn", "width": 4, "phrases": [2, 3], "filters": 3},
    "ids-text_mean": {"name": "text_mean", "width": 4},
}


class Shaped(Source):
    """Samples of a shape; ids are filled up with 0 from a length that is drawn."""

    shape: Literal["series", "map", "volume", "ids"] = "series"
    domains: int = 2
    train: int = 36
    test: int = 18

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Makes the samples."""
        return [self._domain(place, context) for place in range(self.domains)]

    def _domain(self, place: int, context: LoadContext) -> Domain:
        generator = np.random.default_rng([context.seed, place])

        def draw(count: int) -> tuple[np.ndarray, np.ndarray]:
            labels = np.arange(count) % CLASSES
            size = (count, *SHAPES[self.shape])
            if self.shape != "ids":
                means = labels.reshape(-1, *[1] * (len(size) - 1))
                return generator.normal(means + place, 1, size).astype(np.float32), labels
            ids = generator.integers(1, VOCABULARY, size)
            ids[:, 0] = 1 + labels
            ids[np.arange(size[1]) >= generator.integers(2, size[1] + 1, (count, 1))] = 0
            return ids, labels

        return Domain(f"d{place}", *draw(self.train), *draw(self.test), tuple("abc"))


def scenario(case: str, **changes: Any) -> Scenario:
    """A scenario for one of the `NETWORKS`."""
    shape = case.partition("-")[0]
    data: dict[str, Any] = {"sources": [{"name": "helpers.shapes:Shaped", "shape": shape}]}
    if shape == "ids":
        data |= {"inputs": "ids", "ids": {"vocabulary": VOCABULARY, "pad": 0}}
    else:
        data["inputs"] = "numbers"
    fields = {"data": data, "partition": {"clients": 2}, "model": NETWORKS[case]}
    return toy.scenario(**fields | changes)
