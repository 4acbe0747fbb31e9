"""Label noise: some of the labels that a client trains on are wrong. Test labels never are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, cast

import numpy as np
from pydantic import Field, field_validator

from fedlab.errors import InputError
from fedlab.partition.base import LabelNoise
from fedlab.targets.base import EVERY

Share = Annotated[float, Field(ge=0, le=1)]


class NoNoise(LabelNoise):
    """All labels are right."""

    name: Literal["none"] = "none"
    targets: ClassVar[frozenset[str]] = EVERY

    def corrupt(
        self,
        labels: np.ndarray,
        owners: np.ndarray,
        clients: int,
        class_names: Sequence[str],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """See `LabelNoise.corrupt`."""
        return labels


class RandomNoise(LabelNoise):
    """Base of the noises that replace each label with some probability.

    Attributes:
        rate: Probability that a label of an affected client is replaced; or lowest and highest
            rate, between which every affected client draws its own.
        clients_share: Share of the clients that are affected, drawn at random.
    """

    rate: Share | tuple[Share, Share]
    clients_share: Share = 1.0

    @field_validator("rate")
    @classmethod
    def _low_first(cls, rate: float | tuple[float, float]) -> float | tuple[float, float]:
        if isinstance(rate, tuple) and rate[0] > rate[1]:
            raise ValueError(f"the lowest rate comes first; use [{rate[1]}, {rate[0]}]")
        return rate

    def corrupt(
        self,
        labels: np.ndarray,
        owners: np.ndarray,
        clients: int,
        class_names: Sequence[str],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """See `LabelNoise.corrupt`."""
        low, high = self.rate if isinstance(self.rate, tuple) else (self.rate, self.rate)
        rates = rng.uniform(low, high, clients)
        rates[rng.permutation(clients)[round(self.clients_share * clients) :]] = 0.0
        hit = rng.random(len(labels)) < rates[owners]
        noisy = labels.copy()
        noisy[hit] = self.replacements(labels[hit], class_names, rng)
        return noisy

    @abstractmethod
    def replacements(
        self, labels: np.ndarray, class_names: Sequence[str], rng: np.random.Generator
    ) -> np.ndarray:
        """The new labels of samples with noise, int64 of shape (n,)."""


class Symmetric(RandomNoise):
    """Labels become any other class with equal probability.

    The uniform noise of Zhu et al., "Label Distributionally Robust Losses for Multi-class
    Classification: Consistency, Robustness and Adaptivity", ICML 2023, arXiv 2112.14869, draws
    from all classes: there (``include_true``) a replaced label may be right by chance.

    Attributes:
        include_true: Whether the true class is among those that a replacement is drawn from.
    """

    name: Literal["symmetric"] = "symmetric"
    include_true: bool = False

    def replacements(
        self, labels: np.ndarray, class_names: Sequence[str], rng: np.random.Generator
    ) -> np.ndarray:
        """See `RandomNoise.replacements`."""
        classes = len(class_names)
        if self.include_true:
            return rng.integers(classes, size=len(labels))
        if classes < 2:
            raise InputError(
                f"partition.label_noise: there is no other class than '{class_names[0]}' that a "
                "label could turn into; use 'none'"
            )
        return (labels + rng.integers(1, classes, size=len(labels))) % classes


class Pair(RandomNoise):
    """Labels become one certain other class: the next one, or a similar one.

    The class-dependent noise of Zhu et al., ICML 2023, arXiv 2112.14869.

    Attributes:
        pairs: Name of a class -> name of the class it is mistaken for; classes that are not named
            keep their labels. By default every class turns into the next one.
    """

    name: Literal["pair"] = "pair"
    pairs: dict[str, str] | None = None

    @field_validator("pairs", mode="before")
    @classmethod
    def _names_are_text(cls, pairs: object) -> object:
        """Converts names of digits, which YAML reads as numbers, to text."""
        if not isinstance(pairs, dict):
            return pairs
        return {str(a): str(b) for a, b in cast(dict[object, object], pairs).items()}

    def replacements(
        self, labels: np.ndarray, class_names: Sequence[str], rng: np.random.Generator
    ) -> np.ndarray:
        """See `RandomNoise.replacements`."""
        if self.pairs is None:
            return (labels + 1) % len(class_names)
        turned = np.arange(len(class_names))
        index = {name: i for i, name in enumerate(class_names)}
        for source, target in self.pairs.items():
            for name in (source, target):
                if name not in index:
                    raise InputError(
                        f"partition.label_noise.pairs: there is no class '{name}'; "
                        f"the classes are {', '.join(class_names)}"
                    )
            turned[index[source]] = index[target]
        return turned[labels]
