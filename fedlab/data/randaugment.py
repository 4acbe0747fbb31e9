"""Strongly augmented views of images, computed on the images' device.

RandAugment: Practical Automated Data Augmentation with a Reduced Search Space, Cubuk, Zoph, Shlens,
Le, NeurIPS 2020, arXiv 1909.13719. One operation of its fourteen at magnitude 10 of 30 (FedLabel's
setting, arXiv 2307.08809), after a random crop. Where ``data.augmentation.flip`` says that the
mirror image of a sample is one of its class, as for most photographs and for few digits, half of
the images are mirrored as well.

As in `fedlab.data.augment`, drawing and applying are separate steps. Which image gets
which operation is drawn on the host (`plan`), which saves a transfer from the device: `apply` takes
the images in the order of their operations, each of which then has a slice of the batch to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from fedlab.data.strong_operations import FAMILIES, OPERATIONS

__all__ = ["DRAWS", "OPERATIONS", "StrongPlan", "apply", "draw_strong", "plan"]

DRAWS = 5  # mirror, crop down, crop right, operation, direction
CROP_PADDING = 1 / 8
"""Padding before the crop, as a share of the height: 4 pixels of 32, as is usual."""


class StrongPlan(NamedTuple):
    """The operations on n images, in the order of the operations.

    Attributes:
        crops: For each image its place in the batch, the first of its rows in the padded image, the
            column of its left edge and the step from column to column, 1 or -1 (mirrored); int64 of
            shape (4, n, 1).
        back: The place of each image of the batch in that order, int64 of shape (n,).
        kinds: 2 · operation + (1 if the direction is 1), int64 of shape (n,).
        sizes: Number of images of each of these kinds, on the host.
    """

    crops: Tensor
    back: Tensor
    kinds: Tensor
    sizes: Sequence[int]


def draw_strong(count: int, generator: torch.Generator) -> Tensor:
    """Random numbers for `count` images: uniform in [0, 1), shape (count, `DRAWS`)."""
    return torch.rand(count, DRAWS, generator=generator)


def plan(draws: Tensor, height: int, width: int, *, mirrors: bool) -> StrongPlan:
    """The operations that the draws select, on the host.

    Args:
        draws: Uniform in [0, 1), shape (n, `DRAWS`); see `draw_strong`.
        height: That of the images.
        width: Likewise.
        mirrors: Whether half of the images are mirrored.
    """
    mirror, down, right, which, side = draws.unbind(dim=1)
    kinds = 2 * (which * len(OPERATIONS)).long() + (side >= 0.5)
    order = kinds.argsort(stable=True)
    places = 2 * round(height * CROP_PADDING) + 1
    mirrored = (mirror < 0.5) & mirrors
    first_row, shift = (down * places).long(), (right * places).long()
    left = torch.where(mirrored, width - 1 + shift, shift)
    crops = torch.stack([torch.arange(len(draws)), first_row, left, 1 - 2 * mirrored.long()])
    sizes = kinds.bincount(minlength=2 * len(OPERATIONS)).tolist()
    return StrongPlan(crops[:, order, None], order.argsort(), kinds[order], sizes)


def apply(pixels: Tensor, planned: StrongPlan) -> Tensor:
    """Crops the images, and applies to each the operation drawn for it.

    Args:
        pixels: float32 in [0, 1], shape (n, channels, height, width).
        planned: What `plan` has made for n images of that size, on the device of `pixels`.

    Returns:
        float32 in [0, 1], same shape, a new tensor.
    """
    height, width = pixels.shape[2:]
    image, first_row, left, step = planned.crops.unbind()
    rows = first_row + torch.arange(height, device=pixels.device)
    columns = torch.addcmul(left, step, torch.arange(width, device=pixels.device))
    padded = pad(pixels, [round(height * CROP_PADDING)] * 4)
    cut = padded[image[:, :, None], :, rows[:, :, None], columns[:, None, :]]
    changed = cut.permute(0, 3, 1, 2).contiguous()
    start, kind = 0, 0
    for count, change in FAMILIES:
        sizes = planned.sizes[2 * kind : 2 * (kind + count)]
        end = start + sum(sizes)
        if change and end > start:
            change(changed[start:end], sizes, planned.kinds[start:end] - 2 * kind)
        start, kind = end, kind + count
    return changed.clamp_(0, 1)[planned.back]
