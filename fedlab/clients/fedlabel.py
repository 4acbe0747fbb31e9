"""FedLabel, client trainer: pseudo-labels from the more confident of local and global model.

See `fedlab.strategies.fedlabel` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, Update
from fedlab.losses.base import ClientStats
from fedlab.models.chance import draws_random_numbers
from fedlab.models.eval_mode import evaluation_mode
from fedlab.records import Tensors
from fedlab.strategies.fedlabel import FedLabelParameters
from fedlab.training.gradients import forked
from fedlab.training.lists import added, copied, less
from fedlab.training.snapshots import Snapshot
from fedlab.training.task import Batch, Task


class PseudoLabels(NamedTuple):
    """Pseudo-labels of a batch of unlabelled samples from the two models.

    Attributes:
        labels: The more confident model's classes ŷ, int64 of shape (batch,).
        kept: Whether its probability passes the threshold, bool of shape (batch,).
        other: The other model's logits s⁻ over the temperature, shape (batch, classes).
        weights: h(s⁻)/h(s*) where the other model agrees, 0 elsewhere, shape (batch,).
        number: How many are kept, a scalar.
    """

    labels: Tensor
    kept: Tensor
    other: Tensor
    weights: Tensor
    number: Tensor


class FedLabel(ClientTrainer[FedLabelParameters]):
    """Supervised steps, then steps from the received model on pseudo-labelled samples."""

    def __init__(self, parameters: FedLabelParameters, task: Task) -> None:
        super().__init__(parameters, task)
        self.own = parameters

    def phases(self) -> Sequence[Phase]:
        """The labelled samples, then the others."""
        unlabelled = Phase(
            "unlabelled",
            self.own.unlabelled_epochs,
            self.own.unlabelled_steps,
            enter=self.start_again,
            strong_views=True,
        )
        return [*super().phases(), unlabelled]

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Keeps a copy of the received model and sets all counts to zero."""
        carry = super().begin(received, client_state, stats)
        device = stats.class_counts.device
        names = ("labelled", "pseudo-labels", "right")
        start, statistics = copied(carry.parameters), copied(carry.buffers)
        extra = {
            "global": start,
            "global buffers": statistics,
            "local": dict(start),  # until the labelled stretch has ended
            "local buffers": dict(statistics),
            "counts": {name: torch.zeros((), device=device) for name in names},
            "threshold": {
                "value": torch.full((), float(received.config["threshold"]), device=device)
            },
            "step": {"taken": torch.ones((), dtype=torch.bool, device=device)},
        }
        return carry._replace(extra=extra)

    def start_again(self, carry: Carry) -> Carry:
        """Keeps the locally trained model as a teacher; the student is the received one again."""
        student = copied(carry.extra["global"])
        extra = {**carry.extra, "local": carry.parameters, "local buffers": copied(carry.buffers)}
        return carry._replace(
            parameters=student, optimizer=self.task.optimizer.start(student), extra=extra
        )

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, Tensor]]:
        """Those of cross-entropy, or those of the pseudo-labels and of consistency."""
        counts = carry.extra["counts"]
        if not phase.strong_views:
            counts["labelled"] += len(batch.labels)
            return super().gradients(carry, batch, phase)
        said = self.pseudo_labels(carry, batch)
        counts["pseudo-labels"] += said.number
        counts["right"] += (said.kept & (said.labels == batch.labels)).sum()
        taken = carry.extra["step"]["taken"].copy_(said.number)
        before = Snapshot(list(carry.buffers.values()))
        gradients = super().gradients(
            carry, batch, replace(phase, objective=partial(self.unlabelled_loss, said=said))
        )
        before.put_back(taken)  # a skipped batch leaves statistics unchanged
        return gradients

    def takes_step(self, carry: Carry, phase: Phase) -> Tensor | None:
        """False for batches without a kept sample, so also in burn-in (as in the authors' code)."""
        return carry.extra["step"]["taken"] if phase.strong_views else None

    def pseudo_labels(self, carry: Carry, batch: Batch) -> PseudoLabels:
        """Labels by the more confident of the received and the locally trained model.

        s* = argmax h(s) over the two; ŷ = argmax s*, kept if its probability passes β. Ties go to
        the local model, as in the authors' code.
        """
        extra = carry.extra
        with evaluation_mode(self.task.model):
            far = self.task.outputs(extra["global"], extra["global buffers"], batch.inputs)
            near = self.task.outputs(extra["local"], extra["local buffers"], batch.inputs)
        both = self.cooled(torch.stack([near, far]))
        near, far = both.unbind()
        sure_near, sure_far = self.confidence(both).unbind()
        if self.own.labeller == "selective":
            local = sure_near >= sure_far
            chosen = torch.where(local.unsqueeze(-1), near, far)
            other = torch.where(local.unsqueeze(-1), far, near)
            ratio = torch.where(local, sure_far / sure_near, sure_near / sure_far)
        elif self.own.labeller == "local":
            chosen, other, ratio = near, far, sure_far / sure_near
        else:
            chosen, other, ratio = far, near, sure_near / sure_far
        labels = chosen.argmax(dim=-1)
        kept = chosen.softmax(dim=-1).amax(dim=-1) > extra["threshold"]["value"]
        agrees = other.argmax(dim=-1) == labels
        weights = torch.where(agrees, ratio.nan_to_num(0.0).clamp(max=1.0), 0.0)
        return PseudoLabels(labels, kept, other, weights, kept.sum())

    def cooled(self, logits: Tensor) -> Tensor:
        """Logits over the temperature."""
        return logits if self.own.temperature == 1 else logits / self.own.temperature

    def confidence(self, logits: Tensor) -> Tensor:
        """h(s), shape (batch,): the variance over classes, or log(classes) less the entropy."""
        if self.own.confidence == "entropy":
            chances = log_softmax(logits, dim=-1)
            most = torch.log(torch.tensor(float(logits.shape[-1])))
            return most + (chances.exp() * chances).sum(dim=-1)
        scores = logits if self.own.scores == "logits" else logits.softmax(dim=-1)
        return scores.var(dim=-1, correction=0)

    def unlabelled_loss(
        self, parameters: Tensors, carry: Carry, batch: Batch, said: PseudoLabels
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of strong views and consistency, averaged over the samples kept."""
        assert batch.strong is not None
        strong, plain = self.views(parameters, carry.buffers, batch.strong, batch.inputs)
        taught = cross_entropy(strong, said.labels, reduction="none")
        student = log_softmax(self.cooled(plain), dim=-1)
        teacher = log_softmax(said.other, dim=-1)
        if self.own.divergence == "student_teacher":
            student, teacher = teacher, student
        apart = kl_div(student, teacher, reduction="none", log_target=True).sum(dim=-1)
        each = taught + self.own.consistency * said.weights * apart
        loss = (each * said.kept).sum() / said.number.clamp(min=1)
        if self.own.proximal:
            start = carry.extra["global"]
            distance = sum((parameters[n] - w).square().mean() for n, w in start.items())
            loss = loss + self.own.proximal * distance
        return loss, plain

    def views(
        self, parameters: Tensors, buffers: Tensors, strong: Tensor, plain: Tensor
    ) -> Sequence[Tensor]:
        """Outputs of both views, in one pass where no layer sees the rest of a batch."""
        if self.normalises_batches or draws_random_numbers(self.task.model):
            both = (parameters,) * 2 if self.task.holds else forked(parameters)
            pairs = zip(both, (strong, plain), strict=True)
            return [self.task.outputs(own, buffers, view) for own, view in pairs]
        return self.task.outputs(parameters, buffers, torch.cat([strong, plain])).chunk(2)

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends w + Δw_L + Δw_U and the samples used; or both models, as the code has it."""
        counts = carry.extra["counts"]
        start, labelled = carry.extra["global"], carry.extra["local"]
        both = less(added(labelled, carry.parameters), start)
        moved = both if self.own.aggregation == "paper" else labelled
        update = super().finish(carry._replace(parameters=moved), received, steps)
        if self.own.aggregation == "flute":
            state = {**carry.parameters, **carry.buffers}
            update.arrays["unlabelled"] = {name: state[name] for name in self.shared}
        pseudo = counts["pseudo-labels"]
        metrics = {
            "num-examples": counts["labelled"] + pseudo,
            "pseudo-labels": pseudo,
            "pseudo-labels-right": counts["right"] / pseudo.clamp(min=1),
        }
        return update._replace(metrics=metrics)
