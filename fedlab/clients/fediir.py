"""FedIIR, client trainer: the loss, and the distance of its gradient to the clients' mean gradient.

See `fedlab.strategies.fediir` for the paper and what travels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Received, Update
from fedlab.clients.families.prototypes import members
from fedlab.data.client_data import ClientData
from fedlab.losses.base import ClientStats
from fedlab.records import Tensors
from fedlab.strategies.fediir import FedIIRParameters
from fedlab.training.task import Batch

ROWS = 256
"""Samples of a pass before training."""


class FedIIR(ClientTrainer[FedIIRParameters]):
    """Minimises CE + γ ‖∂CE/∂(last layer) - ḡ‖², the norm over all tensors of the layer."""

    def answer(self, question: str, received: Received, samples: ClientData) -> Update:
        """The gradient of the last layer at the received model, over all labelled samples.

        Args:
            question: ``gradient``.
            received: The model.
            samples: The client's samples.
        """
        state = self.task.split(self.personal_model(received, {}))
        total = {n: torch.zeros_like(received.model[n]) for n in self.task.head.names}
        rows = samples.split("labelled").to(samples.labels.device)
        self.task.model.eval()
        with torch.no_grad():
            for part in rows.split(ROWS) if len(rows) else ():
                inputs = samples.normalise(samples.inputs[part])
                features, outputs = self.task.features_and_outputs(*state, inputs)
                found = self.gradient(features, outputs, samples.labels[part])
                for name, value in found.items():
                    total[name] += value * (len(part) / len(rows))
        count = {"count": torch.tensor(len(rows))}
        return Update({"gradient": total, "samples": count}, {})

    def gradient(self, features: Tensor, outputs: Tensor, labels: Tensor) -> Tensors:
        """The gradient of the mean cross-entropy by the last layer's tensors.

        It has a closed form, (softmax - labels)ᵀ features / n, through which gradients flow on.

        Args:
            features: What the layer read, shape (n, features).
            outputs: What it gave, shape (n, classes).
            labels: Shape (n,).
        """
        wrong = outputs.softmax(dim=1) - members(labels, self.task.classes, outputs)
        wrong = wrong / len(labels)
        parts = (wrong.T @ features, wrong.sum(dim=0))
        return dict(zip(self.task.head.names, parts, strict=False))

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Puts the mean gradient into the carry."""
        carry = super().begin(received, client_state, stats)
        return carry._replace(extra={**carry.extra, "mean": dict(received.arrays["gradient"])})

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss with the distance added."""
        features, outputs = self.task.features_and_outputs(parameters, carry.buffers, batch.inputs)
        own, mean = self.gradient(features, outputs, batch.labels), carry.extra["mean"]
        apart = sum((own[name] - mean[name]).square().sum() for name in own)
        return self.loss(outputs, batch, carry) + self.parameters.penalty * apart, outputs
