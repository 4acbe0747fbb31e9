"""CCST, client trainer: local SGD on images in the styles of other clients.

See `fedlab.strategies.ccst` for the paper and what travels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedlab.accelerator import exact
from fedlab.clients.base import Carry
from fedlab.clients.families.styles import Painter, restyled
from fedlab.records import Tensors
from fedlab.strategies.ccst import CCSTParameters
from fedlab.training.task import Batch


class CCST(Painter[CCSTParameters]):
    """Minimises the loss of images of which each has a style drawn from those of all clients."""

    def style_of(self, images: Tensor) -> Tensors:
        """``means`` and (unbiased) ``deviations`` over all images and pixels."""
        return style_of(images)

    def kept(self, styles: Tensors, client: int) -> Tensors:
        """All styles, and the index of the client's own."""
        own = styles["clients"] == client
        return {**{name: styles[name] for name in ("means", "deviations")}, "own": own}

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of the painted images."""
        if styles := carry.extra.get("styles"):
            drawn = torch.randint(len(styles["own"]), (len(batch.inputs),))
            inputs = painted(batch.inputs, styles, drawn.to(batch.inputs.device))
            batch = batch._replace(inputs=batch.inputs.lerp(inputs, self.parameters.strength))
        return super().objective(parameters, carry, batch)


def style_of(images: Tensor) -> Tensors:
    """``means`` and (unbiased) ``deviations`` of the channels over all images and pixels.

    Args:
        images: Shape (n, channels, height, width).
    """
    pixels = exact(images).double().transpose(0, 1).flatten(start_dim=1)
    return {
        "means": pixels.mean(dim=1).float().to(images.device),
        "deviations": pixels.std(dim=1).float().to(images.device),
    }


def painted(images: Tensor, styles: Tensors, drawn: Tensor) -> Tensor:
    """Images in the styles that are drawn for them; as they are in their own.

    Args:
        images: Shape (n, channels, height, width).
        styles: ``means`` and ``deviations`` of shape (styles, channels), and ``own``, which of them
            is the client's, bool of shape (styles,).
        drawn: The style of each image, shape (n,).
    """
    changed = restyled(images, styles["means"][drawn], styles["deviations"][drawn])
    return torch.where(styles["own"][drawn][:, None, None, None], images, changed)
