"""The base of client trainers that send the style of their images, and restyle images.

A style is ``means`` and ``deviations`` of the channels: of the images, or of the maps that the
network's first stage gives.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cached_property

import torch
from torch import Tensor

from fedlab import rng
from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received, Update
from fedlab.data.client_data import ClientData
from fedlab.errors import InputError
from fedlab.losses.base import ClientStats
from fedlab.models.captured import captured_outputs
from fedlab.models.first_stage import FirstStage, find_first_stage
from fedlab.records import Tensors
from fedlab.strategies.families.styles import S
from fedlab.training.task import Task

LEAST_DEVIATION = 1e-5

LEAST_OF_MAPS = 1e-5**0.5
"""The same for maps, through which gradients flow: the authors' code adds 1e-5 to variances."""

ROWS = 64
"""Samples of a pass before the first round."""


class Painter(ClientTrainer[S]):
    """Sends a style before the first round, and keeps the styles that it gets for every step."""

    def __init__(self, parameters: S, task: Task) -> None:
        super().__init__(parameters, task)
        if self.reads_features and task.holds:
            raise InputError(
                f"strategy.styles: {parameters.name} restyles 'features' within the forward pass, "
                "and the model's backward pass runs parts of it again (activation checkpointing); "
                "turn that off, or use strategy.styles=pixels"
            )

    @property
    def reads_features(self) -> bool:
        """Whether styles are those of features."""
        return self.parameters.styles == "features"

    @cached_property
    def stage(self) -> FirstStage:
        """The network's first stage."""
        stage = find_first_stage(self.task.model)
        assert stage is not None  # `StylesParameters.check` refuses other networks
        return stage

    @property
    def supports_vmap(self) -> bool:
        """False: each client draws the random numbers of a step from its own generator."""
        return False

    @abstractmethod
    def style_of(self, images: Tensor) -> Tensors:
        """The style of a client.

        Args:
            images: All its images, shape (n, channels, height, width).
        """

    @abstractmethod
    def style_of_maps(self, parts: Iterator[Tensor]) -> Tensors:
        """The style of a client, from its features.

        Args:
            parts: The maps of all its images, a few at a time, shape (n, channels, height, width).
        """

    def kept(self, styles: Tensors, client: int) -> Tensors:
        """The part of the received styles that the client keeps; by default all of it."""
        return dict(styles)

    def answer(self, question: str, received: Received, samples: ClientData) -> Update:
        """Sends the client's style, or stores the received ones.

        Args:
            question: ``style`` or ``keep``.
            received: The client's index; to ``style`` a seed, and the model where styles are those
                of features; to ``keep`` the styles.
            samples: The client's samples.

        Raises:
            InputError: If the samples are no images.
        """
        client, name = int(received.config["client"]), self.parameters.name
        if question == "keep":
            return Update({}, {"styles": self.kept(received.arrays["styles"], client)})
        if samples.inputs.dim() != 4:
            raise InputError(f"strategy.name: {name} needs images; choose another strategy")
        if self.reads_features:
            style = self.style_of_maps(self._maps(received, samples))
        else:
            style = self.style_of(samples.normalise(samples.inputs))
        generator = rng.torch_generator(int(received.config["seed"]), f"{name} style", client)
        for part, value in style.items():
            drawn = torch.randn(value.shape, generator=generator).to(value)
            style[part] = value + self.parameters.noise * drawn
        style["deviations"] = style["deviations"].clamp(min=0)
        return Update({"style": style}, {})

    def _maps(self, received: Received, samples: ClientData) -> Iterator[Tensor]:
        """The first stage's maps of all images, in evaluation mode and without augmentation."""
        state = self.task.split(self.personal_model(received, {}))
        self.task.model.eval()
        for part in samples.inputs.split(ROWS):
            with torch.no_grad(), captured_outputs(self.stage.module) as captured:
                self.task.outputs(*state, samples.normalise(part))
            yield wide(captured[-1])

    def restyling(self, change: Callable[[Tensor], Tensor]) -> AbstractContextManager[None]:
        """Within the context, the first stage's maps are mixed with ``change(maps)``."""

        def mixed(maps: Tensor) -> Tensor:
            own = wide(maps)
            return own.lerp(change(own), self.parameters.strength).to(maps.dtype)

        return self.stage.changed(mixed)

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Puts the styles into the carry, if there are any."""
        carry = super().begin(received, client_state, stats)
        styles = client_state.get("styles")
        return carry._replace(extra={**carry.extra, "styles": styles}) if styles else carry


def restyled(
    images: Tensor, means: Tensor, deviations: Tensor, least: float = LEAST_DEVIATION
) -> Tensor:
    """Images with other means and (unbiased) deviations of their channels (AdaIN).

    Args:
        images: Shape (n, channels, height, width).
        means: Shape (n, channels), or (channels,) for all.
        deviations: Likewise.
        least: What images' own deviations are taken to be at least.
    """
    mean = images.mean(dim=(2, 3), keepdim=True)
    deviation = images.flatten(start_dim=2).std(dim=2)[:, :, None, None]
    plain = (images - mean) / deviation.clamp(min=least)
    return deviations[..., None, None] * plain + means[..., None, None]


def wide(maps: Tensor) -> Tensor:
    """Maps in float32, where the network gives half precision."""
    return maps.float() if maps.dtype in (torch.bfloat16, torch.float16) else maps
