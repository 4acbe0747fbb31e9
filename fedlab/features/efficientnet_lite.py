"""Features of EfficientNet-Lite0, trained on ImageNet.

Needs the extra ``pretrained``, a package of 17 MB with the weights; nothing is downloaded. See
`fedlab.models.efficientnet` for the network and its paper.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms import functional

from fedlab.errors import InputError
from fedlab.features.base import ExtractionContext
from fedlab.features.frozen import Backbone, FrozenNetwork, normalise
from fedlab.models.efficientnet import (
    MEAN,
    SHA256,
    SMALLEST,
    STD,
    imagenet_network,
    pretrained_file,
)


class EfficientNetLite0Features(FrozenNetwork):
    """EfficientNet-Lite0 without its last dense layer: 1280 features of an image.

    Images are cropped, resized and normalised as the weights were trained; grey ones are repeated
    over three channels.

    Attributes:
        size: Height and width that images are brought to, in pixels. Weights were trained at 224;
            half of it takes a quarter of the time.
        crop: Share of an image's sides that is kept, around its centre; 1 keeps all of it.
    """

    name: Literal["efficientnet_lite0"] = "efficientnet_lite0"
    size: int = Field(default=224, ge=SMALLEST)
    crop: float = Field(default=0.875, gt=0, le=1)

    def depends_on(self, context: ExtractionContext) -> Any:
        """The weights."""
        pretrained_file()
        return SHA256

    def backbone(self, context: ExtractionContext, device: torch.device) -> Backbone:
        """See `FrozenNetwork.backbone`."""
        _, height, width = context.data.input_shape
        if min(height, width) < SMALLEST:
            raise InputError(
                f"data.features: '{self.name}' was trained on photographs, and images of "
                f"{height}x{width} pixels show it too little; raise data.image_size to "
                f"{SMALLEST} or more"
            )
        return Backbone(self.prepare, imagenet_network())

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input: bytes of shape (n, channels, h, w) to (n, 3, size, size)."""
        height, width = images.shape[-2:]
        side = max(1, round(self.crop * min(height, width)))
        cropped = functional.center_crop(images.expand(-1, 3, -1, -1), [side, side])
        resized = functional.resize(
            cropped,
            [self.size, self.size],
            functional.InterpolationMode.BICUBIC,
            antialias=True,
        )
        return normalise(resized.to(torch.float32) / 255, [MEAN] * 3, [STD] * 3)
