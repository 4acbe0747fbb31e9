"""LLP-BP, client trainer: finds labels by belief propagation, then trains on them as the base does.

See `fedlab.strategies.llp_bp` for the paper and what stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedlab.accelerator import exact
from fedlab.clients.base import Carry, ClientState, Phase, Received, Update
from fedlab.clients.families.in_front import InFrontTrainer
from fedlab.losses.base import ClientStats
from fedlab.models.belief_propagation import (
    bag_pairs,
    bag_unaries,
    marginals,
    neighbour_pairs,
    together,
)
from fedlab.models.eval_mode import evaluation_mode
from fedlab.strategies.llp_bp import LLPBPParameters
from fedlab.training.task import Batch, Task

FOUND = "llp_bp"
"""Name of the record of found labels, in the carry and in what a client keeps."""


class LLPBP(InFrontTrainer):
    """A pass over the samples in their order, in new stages messages between them, and the base.

    Where the base has the scenario's loss, it minimises the cross-entropy with the labels found and
    `bag_term` times that loss.
    """

    # `copy` calls `__new__` without arguments.
    def __init__(  # pyright: ignore[reportInconsistentConstructor]
        self, parameters: LLPBPParameters, task: Task
    ) -> None:
        super().__init__(parameters, task)
        self.own = parameters

    def stage(self, received: Received) -> int:
        """How often labels were to be found before the current stage."""
        passed = (received.server_round - 1) * self.own.times // max(received.rounds, 1)
        return min(passed, self.own.times - 1)

    def phases(self) -> Sequence[Phase]:
        """A pass that learns nothing, then the base's phases."""
        first, *rest = super().phases()
        enter = self._found_before(first.enter)
        return [Phase(trained=(), step=self.gather), replace(first, enter=enter), *rest]

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Takes the labels of this stage along, if they are known."""
        carry, stage = super().begin(received, client_state, stats), self.stage(received)
        kept = client_state.get(FOUND)
        device = stats.class_counts.device
        if kept is None or int(kept["stage"]) != stage:
            samples = torch.zeros(stats.samples, self.task.classes, device=device)
            kept = {"stage": torch.tensor(stage), "labels": samples}
        else:
            kept = {**kept, "whole": torch.ones(())}
        return carry._replace(extra={**carry.extra, FOUND: kept})

    @torch.no_grad()
    def gather(
        self, carry: Carry, batch: Batch, server_round: int
    ) -> tuple[Carry, dict[str, Tensor]]:
        """Keeps covariates and shares in a new stage; a step of the pass before training."""
        with evaluation_mode(self.task.model):
            features, outputs = self._features(carry, batch)
        metrics = self.step_metrics(self.loss(outputs, batch, carry), outputs, batch)
        found = carry.extra[FOUND]
        if "whole" in found:
            return carry, metrics
        samples = batch.inputs.is_floating_point() and not int(found["stage"])
        points = exact(batch.inputs if samples else features).double().cpu().flatten(start_dim=1)
        news = {
            "points": points,
            "shares": exact(batch.labels).double().cpu(),
            "rows": batch.indices.cpu(),
        }
        if "points" in found:
            news = {name: torch.cat([found[name], new]) for name, new in news.items()}
        return carry._replace(extra={**carry.extra, FOUND: {**found, **news}}), metrics

    def loss(self, outputs: Tensor, batch: Batch, carry: Carry) -> Tensor:
        """Cross-entropy with the labels found, and the loss of bags; that alone before."""
        of_bags, found = super().loss(outputs, batch, carry), carry.extra[FOUND]
        if "whole" not in found:
            return of_bags
        chances = outputs.log_softmax(dim=-1)
        of_samples = -(found["labels"][batch.indices] * chances).sum(dim=-1).mean()
        return of_samples + self.own.bag_term * of_bags

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """The base's update; the labels stay."""
        update, found = super().finish(carry, received, steps), carry.extra[FOUND]
        kept = {name: found[name] for name in ("stage", "labels")}
        return update._replace(client_state={**update.client_state, FOUND: kept})

    def _features(self, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """Features where there are some, else outputs; and outputs."""
        if self.own.times > 1:
            return self.task.features_and_outputs(carry.parameters, carry.buffers, batch.inputs)
        outputs = self.task.outputs(carry.parameters, carry.buffers, batch.inputs)
        return outputs, outputs

    def _found_before(self, enter: Callable[[Carry], Carry] | None) -> Callable[[Carry], Carry]:
        """Finds labels, where they are not known, before a phase is entered."""

        def found(carry: Carry) -> Carry:
            carry = self._with_labels(carry)
            return enter(carry) if enter else carry

        return found

    def _with_labels(self, carry: Carry) -> Carry:
        """Belief propagation between the samples that were gathered."""
        found = carry.extra[FOUND]
        if "points" not in found:
            return carry
        bags = found["rows"].view(-1, self.task.target.unit(len(found["rows"])))
        # Of equally near neighbours the first ones count: not by the order of batches.
        order = bags[:, 0].argsort()
        points, shares = (_by_bag(found[name], bags)[order] for name in ("points", "shares"))
        labels = self.labels_of(points.flatten(end_dim=1), shares.flatten(end_dim=1))
        every, rows = found["labels"], bags[order].flatten()
        every = every.index_copy(0, rows.to(every.device), labels.to(every))
        known = {"stage": found["stage"], "labels": every, "whole": torch.ones(())}
        return carry._replace(extra={**carry.extra, FOUND: known})

    def labels_of(self, points: Tensor, shares: Tensor) -> Tensor:
        """Soft labels, float64 of shape (n, classes).

        Args:
            points: Covariates of bag after bag, float64 of shape (n, features).
            shares: Of each sample the shares of the classes in its bag, shape (n, classes).
        """
        own, size = self.own, self.task.target.unit(len(points))
        length = None if own.length == "median" else own.length
        pairs = together(
            len(points),
            bag_pairs(len(points), size, own.bag_weight),
            neighbour_pairs(points, own.neighbours, own.neighbour_weight, length),
        )
        unaries = bag_unaries(shares, size, own.bag_weight)
        return marginals(unaries, pairs, iterations=own.iterations, damping=own.damping)


def _by_bag(values: Tensor, bags: Tensor) -> Tensor:
    """Values of samples, shape (bags, samples of a bag, ...)."""
    return values.view(*bags.shape, *values.shape[1:])
