"""Coloured fonts on coloured grounds, after SynthDigits (Ganin and Lempitsky, ICML 2015)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fedlab.data.embedded.ingredients import Material
from fedlab.data.embedded.paint import CANVAS, blur, colours, grain, ink, mix
from fedlab.data.embedded.sampling import letters
from fedlab.data.embedded.warp import Poses, bend, identity, look, smooth_noise, uniform

POSES = Poses(scale=(0.7, 1.1), aspect=0.2, rotation=20, shear=0.2, shift=0.18, perspective=0.15)


def paint(labels: np.ndarray, material: Material, generator: np.random.Generator) -> Tensor:
    """Paints printed digits for labels of shape (n,), as (n, 3, 56, 56) in [0, 1]."""
    n = len(labels)
    grid = bend(POSES.place(identity(n, CANVAS), generator), 0.03, generator)
    glyph = look(letters(labels, material, generator), grid)
    mask = ink(glyph, uniform(generator, (0.45, 0.75), n))
    hue, other_hue = uniform(generator, (0, 1), 2, n)
    ground = colours(hue, uniform(generator, (0.5, 1), n), uniform(generator, (0.5, 1), n))
    ground = ground + 0.1 * smooth_noise(n, 3, 3, CANVAS, generator)
    # Dark or pale ink: the ground is a full colour, and hue alone is hard to see against it.
    dark, pale = uniform(generator, (0, 0.4), n), uniform(generator, (0.8, 1), n)
    is_dark = uniform(generator, (0, 1), n) < 0.5
    shade = torch.where(is_dark, dark, pale)
    digit = colours(other_hue, 2 * torch.where(is_dark, dark, 1 - pale), shade)
    page = blur(mix(ground, digit, mask), uniform(generator, (0.3, 1.5), n))
    return grain(page, uniform(generator, (0.0, 0.12), n), generator)
