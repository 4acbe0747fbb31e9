"""FDSE, client trainer: the loss, and the distance of each layer's statistics to the received ones.

See `fedlab.strategies.fdse` for the paper and what travels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received, Update
from fedlab.losses.base import ClientStats
from fedlab.models.skew_eraser import (
    decomposed_layers,
    listen_to_statistics,
    personal_parameters,
)
from fedlab.records import Tensors
from fedlab.strategies.fdse import FDSEParameters
from fedlab.training.task import Batch, Task

EPS = 1e-5
"""Added to variances."""


class FDSE(ClientTrainer[FDSEParameters]):
    """Minimises the loss and λ Σ ω_l R_l, the distance of each layer's statistics."""

    def __init__(self, parameters: FDSEParameters, task: Task) -> None:
        super().__init__(parameters, task)
        self.layers = decomposed_layers(task.model)
        self.erasers = personal_parameters(task.model)

    @property
    def supports_vmap(self) -> bool:
        """False: stacked clients share the received records, and erasers differ by client."""
        return False

    def personal_model(self, received: Received, client_state: ClientState) -> Tensors:
        """The network with the client's own received erasers."""
        model = super().personal_model(received, client_state)
        return {**model, **received.arrays.get("erasers", {})}

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Puts the received statistics into the carry, from the second round on."""
        carry = super().begin(received, client_state, stats)
        if received.server_round < 2:
            return carry
        down = {
            f"{path}.{name}": received.model[f"{path}.norm.running_{name}"]
            for path in self.layers
            for name in ("mean", "var")
        }
        return carry._replace(extra={**carry.extra, "statistics": down})

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss with the term added."""
        down = carry.extra.get("statistics")
        if down is None:
            return super().objective(parameters, carry, batch)
        with listen_to_statistics(self.layers) as captured:
            outputs = self.task.outputs(parameters, carry.buffers, batch.inputs)
        measure = divergence if self.parameters.distance == "kl" else squared_distance
        terms = [
            measure(*captured[path], down[f"{path}.mean"], down[f"{path}.var"])
            for path in self.layers
        ]
        pulled = torch.stack(terms)
        depth = torch.arange(len(terms), dtype=pulled.dtype, device=pulled.device)
        weights = torch.softmax(self.parameters.beta * depth, dim=0)
        loss = self.loss(outputs, batch, carry)
        return loss + self.parameters.lam * (weights * pulled).sum(), outputs

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the erasers beside what is shared."""
        update = super().finish(carry, received, steps)
        erasers = {name: carry.parameters[name] for name in self.erasers}
        return update._replace(arrays={**update.arrays, "erasers": erasers})


def divergence(mean: Tensor, variance: Tensor, to_mean: Tensor, to_variance: Tensor) -> Tensor:
    """KL(N(μ, v) ‖ N(m, s²)) = (log(s²/v) + (v + (μ - m)²) / s² - 1) / 2, the mean over channels.

    Args:
        mean: m, shape (channels,).
        variance: s².
        to_mean: μ.
        to_variance: v.
    """
    found, wanted = variance + EPS, to_variance + EPS
    ratio = (wanted + (to_mean - mean).square()) / found
    return (found.log() - wanted.log() + ratio - 1).mean() / 2


def squared_distance(
    mean: Tensor, variance: Tensor, to_mean: Tensor, to_variance: Tensor
) -> Tensor:
    """‖m - μ‖² + ‖s - √v‖², summed over channels; arguments as of `divergence`."""
    found, wanted = (variance + EPS).sqrt(), (to_variance + EPS).sqrt()
    return (mean - to_mean).square().sum() + (found - wanted).square().sum()
