"""Light strokes on black, in the manner of MNIST (LeCun et al., Proceedings of the IEEE 1998)."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from fedlab.data.embedded.ingredients import Material
from fedlab.data.embedded.paint import CANVAS, ink
from fedlab.data.embedded.sampling import strokes
from fedlab.data.embedded.warp import Poses, bend, identity, look, uniform

POSES = Poses(scale=(0.7, 0.85), aspect=0.12, rotation=12, shear=0.2, shift=0.12)


def masks(labels: np.ndarray, material: Material, generator: np.random.Generator) -> Tensor:
    """Handwritten digits in random poses and pens, shape (n, 1, 56, 56) in [0, 1]."""
    n = len(labels)
    digits = strokes(labels, material, generator)
    grid = bend(POSES.place(identity(n, CANVAS), generator), 0.06, generator)
    return ink(look(digits, grid), uniform(generator, (0.42, 0.6), n))


def paint(labels: np.ndarray, material: Material, generator: np.random.Generator) -> Tensor:
    """Paints handwritten digits for labels of shape (n,), as (n, 3, 56, 56) in [0, 1]."""
    brightness = uniform(generator, (0.85, 1.0), len(labels), 1, 1, 1)
    return (brightness * masks(labels, material, generator)).expand(-1, 3, -1, -1)
