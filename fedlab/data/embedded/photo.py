"""Handwritten digits blended over photographs.

After MNIST-M (Ganin and Lempitsky, ICML 2015, arXiv:1409.7495): the absolute difference between
a random crop of a photograph and the digit.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from fedlab.data.embedded.handwritten import masks
from fedlab.data.embedded.ingredients import Material
from fedlab.data.embedded.paint import CANVAS, crops


def paint(labels: np.ndarray, material: Material, generator: np.random.Generator) -> Tensor:
    """Paints blended digits for labels of shape (n,), as (n, 3, 56, 56) in [0, 1]."""
    backdrop = crops(material.photographs, len(labels), CANVAS, generator)
    return (backdrop - masks(labels, material, generator)).abs()
