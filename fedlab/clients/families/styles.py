"""The base of client trainers that send the style of their images, and restyle images.

A style is ``means`` and ``deviations`` of the channels.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from fedlab import rng
from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received, Update
from fedlab.data.client_data import ClientData
from fedlab.errors import InputError
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors
from fedlab.strategies.families.styles import S

LEAST_DEVIATION = 1e-5


class Painter(ClientTrainer[S]):
    """Sends a style before the first round, and keeps the styles that it gets for every step."""

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

    def kept(self, styles: Tensors, client: int) -> Tensors:
        """The part of the received styles that the client keeps; by default all of it."""
        return dict(styles)

    def answer(self, question: str, received: Received, samples: ClientData) -> Update:
        """Sends the client's style, or stores the received ones.

        Args:
            question: ``style`` or ``keep``.
            received: The client's index; to ``style`` a seed, to ``keep`` the styles.
            samples: The client's samples.

        Raises:
            InputError: If the samples are no images.
        """
        client, name = int(received.config["client"]), self.parameters.name
        if question == "keep":
            return Update({}, {"styles": self.kept(received.arrays["styles"], client)})
        if samples.inputs.dim() != 4:
            raise InputError(f"strategy.name: {name} needs images; choose another strategy")
        style = self.style_of(samples.normalise(samples.inputs))
        generator = rng.torch_generator(int(received.config["seed"]), f"{name} style", client)
        for part, value in style.items():
            drawn = torch.randn(value.shape, generator=generator).to(value)
            style[part] = value + self.parameters.noise * drawn
        style["deviations"] = style["deviations"].clamp(min=0)
        return Update({"style": style}, {})

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Puts the styles into the carry, if there are any."""
        carry = super().begin(received, client_state, stats)
        styles = client_state.get("styles")
        return carry._replace(extra={**carry.extra, "styles": styles}) if styles else carry


def restyled(images: Tensor, means: Tensor, deviations: Tensor) -> Tensor:
    """Images with other means and (unbiased) deviations of their channels (AdaIN).

    Args:
        images: Shape (n, channels, height, width).
        means: Shape (n, channels), or (channels,) for all.
        deviations: Likewise.
    """
    mean = images.mean(dim=(2, 3), keepdim=True)
    deviation = images.flatten(start_dim=2).std(dim=2)[:, :, None, None]
    plain = (images - mean) / deviation.clamp(min=LEAST_DEVIATION)
    return deviations[..., None, None] * plain + means[..., None, None]
