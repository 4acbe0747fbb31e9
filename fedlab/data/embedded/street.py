"""Cut-outs of house numbers, after SVHN (Netzer et al., NIPS workshop 2011).

The label is the digit in the middle; its neighbours in the number reach into the picture.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedlab.data.embedded.ingredients import Material
from fedlab.data.embedded.paint import CANVAS, blur, colours, grain, ink, mix
from fedlab.data.embedded.warp import Poses, identity, look, smooth_noise, uniform

NUMBER = Poses(scale=(0.8, 1.15), aspect=0.2, rotation=10, shear=0.15, shift=0.12, perspective=0.25)
DIGIT = Poses(scale=(0.92, 1.05), rotation=3, shift=0.05)


def paint(labels: np.ndarray, material: Material, generator: np.random.Generator) -> Tensor:
    """Paints house numbers for middle digits of shape (n,), as (n, 3, 56, 56) in [0, 1]."""
    n = len(labels)
    mask = _numbers(labels, material, generator)
    value = uniform(generator, (0.6, 0.95), n)
    wall = colours(uniform(generator, (0, 1), n), uniform(generator, (0, 0.35), n), value)
    wall = wall + 0.08 * smooth_noise(n, 1, 3, CANVAS, generator)
    # Mostly dark digits on a bright wall; low contrast and blur are what makes this domain hard.
    light = torch.where(wall.mean((1, 2, 3)) < uniform(generator, (0.45, 0.7), n), 1.0, -1.0)
    contrast = light * uniform(generator, (0.13, 0.32), n)
    tint = 0.06 * torch.from_numpy(generator.standard_normal((n, 3, 1, 1)).astype(np.float32))
    scene = mix(wall, wall + contrast.view(-1, 1, 1, 1) + tint, mask)
    shadow = 1 + 0.1 * smooth_noise(n, 1, 2, CANVAS, generator)
    scene = blur(scene * shadow, uniform(generator, (0.6, 2.4), n))
    return grain(scene, uniform(generator, (0.0, 0.04), n), generator)


def _numbers(labels: np.ndarray, material: Material, generator: np.random.Generator) -> Tensor:
    """Masks of three digits in a row, of one font and weight, shape (n, 1, 56, 56)."""
    n = len(labels)
    plate = NUMBER.place(identity(n, CANVAS), generator)
    fonts = torch.from_numpy(generator.integers(len(material.glyphs), size=n))
    spacing = uniform(generator, (0.85, 1.15), n, 1, 1)
    thickness = uniform(generator, (0.45, 0.75), n)
    mask = torch.zeros(n, 1, CANVAS, CANVAS)
    for place in (-1, 0, 1):
        digits = labels if place == 0 else generator.integers(10, size=n)
        present = torch.ones(n) if place == 0 else uniform(generator, (0, 1), n).lt(0.75).float()
        grid = DIGIT.place(plate, generator).clone()
        grid[..., 0] -= place * spacing
        glyph = material.glyphs[fonts, torch.from_numpy(digits)].unsqueeze(1)
        digit = ink(look(glyph, grid), thickness)
        mask = torch.maximum(mask, present.view(-1, 1, 1, 1) * digit)
    return mask
