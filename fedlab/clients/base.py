"""The client trainer of a method: what one client does in a round, as pure functions.

    begin(received, client_state, profile) -> carry
    step(carry, batch, phase, server_round) -> carry, metrics      one optimiser step
    finish(carry, received, steps) -> arrays to send, client_state to keep

A method overrides only what differs from FedAvg: usually `norm_policy`, `objective` or `phases`.
The code is the same in simulation and on devices, and for one client or a stack of them; the
caller stores the client's state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from functools import cached_property
from typing import Any, ClassVar, Generic, Self

import torch
from torch import nn

from fedlab.config.experiment import Experiment
from fedlab.data.client_data import ClientData
from fedlab.losses.base import ClientStats
from fedlab.models.chance import draws_random_numbers
from fedlab.models.memory_format import channels_last
from fedlab.models.norms import NormPolicy, has_batch_norm
from fedlab.records import Tensors
from fedlab.renamed import honour_old_names, old_names
from fedlab.strategies.parameters import P
from fedlab.training import lists
from fedlab.training.local_round import Carry, ClientState, Phase, Received, Update, trained_part
from fedlab.training.pull import Pull
from fedlab.training.task import Batch, Task

__all__ = [
    "Carry",
    "ClientState",
    "ClientTrainer",
    "Phase",
    "Pull",
    "Received",
    "Update",
    "trained_part",
]

RENAMED = {
    "vectorisable": "supports_vmap",
    "for_stacks": "for_vmap",
    "prepare_network": "set_train_mode",
}


class ClientTrainer(Generic[P]):
    """Local training by minimising a loss on the client's own samples.

    Args:
        parameters: The scenario's ``strategy`` block.
        task: The network, optimiser and loss that all clients share.
    """

    norm_policy: ClassVar[NormPolicy] = NormPolicy.SHARE_ALL

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        honour_old_names(cls, RENAMED)

    def __init__(self, parameters: P, task: Task) -> None:
        self.parameters = parameters
        self.task = task
        self.shared, self.local = parameters.divide(task.model, self.norm_policy)

    @classmethod
    def check(cls, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a scenario that the client trainer does not support; by default none.

        Args:
            scenario: The experiment.
            model: Its network.

        Raises:
            InputError: With the reason and the remedy.
        """

    @cached_property
    def normalises_batches(self) -> bool:
        """Whether the network has batch normalisation."""
        return has_batch_norm(self.task.model)

    @property
    def supports_vmap(self) -> bool:
        """Whether the engine may take a step of many clients as one.

        It then calls `gradients` under `torch.func.vmap`, and the optimiser steps on stacked
        tensors. False for methods with a custom step, networks that draw random numbers (they
        are seeded per client), batch normalisation in bf16, and losses without support. A method
        may override it.
        """
        own_step = type(self).step is not ClientTrainer.step
        own_step = own_step or any(phase.step or phase.again for phase in self.phases())
        model = self.task.model
        # Under vmap, batch normalisation needs inputs of the dtype of its statistics.
        mixed = self.task.precision != "float32" and self.normalises_batches
        refused = own_step or mixed or draws_random_numbers(model) or self.task.alone
        return not refused and self.task.loss.supports_vmap

    def for_vmap(self) -> Self:
        """The same trainer with operations that `torch.func.vmap` supports."""
        stacked = copy(self)
        stacked.task = self.task.for_vmap()
        return stacked

    def answer(self, question: str, received: Received, samples: ClientData) -> Update:
        """Answers a strategy's query outside of training.

        Args:
            question: The query's name, agreed between strategy and client trainer.
            received: What came down with it; its config also has ``client``, the client's index.
            samples: The client's samples.

        Raises:
            NotImplementedError: If the method does not define this query.
        """
        raise NotImplementedError(f"{type(self).__name__} has no answer to '{question}'")

    def training_data(
        self, samples: ClientData, received: Received, client_state: ClientState
    ) -> ClientData:
        """What the client trains on: its samples, unless the method adds to them."""
        return samples

    def set_train_mode(self, received: Received) -> None:
        """Sets the network's layers to training mode, before the first step of a round."""
        self.task.model.train()

    def draw(
        self, received: Received, samples: int, generator: torch.Generator
    ) -> torch.Tensor | None:
        """Draws ``Batch.noise`` for a step, on the CPU; None by default.

        It is asked for all steps of a phase before the first, for the `samples` of each; the
        `generator` is the client's for the round, and is advanced.
        """
        return None

    def phases(self) -> Sequence[Phase]:
        """The phases of a local round, in order; by default one over the labelled samples."""
        return [Phase("labelled", self.task.local_epochs, self.task.local_steps)]

    def personal_model(self, received: Received, client_state: ClientState) -> Tensors:
        """The client's tensors before training and in tests, by their first names.

        Received tensors take precedence over the client's stored ones, those over initial values.
        """
        initial, kept = self.task.initial, client_state.get("model", {})
        state = {**initial, **kept, **received.model}
        return state if len(state) == len(initial) else self.task.anatomy.pick(state)

    def evaluated_model(self, received: Received, client_state: ClientState) -> Tensors:
        """The full state dict with which this client is evaluated."""
        return self.personal_model(received, client_state)

    chooses_on_samples: ClassVar[bool] = False
    """Whether the model that a client is tested with depends on its training samples."""

    def tested_model(
        self, received: Received, client_state: ClientState, batches: Iterable[Batch]
    ) -> Tensors:
        """The full state dict with which this client is tested; by default `evaluated_model`.

        Args:
            received: What came down.
            client_state: What the client kept.
            batches: The client's labelled training samples, neither shuffled nor augmented; only
                with `chooses_on_samples`.
        """
        return self.evaluated_model(received, client_state)

    def begin(self, received: Received, client_state: ClientState, stats: ClientStats) -> Carry:
        """Prepares the first step; the carry's tensors are copies, except those of `Task.constant`.

        Args:
            received: What came down.
            client_state: What the client kept from earlier rounds.
            stats: Statistics of the client's samples.
        """

        def own(part: Tensors) -> Tensors:
            changing = {n: channels_last(t.detach()) for n, t in part.items() if n not in constant}
            return {**part, **lists.copied(changing)}

        constant = self.task.constant
        state = self.personal_model(received, client_state)
        parameters, buffers = map(own, self.task.split(state))
        learning = {name: value for name, value in parameters.items() if name not in constant}
        kept = self.task.loss.start(stats, received.server_round, received.rounds)
        extra = {"loss": kept} if kept else {}
        return Carry(parameters, buffers, self.task.optimizer.start(learning), extra)

    def objective(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The objective of a step.

        Args:
            parameters: The tensors to differentiate by, instead of the carry's.
            carry: The other tensors; running statistics in ``carry.buffers`` are updated in place.
            batch: The samples.

        Returns:
            The scalar to minimise, and the outputs of shape (batch, classes).
        """
        outputs = self.task.outputs(parameters, carry.buffers, batch.inputs)
        return self.loss(outputs, batch, carry), outputs

    def pull(self, carry: Carry, phase: Phase) -> Pull | None:
        """A quadratic and a linear term of the parameters that join a phase's objective, or None.

        Their gradient is known, so that it takes a few operations for all parameters together.
        """
        return None

    def loss(self, outputs: torch.Tensor, batch: Batch, carry: Carry) -> torch.Tensor:
        """The scenario's loss of a batch, a scalar."""
        kept = carry.extra.get("loss", {})
        return self.task.loss.value(outputs, batch.labels, batch.indices, kept)

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """Clipped gradients of the phase's objective, and the step's metrics.

        Pure, except that the objective may write to tensors of the carry (running statistics).

        Returns:
            A gradient for each parameter that the phase trains and that this step's objective
            depends on (the others stay as they are, as in PyTorch), and metrics averaged over the
            batch.
        """
        objective = phase.objective or self.objective
        trained = trained_part(carry.parameters, phase)

        def value(parameters: Tensors, buffers: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
            every = {**carry.parameters, **parameters} if phase.trained else parameters
            return objective(every, carry._replace(buffers=buffers), batch)

        grads, loss, outputs = self.task.gradients(value, trained, carry.buffers)
        if pull := self.pull(carry, phase):
            grads, loss = pull.join(grads, loss, carry.parameters, trained)
        return self.task.optimizer.clip(grads), self.step_metrics(loss, outputs, batch)

    def step_metrics(
        self, loss: torch.Tensor, outputs: torch.Tensor, batch: Batch
    ) -> dict[str, torch.Tensor]:
        """The metrics of a step, scalars: its loss, and the score of `data.target`."""
        target = self.task.target
        score = target.scores(outputs.detach(), batch.labels).mean(dtype=torch.float32)
        return {"loss": loss, target.score: score}

    def step(
        self, carry: Carry, batch: Batch, phase: Phase, server_round: int
    ) -> tuple[Carry, dict[str, torch.Tensor]]:
        """One step of a phase; returns the new carry and metrics averaged over the batch."""
        if phase.step:
            return phase.step(carry, batch, server_round)
        batch = batch._replace(prepared=self.before_step(carry, batch, phase))
        grads, metrics = self.gradients(carry, batch, phase)
        lr = self.task.optimizer.learning_rate(server_round)
        trained = trained_part(carry.parameters, phase)
        taken = self.takes_step(carry, phase)
        self.task.optimizer.apply(trained, grads, carry.optimizer, lr, taken)
        self.after_step(carry, batch, phase)
        return carry, metrics

    def before_step(self, carry: Carry, batch: Batch, phase: Phase) -> Tensors:
        """Gives ``Batch.prepared``; may write to the carry in place. For stacks as `gradients`."""
        return {}

    def after_step(self, carry: Carry, batch: Batch, phase: Phase) -> None:
        """What follows an optimiser step, in place on the carry; for stacks as `gradients` is."""

    def takes_step(self, carry: Carry, phase: Phase) -> torch.Tensor | None:
        """Whether the optimiser steps after the last call of `gradients`.

        Without a step, momentum and weight decay leave the parameters unchanged, too.

        Returns:
            A bool, or one for each stacked client; None for always.
        """
        return None

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        """The update to send and the state to keep, after the last of `steps` steps."""
        state = {**carry.parameters, **carry.buffers}
        client_state = {"model": {n: state[n] for n in self.local}} if self.local else {}
        return Update({"arrays": {n: state[n] for n in self.shared}}, client_state)


honour_old_names(ClientTrainer, RENAMED)
__getattr__ = old_names(__name__, {"LocalHalf": "ClientTrainer"})
