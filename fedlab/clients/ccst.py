"""CCST, client trainer: local SGD on images in the styles of other clients.

See `fedlab.strategies.ccst` for the paper and what travels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedlab import rng
from fedlab.accelerator import exact
from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received, Update
from fedlab.data.client_data import ClientData
from fedlab.errors import InputError
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors
from fedlab.strategies.ccst import CCSTParameters
from fedlab.training.task import Batch

LEAST_DEVIATION = 1e-5


class CCST(ClientTrainer[CCSTParameters]):
    """Minimises the loss of images of which each has a style drawn from those of all clients."""

    @property
    def supports_vmap(self) -> bool:
        """False: styles are drawn for each client from a generator of its own."""
        return False

    def answer(self, question: str, received: Received, samples: ClientData) -> Update:
        """Sends the client's style, or keeps those of all clients.

        Args:
            question: ``style`` or ``keep``.
            received: The client's index; to ``style`` a seed, to ``keep`` the styles.
            samples: The client's samples.

        Raises:
            InputError: If the samples are no images.
        """
        client = int(received.config["client"])
        if question == "keep":
            styles = received.arrays["styles"]
            own = styles["clients"] == client
            kept = {name: styles[name] for name in ("means", "deviations")}
            return Update({}, {"styles": {**kept, "own": own}})
        if samples.inputs.dim() != 4:
            raise InputError("strategy.name: ccst needs images; choose another strategy")
        style = style_of(samples.normalise(samples.inputs))
        generator = rng.torch_generator(int(received.config["seed"]), "ccst style", client)
        for name, value in style.items():
            drawn = torch.randn(value.shape, generator=generator).to(value)
            style[name] = value + self.parameters.noise * drawn
        style["deviations"] = style["deviations"].clamp(min=0)
        return Update({"style": style}, {})

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Takes the styles along, if there are some."""
        carry = super().begin(received, client_state, stats)
        styles = client_state.get("styles")
        return carry._replace(extra={**carry.extra, "styles": styles}) if styles else carry

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
    """Images with the channels' means and deviations of styles (AdaIN); as they are in their own.

    Args:
        images: Shape (n, channels, height, width).
        styles: ``means`` and ``deviations`` of shape (styles, channels), and ``own``, which of them
            is the client's, bool of shape (styles,).
        drawn: The style of each image, shape (n,).
    """
    mean = images.mean(dim=(2, 3), keepdim=True)
    deviation = images.flatten(start_dim=2).std(dim=2)[:, :, None, None]
    plain = (images - mean) / deviation.clamp(min=LEAST_DEVIATION)
    new = {name: styles[name][drawn][:, :, None, None] for name in ("means", "deviations")}
    changed = new["deviations"] * plain + new["means"]
    return torch.where(styles["own"][drawn][:, None, None, None], images, changed)
