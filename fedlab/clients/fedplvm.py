"""FedPLVM, client trainer: the loss, a contrast with cluster prototypes, a correction of cosines.

See `fedlab.strategies.fedplvm` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, Update
from fedlab.clients.families.prototypes import contrast, cosines, with_means
from fedlab.losses.base import ClientStats
from fedlab.models.finch import cluster_labels, cluster_means, of_each_class
from fedlab.records import Tensors
from fedlab.strategies.fedplvm import MOST_CLUSTERS, FedPLVMParameters
from fedlab.training.task import Batch

LEAST_COSINE = 1e-6
"""Smallest cosine of the contrastive term: a power below 1 has no slope at 0."""


class FedPLVM(ClientTrainer[FedPLVMParameters]):
    """Minimises the loss and, of samples whose class has prototypes, λ (ℓ_con + ℓ_cor).

    ℓ_con = -log(Σ_{p of y} e^{cos(f, p)^α/τ} / Σ_p e^{cos(f, p)^α/τ}) and
    ℓ_cor = 2 (cos(f, p̄_y) - 1)², p̄_y the mean of the prototypes of y. Both are sums over samples,
    divided by the batch's size.

    A pass follows in which features are kept, as many as there are samples, so clients cannot be
    stacked.
    """

    def phases(self) -> Sequence[Phase]:
        """Training, then a pass that collects features."""
        return [*super().phases(), Phase(trained=(), step=self.gather)]

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Arranges the received prototypes by class, if there are any."""
        carry = super().begin(received, client_state, stats)
        head = self.task.head
        labels = torch.zeros(0, dtype=torch.int64, device=head.layer.weight.device)
        seen = {"features": head.layer.weight.new_zeros(0, head.features), "labels": labels}
        extra = {**carry.extra, "seen": seen}
        if down := received.arrays.get("prototypes"):
            extra["prototypes"] = with_means(down, self.task.classes)
        return carry._replace(extra=extra)

    def terms(self, features: Tensor, labels: Tensor, prototypes: Tensors) -> Tensor:
        """The sum of both terms, a scalar.

        Args:
            features: Shape (batch, features).
            labels: Shape (batch,).
            prototypes: The record that came down, with means (`with_means`).
        """
        own = prototypes["classes"] == labels[:, None]
        near = cosines(features, prototypes["features"]).clamp(min=LEAST_COSINE, max=1)
        scores = near.pow(self.parameters.alpha) / self.parameters.tau
        aside = 1 - cosine_similarity(features, prototypes["means"][labels], dim=1)
        corrected = aside.square() * prototypes["known"][labels]
        return contrast(scores, own).mean() + 2 * corrected.mean()

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss with the terms added."""
        features, outputs = self.task.features_and_outputs(parameters, carry.buffers, batch.inputs)
        loss = self.loss(outputs, batch, carry)
        if "prototypes" in carry.extra:
            terms = self.terms(features, batch.labels, carry.extra["prototypes"])
            loss = loss + self.parameters.lam * terms
        return loss, outputs

    @torch.no_grad()
    def gather(
        self, carry: Carry, batch: Batch, server_round: int
    ) -> tuple[Carry, dict[str, Tensor]]:
        """Appends a batch's features, by the trained network in evaluation mode."""
        # No reset: every round and every test sets its mode first, and the pass ends a round.
        self.task.model.eval()
        features, outputs = self.task.features_and_outputs(
            carry.parameters, carry.buffers, batch.inputs
        )
        seen = {
            "features": torch.cat([carry.extra["seen"]["features"], features]),
            "labels": torch.cat([carry.extra["seen"]["labels"], batch.labels]),
        }
        metrics = self.step_metrics(self.loss(outputs, batch, carry), outputs, batch)
        return carry._replace(extra={**carry.extra, "seen": seen}), metrics

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the model, and the cluster means of each class."""
        update = super().finish(carry, received, steps)
        record = local_clusters(**carry.extra["seen"], smallest=self.parameters.smallest)
        return update._replace(arrays={**update.arrays, "prototypes": record})


def local_clusters(features: Tensor, labels: Tensor, smallest: int) -> Tensors:
    """The cluster means of each class's features, without clusters that are too small.

    Args:
        features: Shape (n, features).
        labels: Shape (n,).
        smallest: Smallest number of samples of a cluster.

    Returns:
        ``classes``, ascending, with a row for each cluster, and ``features``.
    """

    def means(points: Tensor) -> Tensor:
        groups = cluster_labels(points).to(points.device)
        if int(groups.max()) >= MOST_CLUSTERS:
            groups = torch.zeros_like(groups)
        return cluster_means(points, groups)[groups.bincount() >= smallest]

    return of_each_class(labels, features, means)
