"""The network with its preprocessing, as one module that takes raw samples."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fedlab.data.preprocess import Preprocess
from fedlab.models.memory_format import channels_last


class Standardise(nn.Module):
    """`Preprocess.inputs` as a layer: the same arithmetic in the same order.

    Args:
        mean: Of shape (), (features,) or (channels, 1, ...), for images scaled to [0, 1]; in
            float64 where inputs are.
        std: Likewise.
        images: Whether inputs are bytes of images.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor, images: bool) -> None:
        super().__init__()
        scale = 255 if images else 1
        # Not persistent: a state dict then has the tensors of the network alone.
        self.register_buffer("mean", scale * mean, persistent=False)
        self.register_buffer("std", scale * std, persistent=False)

    @classmethod
    def of(cls, preprocess: Preprocess) -> nn.Module:
        """The layer with a run's preprocessing."""
        if preprocess.ids:
            return nn.Identity()
        return cls(preprocess.mean.cpu(), preprocess.std.cpu(), preprocess.images)

    def forward(self, inputs: Tensor) -> Tensor:
        """Samples as they are stored -> float32 of the same shape."""
        return inputs.to(self.mean.dtype).sub(self.mean).div(self.std).to(torch.float32)


class Program(nn.Module):
    """From stored samples to logits, or to numbers in the units of the data.

    Args:
        network: The trained network.
        standardise: What its inputs pass first.
        extractor: A frozen network that turns images into these inputs, if there is one.
        in_units: What its outputs pass last, if anything (`Target.in_units`).
    """

    def __init__(
        self,
        network: nn.Module,
        standardise: nn.Module,
        extractor: nn.Module | None = None,
        in_units: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.standardise = standardise
        self.extractor = extractor
        self.in_units = in_units

    def forward(self, inputs: Tensor) -> Tensor:
        """Samples of shape (n, ...) -> logits of shape (n, classes), or numbers (n, targets)."""
        if self.extractor is not None:
            inputs = self.extractor(inputs)
        outputs = self.network(channels_last(self.standardise(inputs)))
        return outputs if self.in_units is None else self.in_units(outputs)
