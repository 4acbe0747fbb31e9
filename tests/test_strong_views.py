"""What each of the operations behind a strong view does to an image, at magnitude 10 of 30.

Expected values are written out; geometric operations are checked by where a bright pixel goes.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as image

from fedlab.data.randaugment import OPERATIONS
from helpers.strong import strong_view

NAMES = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness"),
    *("saturation", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)


def changed(name: str, pixels: Tensor, direction: int) -> Tensor:
    """An operation by itself: the central crop, no mirror, and this operation."""
    index = (NAMES.index(name) + 0.5) / len(NAMES)
    draws = torch.tensor([[0.9, 0.5, 0.5, index, 0.25 if direction < 0 else 0.75]])
    return strong_view(pixels[None], draws.expand(1, -1), mirrors=True)[0]


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_there_are_the_fourteen_operations_of_the_paper(pixels: Tensor) -> None:
    assert len(OPERATIONS) == len(NAMES) == 14
    assert torch.equal(changed("identity", pixels, 1), pixels)


@pytest.mark.parametrize(("direction", "factor"), [(1, 1.3), (-1, 0.7)])
def test_enhancements_go_three_tenths_up_or_down(
    pixels: Tensor, direction: int, factor: float
) -> None:
    """0.9 of the way from 1 at magnitude 30, so 0.3 at 10."""
    grey = (pixels * torch.tensor([0.2989, 0.587, 0.114])[:, None, None]).sum(dim=0)
    expected = {
        "brightness": pixels * factor,
        "saturation": factor * pixels + (1 - factor) * grey,
        "contrast": factor * pixels + (1 - factor) * grey.mean(),
    }
    for name, wanted in expected.items():
        found = changed(name, pixels, direction)
        torch.testing.assert_close(found, wanted.clamp(0, 1), atol=2e-5, rtol=0)
    kernel = torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    blurred = torch.nn.functional.conv2d(pixels[:, None], kernel[None, None])[:, 0]
    sharp = (factor * pixels[:, 1:-1, 1:-1] + (1 - factor) * blurred).clamp(0, 1)
    found = changed("sharpness", pixels, direction)[:, 1:-1, 1:-1]
    torch.testing.assert_close(found, sharp, atol=2e-5, rtol=0)


def test_bright_pixels_are_turned_over_above_two_thirds() -> None:
    values = torch.tensor([0.0, 0.3, 0.5, 0.66, 0.67, 0.9, 1.0])
    found = changed("solarize", values.expand(3, 7, 7), 1)[0, 0]
    torch.testing.assert_close(found, torch.tensor([0.0, 0.3, 0.5, 0.66, 0.33, 0.1, 0.0]))


def test_seven_bits_are_kept_of_eight() -> None:
    values = torch.linspace(0, 1, 400).view(20, 20)
    found = changed("posterize", values.expand(3, 20, 20), 1)[0]
    torch.testing.assert_close(found, (values * 128).floor().clamp(max=127) / 128)


def test_contrast_is_stretched_to_the_whole_range_and_counts_are_levelled(pixels: Tensor) -> None:
    dull = 0.25 + 0.5 * pixels
    low, high = dull.amin(dim=(1, 2), keepdim=True), dull.amax(dim=(1, 2), keepdim=True)
    stretched = (dull - low) / (high - low)
    torch.testing.assert_close(changed("autocontrast", dull, 1), stretched)
    level = changed("equalize", dull**3, 1)
    quarters = torch.histc(level, bins=4, min=0, max=1) / level.numel()
    assert (quarters - 0.25).abs().max() < 0.08  # a quarter of the cubes lies below 0.05


@pytest.mark.parametrize("direction", [1, -1])
def test_geometry_moves_pixels_as_far_as_magnitude_ten_says(direction: int) -> None:
    """Shifts of 150/331 of the side, shears of 0.3 and turns of 30 degrees, each times 10/30."""

    def moved(name: str, row: int, column: int) -> tuple[float, float]:
        dark = torch.zeros(3, 33, 33)
        dark[:, row - 1 : row + 2, column - 1 : column + 2] = 1
        where = changed(name, dark, direction)[0].nonzero().float().mean(dim=0) - torch.tensor(
            [row, column]
        )
        return where[0].item(), where[1].item()

    shift = 150 / 331 / 3 * 33
    assert moved("translate_x", 16, 16) == pytest.approx((0, direction * shift), abs=1)
    assert moved("translate_y", 16, 16) == pytest.approx((direction * shift, 0), abs=1)
    assert abs(moved("translate_x", 16, 16)[1]) > 4
    down, right = moved("rotate", 16, 28)  # 12 right of the centre
    radians = math.radians(10)
    assert abs(down) == pytest.approx(12 * math.sin(radians), abs=0.7)
    assert right == pytest.approx(12 * (math.cos(radians) - 1), abs=0.7)
    assert abs(moved("shear_x", 28, 16)[1]) == pytest.approx(12 * 0.1, abs=0.7)
    assert abs(moved("shear_y", 16, 28)[0]) == pytest.approx(12 * 0.1, abs=0.7)


def test_turns_are_those_of_torchvision(pixels: Tensor) -> None:
    nearest = InterpolationMode.NEAREST
    for direction in (-1, 1):
        wanted = image.rotate(pixels, -10.0 * direction, interpolation=nearest)
        same = (changed("rotate", pixels, direction) == wanted).float().mean()
        assert same > 0.95  # rounding may take another neighbour on a few
