"""Views of images that keep their class: rotations and permutations of colours, and their head.

A network may learn to tell from an image both its class c and the view j of it that was shown (see
`fedlab.strategies.sla`). `ViewHead` has an output for each pair, in the order c M + j of M views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import torch
from torch import Tensor, nn

from fedlab.errors import InputError
from fedlab.models.captured import captured_inputs
from fedlab.models.surgery import replace_modules

QUARTERS: Mapping[int, tuple[int, ...]] = {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3)}
"""Quarter turns of each view, by number of rotations."""

COLOURS: Mapping[int, tuple[tuple[int, ...], ...]] = {
    1: ((0, 1, 2),),
    3: ((0, 1, 2), (1, 2, 0), (2, 0, 1)),
    6: tuple(permutations(range(3))),
}
"""Orders of the channels, by number of permutations; three of them are cyclic."""

Prediction = Literal["single", "aggregated", "distilled"]


@dataclass(frozen=True)
class Views:
    """M views of an image: each rotation with each order of the channels, the image itself first.

    Attributes:
        rotations: Number of rotations, 1, 2 (by 180 degrees) or 4.
        colours: Number of orders of the three channels: 1, 3 or 6.
    """

    rotations: int
    colours: int

    def __len__(self) -> int:
        return self.rotations * self.colours

    def check(self, shape: Sequence[int]) -> None:
        """Refuses samples that have no such views.

        Args:
            shape: Of one sample.

        Raises:
            InputError: With the remedy.
        """
        if len(shape) != 3:
            raise InputError(
                f"strategy.name: sla turns images and permutes their colours, and samples of shape "
                f"{tuple(shape)} are no images; leave data.features out, or use another strategy"
            )
        channels, height, width = shape
        if self.rotations == 4 and height != width:
            raise InputError(
                f"strategy.rotations: 4 turns images by right angles, and these have {height} x "
                f"{width} pixels; use strategy.rotations=2"
            )
        if self.colours > 1 and channels != 3:
            raise InputError(
                f"strategy.colours: {self.colours} permutes three channels, and images have "
                f"{channels}; use data.channels=3 or strategy.colours=1"
            )

    def of(self, images: Tensor) -> Tensor:
        """All views of all images, those of one image together.

        Args:
            images: Shape (batch, channels, height, width), as `check` accepts them.

        Returns:
            Shape (batch * M, channels, height, width).
        """
        shown = []
        for turns in QUARTERS[self.rotations]:
            turned = images.rot90(turns, (-2, -1))
            for order in COLOURS[self.colours]:
                shown.append(turned[:, list(order)] if self.colours > 1 else turned)
        return torch.stack(shown, dim=1).flatten(end_dim=1)


class ViewHead(nn.Module):
    """A network's head, and beside it a dense layer for pairs of class and view.

    Its outputs are those of the head alone, of shape (n, C); in evaluation mode with predictions
    that are aggregated those of all pairs, (n, C M).

    Args:
        plain: The head, a layer with an output for each of C classes.
        views: M.
        predict: ``distilled`` has C M outputs beside the head; with ``single`` and ``aggregated``
            the head has those for view 0, and C (M - 1) others are beside it.
    """

    def __init__(self, plain: nn.Linear, views: int, predict: Prediction) -> None:
        super().__init__()
        self.plain = plain
        self.predict = predict
        own = views if predict == "distilled" else views - 1
        bias = plain.bias is not None
        self.pairs = nn.Linear(plain.in_features, plain.out_features * own, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """Features of shape (n, features) to outputs."""
        plain = self.plain(features)
        if self.predict != "aggregated" or self.training:
            return plain
        return self.joint(plain, self.pairs(features)).flatten(start_dim=1)

    def joint(self, plain: Tensor, pairs: Tensor) -> Tensor:
        """The outputs of all pairs, shape (n, C, M), from those of the two layers."""
        others = pairs.unflatten(-1, (plain.shape[-1], -1))
        if self.predict == "distilled":
            return others
        return torch.cat([plain.unsqueeze(-1), others], dim=-1)

    def listen(self) -> AbstractContextManager[list[Tensor]]:
        """Records the features of every forward pass within the context."""
        return captured_inputs(self, lambda features: features)


class ViewNetwork(nn.Module):
    """A network with a `ViewHead`; one that aggregates sees all views of an image in tests.

    Args:
        network: The network.
        head: Its `ViewHead`.
        views: The views.
    """

    def __init__(self, network: nn.Module, head: ViewHead, views: Views) -> None:
        super().__init__()
        self.network = network
        self.views = views
        self.aggregates = head.predict == "aggregated"

    def forward(self, images: Tensor) -> Tensor:
        """Images to outputs of shape (batch, C)."""
        self.views.check(images.shape[1:])
        if self.training or not self.aggregates:
            return self.network(images)
        joint = self.network(self.views.of(images)).unflatten(-1, (-1, len(self.views)))
        return aggregated(joint)


def aggregated(joint: Tensor) -> Tensor:
    """The mean over views j of the outputs for (class, j) that view j gives.

    Args:
        joint: The outputs of all pairs for all views of each image, shape (batch * M, C, M).

    Returns:
        Shape (batch, C).
    """
    by_image = joint.unflatten(0, (-1, joint.shape[-1]))
    return by_image.diagonal(dim1=1, dim2=3).mean(dim=-1)


def with_view_head(
    model: nn.Module, head: nn.Linear, views: Views, predict: Prediction
) -> nn.Module:
    """Puts a `ViewHead` in the place of a network's head, and the network into a `ViewNetwork`.

    Args:
        model: The network; changed in place.
        head: The layer that gives its outputs.
        views: The views.
        predict: See `ViewHead`.
    """
    new = ViewHead(head, len(views), predict)
    changed = replace_modules(model, lambda module: new if module is head else module)
    return ViewNetwork(changed, new, views)


def find_view_head(model: nn.Module) -> tuple[str, ViewHead] | None:
    """A network's `ViewHead` and its path, or None."""
    return next(((p, m) for p, m in model.named_modules() if isinstance(m, ViewHead)), None)
