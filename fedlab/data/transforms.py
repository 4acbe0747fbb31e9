"""Transforms that make domains, as blocks of the scenario."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import affine_grid
from torchvision.transforms.v2.functional import adjust_hue, adjust_saturation

from fedlab.data.embedded.ingredients import photographs
from fedlab.data.embedded.paint import blur, crops, grain
from fedlab.data.embedded.warp import look
from fedlab.data.transform import Transform
from fedlab.errors import InputError

Factor = Annotated[float, Field(ge=0, le=10)]


class Rotation(Transform):
    """Rotates every image by the same angle, as in Rotated MNIST; corners mirror the inside.

    Attributes:
        degrees: The angle, counter-clockwise.
    """

    name: Literal["rotation"] = "rotation"
    degrees: float = Field(ge=-360, le=360)

    def change(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        """Interpolates bilinearly; the image keeps its size."""
        height, width = images.shape[-2:]
        cos, sin = math.cos(math.radians(self.degrees)), math.sin(math.radians(self.degrees))
        # Coordinates run from -1 to 1 along both sides, so a turn has to undo their ratio.
        turn = torch.tensor([[cos, -sin * height / width, 0], [sin * width / height, cos, 0]])
        grid = affine_grid(turn.expand(len(images), 2, 3), list(images.shape), align_corners=False)
        return look(images, grid, outside="reflection")


class Colour(Transform):
    """Changes hue, then saturation, then the strength of red, green and blue.

    Attributes:
        hue: Turn of the colour circle, from -0.5 to 0.5 (either is half a turn).
        saturation: Factor on the saturation; 0 makes grey.
        tint: Factors on the red, green and blue channel.
    """

    name: Literal["colour"] = "colour"
    hue: float = Field(default=0.0, ge=-0.5, le=0.5)
    saturation: float = Field(default=1.0, ge=0, le=10)
    tint: tuple[Factor, Factor, Factor] = (1.0, 1.0, 1.0)

    def change(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        """Changes all images alike.

        Raises:
            InputError: If the images are grey.
        """
        if images.shape[1] != 3:
            raise InputError(
                f"the transform 'colour' needs images of 3 channels, not {images.shape[1]}; "
                "set data.channels to 3"
            )
        images = adjust_saturation(adjust_hue(images, self.hue), self.saturation)
        return images * torch.tensor(self.tint).view(3, 1, 1)


class Blur(Transform):
    """Blurs every image with the same Gaussian.

    Attributes:
        sigma: Standard deviation in pixels.
    """

    name: Literal["blur"] = "blur"
    sigma: float = Field(gt=0, le=50)

    def change(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        """Repeats the edge pixels outwards."""
        return blur(images, torch.full((len(images),), self.sigma))


class Noise(Transform):
    """Adds Gaussian noise, drawn for every pixel and channel.

    Attributes:
        std: Standard deviation as a share of the range from black to white.
    """

    name: Literal["noise"] = "noise"
    std: float = Field(gt=0, le=1)

    def change(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        """Draws the noise."""
        return grain(images, torch.full((len(images),), self.std), generator)


class Invert(Transform):
    """Turns black into white and every colour into its opposite."""

    name: Literal["invert"] = "invert"

    def change(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        """Subtracts from white."""
        return 1 - images


class PhotoBlend(Transform):
    """Blends every image with a random crop of a photograph, as MNIST-M does.

    The absolute difference of both (Ganin and Lempitsky, ICML 2015, arXiv:1409.7495). The
    photographs are the two that scikit-learn brings.

    Attributes:
        strength: Brightness of the photograph; 1 is MNIST-M.
    """

    name: Literal["photo_blend"] = "photo_blend"
    strength: float = Field(default=1.0, gt=0, le=1)

    def change(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        """Draws a crop for each image.

        Raises:
            InputError: If scikit-learn is not installed.
        """
        count, channels, height, width = images.shape
        backdrop = crops(photographs(), count, max(height, width), generator)[..., :height, :width]
        if channels == 1:
            backdrop = backdrop.mean(1, keepdim=True)
        return (self.strength * backdrop - images).abs()
