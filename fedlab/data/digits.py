"""Five domains of digits that need no download, after the recipes of Digits-Five.

Digits-Five is MNIST, USPS, MNIST-M, SynthDigits and SVHN as one benchmark (Peng et al., ICCV 2019,
arXiv:1812.01754); federated learning took it up with FedBN (Li et al., ICLR 2021,
arXiv:2102.07623), whose clients hold 743 training images each. The five domains here share its
ideas, not its images: results are comparable among themselves only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from fedlab import rng
from fedlab.data.embedded import handwritten, photo, printed, scan, street
from fedlab.data.embedded.ingredients import (
    TEST_FONTS,
    TRAIN_FONTS,
    Material,
    glyphs,
    handwriting,
    photographs,
    versions,
)
from fedlab.data.embedded.writers import written_by
from fedlab.data.resize import conform
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source

DomainName = Literal["handwritten", "scan", "photo", "printed", "street"]
Split = Literal["train", "test"]
Recipe = Callable[[np.ndarray, Material, np.random.Generator], Tensor]

RECIPES: dict[DomainName, Recipe] = {
    "handwritten": handwritten.paint,
    "scan": scan.paint,
    "photo": photo.paint,
    "printed": printed.paint,
    "street": street.paint,
}
CLASS_NAMES = tuple("0123456789")

# Domains that share the handwritten digits, and the share of theirs that goes to training. The
# photographs are cut into columns, of which every second goes to the test split.
WRITTEN: tuple[DomainName, ...] = ("handwritten", "scan", "photo")
TRAIN_SHARE = 0.6
COLUMNS = 5
BATCH = 1000


class DigitSource(Source):
    """The base of sources of generated digits; each style is a domain.

    Attributes:
        train_per_domain: Training images of each domain.
        test_per_domain: Test images of each domain.
        domains: The domains to make; all five by default. A domain's images do not depend on
            which others are made.
    """

    train_per_domain: PositiveInt = 743
    test_per_domain: PositiveInt = 500
    domains: tuple[DomainName, ...] = Field(default=tuple(RECIPES), min_length=1)

    def recipe(self) -> dict[str, Any]:
        """The parameters, and the versions of the libraries that generate images.

        Raises:
            InputError: If scikit-learn or matplotlib, which bring the ingredients, are missing.
        """
        return {**super().recipe(), "versions": versions()}

    def names(self, context: LoadContext) -> list[str]:
        """See `Source.names`."""
        return list(self.domains)

    def load(self, context: LoadContext) -> list[Domain]:
        """Generates the domains; a pure function of these parameters and `context`.

        Raises:
            InputError: If scikit-learn or matplotlib, which bring the ingredients, are missing.
        """
        return [self._domain(name, context) for name in self.domains]

    @abstractmethod
    def _domain(self, name: DomainName, context: LoadContext) -> Domain:
        """Generates one domain."""


class Digits(DigitSource):
    """Digits in five styles: ``handwritten``, ``scan``, ``photo``, ``printed`` and ``street``.

    A handwritten digit serves one split of one domain only, a font or a part of a photograph one
    split only. Where more images are asked for than there are source digits, a source returns in
    another pose, pen and bend, within its split. Classes are balanced. For the other parameters see
    `DigitSource`.

    Attributes:
        writers: Number of made-up writers of each domain, who are the owners of its images. Each
            has its own slant, width and height and another number of images, of all
            classes in both splits; by default there are no owners.
    """

    cached: ClassVar[bool] = True
    name: Literal["digits"] = "digits"
    writers: int | None = Field(default=None, ge=2)

    def _domain(self, name: DomainName, context: LoadContext) -> Domain:
        train_inputs, train_labels = _paint(name, "train", self.train_per_domain, context)
        test_inputs, test_labels = _paint(name, "test", self.test_per_domain, context)
        made = Domain(name, train_inputs, train_labels, test_inputs, test_labels, CLASS_NAMES)
        return made if self.writers is None else written_by(made, self.writers, context)


def _paint(
    domain: DomainName, split: Split, count: int, context: LoadContext
) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, channels, size, size) uint8 and labels (count,) of one split."""
    shape = (count, context.channels, context.image_size, context.image_size)
    context.limits.check_array(shape, 1, f"{context.key}: the {split} images of '{domain}'")
    ingredients = material(domain, split, context.seed)
    order = rng.generator(context.seed, "digits-labels", domain, split)
    labels = order.permutation(np.arange(count) % len(CLASS_NAMES))
    batches = [
        to_bytes(
            RECIPES[domain](
                labels[start : start + BATCH],
                ingredients,
                rng.generator(context.seed, "digits-images", domain, split, start),
            )
        )
        for start in range(0, count, BATCH)
    ]
    return conform(np.concatenate(batches), context.channels, context.image_size), labels


def to_bytes(images: Tensor) -> np.ndarray:
    """Converts float32 images, nominally in [0, 1], to uint8."""
    return (255 * images).round().clamp(0, 255).to(torch.uint8).numpy()


def material(domain: DomainName, split: Split, seed: int) -> Material:
    """The source material of one split of one domain; disjoint from that of every other."""
    digits, labels = handwriting()
    owned = _owned(labels, domain, split, seed)
    columns = [column for page in photographs() for column in page.chunk(COLUMNS, dim=2)]
    return Material(
        handwriting=digits[torch.from_numpy(owned)],
        handwriting_labels=labels[owned],
        glyphs=glyphs(TRAIN_FONTS if split == "train" else TEST_FONTS),
        photographs=columns[0::2] if split == "train" else columns[1::2],
    )


def _owned(labels: np.ndarray, domain: DomainName, split: Split, seed: int) -> np.ndarray:
    """Indices of the handwritten digits of a split of a domain, equally many per class."""
    if domain not in WRITTEN:
        return np.empty(0, np.int64)
    owned = []
    for digit in range(len(CLASS_NAMES)):
        order = rng.generator(seed, "digits-sources", digit)
        dealt = order.permutation(np.flatnonzero(labels == digit))
        share = dealt[WRITTEN.index(domain) :: len(WRITTEN)]
        cut = round(TRAIN_SHARE * len(share))
        owned.append(share[:cut] if split == "train" else share[cut:])
    return np.concatenate(owned)
