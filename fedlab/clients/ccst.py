"""CCST, client trainer: local SGD on images in the styles of other clients.

See `fedlab.strategies.ccst` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fedlab.accelerator import exact
from fedlab.clients.base import Carry
from fedlab.clients.families.styles import LEAST_DEVIATION, LEAST_OF_MAPS, Painter, restyled
from fedlab.records import Tensors
from fedlab.strategies.ccst import CCSTParameters
from fedlab.training.task import Batch


class CCST(Painter[CCSTParameters]):
    """Minimises the loss of images of which each has a style drawn from those of all clients."""

    def style_of(self, images: Tensor) -> Tensors:
        """``means`` and (unbiased) ``deviations`` over all images and pixels."""
        return style_of(images)

    def style_of_maps(self, parts: Iterator[Tensor]) -> Tensors:
        """The same over all maps and their pixels."""
        return style_of_maps(parts)

    def kept(self, styles: Tensors, client: int) -> Tensors:
        """All styles, and the index of the client's own."""
        own = styles["clients"] == client
        return {**{name: styles[name] for name in ("means", "deviations")}, "own": own}

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of the painted images, or of images with restyled features."""
        if styles := carry.extra.get("styles"):
            drawn = torch.randint(len(styles["own"]), (len(batch.inputs),)).to(batch.inputs.device)
            if self.reads_features:
                with self.restyling(lambda maps: painted(maps, styles, drawn, LEAST_OF_MAPS)):
                    return super().objective(parameters, carry, batch)
            inputs = painted(batch.inputs, styles, drawn)
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


def style_of_maps(parts: Iterator[Tensor]) -> Tensors:
    """`style_of` of maps that come a few at a time, from the moments of each.

    Args:
        parts: Shape (n, channels, height, width).
    """
    sizes, means, squares = list[int](), list[Tensor](), list[Tensor]()
    device = torch.device("cpu")
    for maps in parts:
        pixels = exact(maps).double().transpose(0, 1).flatten(start_dim=1)
        sizes.append(pixels.shape[1])
        means.append(pixels.mean(dim=1))
        squares.append((pixels - means[-1][:, None]).square().sum(dim=1))
        device = maps.device
    counts = means[0].new_tensor(sizes)[:, None]
    every = torch.stack(means)
    mean = (counts * every).sum(dim=0) / counts.sum()
    around = torch.stack(squares) + counts * (every - mean).square()
    deviation = (around.sum(dim=0) / (counts.sum() - 1)).sqrt()
    return {"means": mean.float().to(device), "deviations": deviation.float().to(device)}


def painted(
    images: Tensor, styles: Tensors, drawn: Tensor, least: float = LEAST_DEVIATION
) -> Tensor:
    """Images, or maps, in the styles that are drawn for them; as they are in their own.

    Args:
        images: Shape (n, channels, height, width).
        styles: ``means`` and ``deviations`` of shape (styles, channels), and ``own``, which of them
            is the client's, bool of shape (styles,).
        drawn: The style of each image, shape (n,).
        least: What images' own deviations are taken to be at least.
    """
    changed = restyled(images, styles["means"][drawn], styles["deviations"][drawn], least)
    return torch.where(styles["own"][drawn][:, None, None, None], images, changed)
