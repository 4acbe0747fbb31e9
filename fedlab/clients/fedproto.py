"""FedProto, client trainer: the local loss plus the distance of features to global prototypes.

See `fedlab.strategies.fedproto` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, Update
from fedlab.clients.families.prototypes import add_features, class_means, members, no_features
from fedlab.losses.base import ClientStats
from fedlab.models.head import Head
from fedlab.records import Tensors
from fedlab.strategies.fedproto import FedProtoParameters
from fedlab.training.task import Batch

NEVER = 1e9
"""How far away a class without prototype is."""


class FedProto(ClientTrainer[FedProtoParameters]):
    """Training, and one more pass over the samples for the prototypes of the trained network.

    The pass reads batches as training does (augmented ones, where the scenario augments) but with
    normalisation layers in evaluation mode. Its loss and accuracy count among those of training.
    """

    def phases(self) -> Sequence[Phase]:
        """Training, then the pass, which updates no parameter."""
        return [*super().phases(), Phase(trained=())]

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Arranges the global prototypes by class; classes without one are not `known`."""
        carry = super().begin(received, client_state, stats)
        weight = self.task.head.layer.weight
        features = weight.new_zeros(self.task.classes, self.task.head.features)
        known = weight.new_zeros(self.task.classes)
        if down := received.arrays.get("prototypes"):
            features[down["classes"]] = down["features"]
            known[down["classes"]] = 1
        sums = no_features(self.task.classes, self.task.head)
        prototypes = {"features": features, "known": known}
        return carry._replace(extra={**carry.extra, "prototypes": prototypes, "sums": sums})

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss with λ times the distance of prototypes added (equation 7)."""
        own = self.parameters
        features, outputs = self.task.features_and_outputs(parameters, carry.buffers, batch.inputs)
        measure = self.of_classes if own.distance == "classes" else self.of_samples
        distance = measure(features, batch.labels, **carry.extra["prototypes"])
        return self.loss(outputs, batch, carry) + own.lam * distance, outputs

    def of_classes(self, batch: Tensor, labels: Tensor, features: Tensor, known: Tensor) -> Tensor:
        """Squared distances between a batch's class means and the global prototypes, summed up.

        Args:
            batch: Features of shape (batch, features).
            labels: Shape (batch,).
            features: Global prototypes of shape (classes, features).
            known: 1 for classes that have one and 0 for others, shape (classes,).
        """
        belongs = members(labels, self.task.classes, batch)
        counts = belongs.sum(dim=0)
        means = belongs.T @ batch / counts.clamp(min=1)[:, None]
        return ((means - features).square().sum(dim=1) * known * (counts > 0)).sum()

    def of_samples(self, batch: Tensor, labels: Tensor, features: Tensor, known: Tensor) -> Tensor:
        """The mean squared difference between features and their classes' global prototypes."""
        return ((batch - features[labels]).square() * known[labels][:, None]).mean()

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, Tensor]]:
        """The gradients of training; in the last pass there are none, and features are added up."""
        if phase.trained is None:
            return super().gradients(carry, batch, phase)
        # No reset: every round and every test sets its mode first, and the pass ends a round.
        self.task.model.eval()
        with torch.no_grad():
            features, outputs = self.task.features_and_outputs(
                carry.parameters, carry.buffers, batch.inputs
            )
            add_features(carry.extra["sums"], features, batch.labels)
            return {}, self.step_metrics(self.loss(outputs, batch, carry), outputs, batch)

    def evaluated_model(self, received: Received, client_state: ClientState) -> Tensors:
        """The client's model; with ``prediction: prototypes``, one whose head is made of them."""
        model = super().evaluated_model(received, client_state)
        down = received.arrays.get("prototypes")
        if self.parameters.prediction == "head" or down is None:
            return model
        return {**model, **nearest(down, self.task.head, model)}

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the prototypes of the client's classes, and keeps the model."""
        record = class_means(carry.extra["sums"])
        return super().finish(carry, received, steps)._replace(arrays={"prototypes": record})


def nearest(prototypes: Tensors, head: Head, model: Tensors) -> Tensors:
    """A head whose outputs are ‖f‖² - ‖f - c‖² for features f and prototypes c: 2 cᵀf - ‖c‖².

    Args:
        prototypes: ``classes`` of shape (k,) and ``features`` of shape (k, features).
        head: The network's.
        model: Its tensors, for their shapes.
    """
    weight, bias = (torch.zeros_like(model[name]) for name in head.names)
    classes, centres = prototypes["classes"], prototypes["features"].to(weight)
    weight[classes] = 2 * centres
    bias -= NEVER
    bias[classes] = -centres.square().sum(dim=1)
    return dict(zip(head.names, (weight, bias), strict=True))
