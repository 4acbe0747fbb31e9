"""Drawing source digits for labels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fedlab.data.embedded.ingredients import Material


def strokes(labels: np.ndarray, material: Material, generator: np.random.Generator) -> Tensor:
    """A handwritten digit for each label, using the source digits of a class equally often.

    Returns:
        Smooth strokes in [0, 1], float32 of shape (n, 1, 32, 32).
    """
    chosen = np.empty(len(labels), np.int64)
    for digit in range(10):
        wanted = np.flatnonzero(labels == digit)
        owned = generator.permutation(np.flatnonzero(material.handwriting_labels == digit))
        chosen[wanted] = np.resize(owned, len(wanted))
    images = material.handwriting[torch.from_numpy(chosen)].unsqueeze(1)
    smooth = interpolate(images, size=(32, 32), mode="bicubic", align_corners=False)
    return smooth.clamp(0, 1)


def letters(labels: np.ndarray, material: Material, generator: np.random.Generator) -> Tensor:
    """A digit of a random font for each label, float32 of shape (n, 1, 64, 64)."""
    fonts = generator.integers(len(material.glyphs), size=len(labels))
    return material.glyphs[torch.from_numpy(fonts), torch.from_numpy(labels)].unsqueeze(1)
