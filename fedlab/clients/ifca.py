"""IFCA, client trainer: trains and tests the model with the least loss on its training samples.

See `fedlab.strategies.ifca` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

import torch

from fedlab.accelerator import exact
from fedlab.clients.base import Carry, ClientState, ClientTrainer, Phase, Received, Update
from fedlab.losses.base import ClientStats
from fedlab.models.eval_mode import evaluation_mode
from fedlab.models.memory_format import channels_last
from fedlab.records import Tensors
from fedlab.strategies.ifca import IFCAParameters, model_record
from fedlab.training.task import Batch


class IFCA(ClientTrainer[IFCAParameters]):
    """A pass over the samples with every model, then training of the one with the least loss.

    Models are chosen by the default loss of `data.target` (cross-entropy of classes) in
    evaluation mode, also where training has another; of equal ones the first model is taken. The
    pass reads batches as training does.
    """

    chooses_on_samples: ClassVar[bool] = True

    @property
    def others(self) -> list[str]:
        """Records of all models but the first, which is the carry's own during the pass."""
        return [model_record(number) for number in range(1, self.parameters.clusters)]

    def phases(self) -> Sequence[Phase]:
        """The pass, which updates no parameter, then training of the chosen model."""
        (usual,) = super().phases()
        return [Phase(trained=()), replace(usual, enter=self.turn_to_chosen)]

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Starts with the first model; the others are in the carry's extra."""
        carry = super().begin(received, client_state, stats)
        waiting = {
            record: {
                name: channels_last(tensor) for name, tensor in received.arrays[record].items()
            }
            for record in self.others
        }
        like = torch.zeros(1, dtype=torch.float64, device=exact(stats.class_counts).device)
        losses = {"losses": {"sums": like.repeat(self.parameters.clusters)}}
        return carry._replace(extra={**carry.extra, **waiting, **losses})

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """The gradients of training; none in the pass, which adds up every model's losses."""
        if phase.trained is None:
            return super().gradients(carry, batch, phase)
        first = {**carry.parameters, **carry.buffers}
        models = [first, *({**first, **carry.extra[record]} for record in self.others)]
        losses, scores = self.losses(models, batch)
        carry.extra["losses"]["sums"] += exact(losses).double() * len(batch.labels)
        score = {self.task.target.score: scores[losses.argmin(dim=0)]}
        return {}, {"loss": losses.amin(), **score}

    def losses(self, models: Sequence[Tensors], batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean default loss and score of the target (cross-entropy and accuracy) on a batch.

        Returns:
            Of each model, shape (models,).
        """
        losses, scores, target = [], [], self.task.target
        with torch.no_grad(), evaluation_mode(self.task.model):
            for model in models:
                parameters, buffers = self.task.split(model)
                outputs = self.task.outputs(parameters, dict(buffers), batch.inputs)
                losses.append(target.losses(outputs, batch.labels).mean())
                scores.append(target.scores(outputs, batch.labels).float().mean())
        return torch.stack(losses), torch.stack(scores)

    def turn_to_chosen(self, carry: Carry) -> Carry:
        """Puts the model with the least loss into the carry and drops the others."""
        choice = least(carry.extra["losses"]["sums"])
        parameters, buffers = carry.parameters, carry.buffers
        for number, record in enumerate(self.others, start=1):
            other, mine = carry.extra[record], choice == number
            parameters, buffers = (
                {n: torch.where(mine, other[n], t) if n in other else t for n, t in part.items()}
                for part in (parameters, buffers)
            )
        extra = {n: tensors for n, tensors in carry.extra.items() if n not in self.others}
        return Carry(parameters, buffers, carry.optimizer, {**extra, "cluster": {"choice": choice}})

    def tested_model(
        self, received: Received, client_state: ClientState, batches: Iterable[Batch]
    ) -> Tensors:
        """The received model with the least loss on the client's training samples."""
        records = ["arrays", *self.others]
        models = [
            self.personal_model(Received({"arrays": received.arrays[record]}), client_state)
            for record in records
        ]
        there = exact(next(iter(models[0].values()))).device
        sums = torch.zeros(len(models), dtype=torch.float64, device=there)
        for batch in batches:
            sums += exact(self.losses(models, batch)[0]).double() * len(batch.labels)
        return models[int(least(sums))]

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """Sends the trained model and its index."""
        update = super().finish(carry, received, steps)
        choice = carry.extra["cluster"]["choice"]
        return update._replace(
            arrays={**update.arrays, "cluster": {"choice": choice}},
            metrics={"cluster": choice},
        )


def least(losses: torch.Tensor) -> torch.Tensor:
    """The index of the smallest loss, int64; of equal ones the first."""
    choice, best = torch.zeros_like(losses[0], dtype=torch.int64), losses[0]
    for number, loss in enumerate(losses.unbind()[1:], start=1):
        choice = torch.where(loss < best, number, choice)
        best = torch.minimum(loss, best)
    return choice
