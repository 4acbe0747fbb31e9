"""Pictures with four digits each, for multi-label classification.

A made counterpart of chest X-rays with findings (CheXpert: Irvin et al., AAAI 2019, arXiv
1901.07031): each picture has any of nine labels, some of them rare, and some none at all. The
digits, and the looks of the domains, are those of `fedlab.data.digits`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import PositiveInt

from fedlab import rng
from fedlab.data.digits import (
    BATCH,
    RECIPES,
    DigitSource,
    DomainName,
    Split,
    material,
    to_bytes,
)
from fedlab.data.embedded.ingredients import Material
from fedlab.data.resize import conform
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext
from fedlab.targets.base import MULTI_LABEL

LABELS = tuple("123456789")
NOTHING = 0.45
"""Share of the places in a picture that hold a zero, which is no finding."""
RARER = 0.7
"""The k-th label is in a place in proportion to k to the power of minus this."""


class SeveralDigits(DigitSource):
    """Two by two digits in a picture; its labels are those from 1 to 9 that are among them.

    A 1 is in about every second picture, a 9 in every eighth; a picture of four zeros has no
    label. Domains are the styles of ``digits``, and as there a font, a photograph or a
    handwritten digit serves one split only. For the parameters see `DigitSource`.
    """

    cached: ClassVar[bool] = True
    targets: ClassVar[frozenset[str]] = frozenset({MULTI_LABEL})
    name: Literal["several_digits"] = "several_digits"
    train_per_domain: PositiveInt = 400
    test_per_domain: PositiveInt = 300

    def _domain(self, name: DomainName, context: LoadContext) -> Domain:
        train = _pictures(name, "train", self.train_per_domain, context)
        return Domain(name, *train, *_pictures(name, "test", self.test_per_domain, context), LABELS)


def _pictures(
    domain: DomainName, split: Split, count: int, context: LoadContext
) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, channels, size, size) uint8 and labels (count, 9) uint8 of one split."""
    shape = (count, context.channels, context.image_size, context.image_size)
    context.limits.check_array(shape, 1, f"{context.key}: the {split} images of '{domain}'")
    drawing = rng.generator(context.seed, "several-digits", domain, split)
    shares = np.arange(1.0, len(LABELS) + 1) ** -RARER
    shares *= (1 - NOTHING) / shares.sum()
    digits = drawing.choice(len(LABELS) + 1, size=(count, 4), p=[NOTHING, *shares])
    labels = (digits[:, :, None] == np.arange(1, len(LABELS) + 1)).any(axis=1)
    ingredients = material(domain, split, context.seed)
    batches = [
        conform(
            _painted(
                digits[start : start + BATCH // 4], ingredients, domain, (split, start), context
            ),
            context.channels,
            context.image_size,
        )
        for start in range(0, count, BATCH // 4)
    ]
    return np.concatenate(batches), labels.astype(np.uint8)


def _painted(
    digits: np.ndarray,
    ingredients: Material,
    domain: DomainName,
    key: tuple[str, int],
    context: LoadContext,
) -> np.ndarray:
    """Pictures of shape (n, 3, 112, 112) uint8 of digits of shape (n, 4)."""
    painting = rng.generator(context.seed, "several-digits-images", domain, *key)
    tiles = to_bytes(RECIPES[domain](digits.reshape(-1), ingredients, painting))
    side = tiles.shape[-1]
    rows = tiles.reshape(len(digits), 2, 2, 3, side, side).transpose(0, 3, 1, 4, 2, 5)
    return np.ascontiguousarray(rows.reshape(len(digits), 3, 2 * side, 2 * side))
