"""Tightly cropped digits scanned coarsely, in the manner of USPS (Hull, IEEE TPAMI 1994).

Dark ink on paper, where the data set as it is distributed shows light ink on black: the two
handwritten domains shall differ in polarity, too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from fedlab.data.embedded.ingredients import Material
from fedlab.data.embedded.paint import CANVAS, blur, grain, ink, mix
from fedlab.data.embedded.sampling import strokes
from fedlab.data.embedded.warp import Poses, bend, identity, look, smooth_noise, uniform

POSES = Poses(scale=(0.95, 1.1), aspect=0.15, rotation=8, shear=0.25, shift=0.05)
RESOLUTION = 16


def paint(labels: np.ndarray, material: Material, generator: np.random.Generator) -> Tensor:
    """Paints scanned digits for labels of shape (n,), as (n, 3, 56, 56) in [0, 1]."""
    n = len(labels)
    grid = bend(POSES.place(identity(n, CANVAS), generator), 0.05, generator)
    stroke = look(strokes(labels, material, generator), grid)
    stroke = ink(stroke, uniform(generator, (0.45, 0.68), n), softness=0.4)
    paper = uniform(generator, (0.8, 1.0), n, 1, 1, 1)
    paper = paper + 0.03 * smooth_noise(n, 1, 5, CANVAS, generator)
    darkness = uniform(generator, (0.35, 0.9), n, 1, 1, 1)
    page = mix(paper, paper * (1 - darkness), stroke)
    coarse = adaptive_avg_pool2d(page, RESOLUTION)
    coarse = grain(coarse, uniform(generator, (0.01, 0.05), n), generator)
    page = interpolate(coarse, size=(CANVAS, CANVAS), mode="bilinear", align_corners=False)
    page = blur(page, uniform(generator, (0.5, 2.0), n))
    return page * torch.tensor([1.0, 0.97, 0.9]).view(3, 1, 1)
