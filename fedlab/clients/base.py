"""The local half of a method: what one client does in a round, as pure functions.

    begin(received, own_state, server_round) -> carry
    step(carry, batch) -> carry, metrics            one optimiser step
    finish(carry, received) -> arrays to send, own_state to keep

A method overrides only its idea: usually `norm_policy` or `objective`. Nothing here knows whether
it is simulated or deployed, how many clients run beside it, or where its state is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch

from fedlab.clients.optimizer import OptimizerState
from fedlab.clients.task import Batch, Task
from fedlab.models.layers import draws_random_numbers
from fedlab.models.layout import channels_last
from fedlab.models.norms import NormPolicy, local_names, shared_names
from fedlab.records import Tensors
from fedlab.strategies.parameters import StrategyParameters

ClientState = dict[str, Tensors]
"""What never leaves a client: named records of named tensors."""


@dataclass(frozen=True)
class Received:
    """What came down from the server.

    Attributes:
        arrays: Tensors by record name; ``arrays`` is the model or the shared part of it.
        config: Plain values, among them ``server-round``.
    """

    arrays: Mapping[str, Tensors]
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Tensors:
        """The model, or the part of it that is shared."""
        return self.arrays["arrays"]

    @property
    def server_round(self) -> int:
        """The current round, from 1."""
        return int(self.config.get("server-round", 1))


class Carry(NamedTuple):
    """What one step hands to the next: tensors only, so that clients can be stacked.

    Attributes:
        parameters: The client's trainable tensors.
        buffers: Its other model tensors (running statistics).
        optimizer: The optimiser's slots.
        extra: Whatever else the method needs, by name.
    """

    parameters: Tensors
    buffers: Tensors
    optimizer: OptimizerState
    extra: dict[str, Tensors]

    def map(self, function: Callable[..., torch.Tensor], *others: Carry) -> Carry:
        """The carry of ``function(tensor, *tensors of the same place in the others)``."""

        def tensors(*places: Tensors) -> Tensors:
            return {name: function(*(place[name] for place in places)) for name in places[0]}

        def records(*places: dict[str, Tensors]) -> dict[str, Tensors]:
            return {name: tensors(*(place[name] for place in places)) for name in places[0]}

        parameters, buffers, optimizer, extra = zip(self, *others, strict=True)
        return Carry(tensors(*parameters), tensors(*buffers), records(*optimizer), records(*extra))


class Update(NamedTuple):
    """What a client sends up and what it keeps.

    Attributes:
        arrays: Tensors by record name; ``arrays`` is the model or the shared part of it.
        own_state: What stays with the client; empty if it keeps nothing.
    """

    arrays: dict[str, Tensors]
    own_state: ClientState


@dataclass(frozen=True)
class Phase:
    """One stretch of local training.

    Attributes:
        split: Which of the client's training samples it reads.
        epochs: Passes over them.
        steps: Steps instead of passes, or None.
    """

    split: Literal["all", "labelled", "unlabelled"] = "labelled"
    epochs: int = 1
    steps: int | None = None


class LocalHalf:
    """Local training by minimising a loss on the client's own samples.

    Args:
        parameters: The scenario's ``strategy`` block.
        task: The network, optimiser and loss that all clients share.
    """

    norm_policy: ClassVar[NormPolicy] = NormPolicy.SHARE_ALL

    def __init__(self, parameters: StrategyParameters, task: Task) -> None:
        self.parameters = parameters
        self.task = task
        self.shared = shared_names(task.model, self.norm_policy)
        self.local = local_names(task.model, self.norm_policy)

    @property
    def vectorisable(self) -> bool:
        """Whether the engine may take a step of many clients as one.

        It then calls `gradients` under `torch.func.vmap` and lets the optimiser step on stacked
        tensors. Not so for methods with a step of their own, nor for networks that draw random
        numbers, which are keyed on the client. Any method may refuse.
        """
        own_step = type(self).step is not LocalHalf.step
        return not own_step and not draws_random_numbers(self.task.model)

    def phases(self) -> Sequence[Phase]:
        """What a local round consists of."""
        return [Phase("labelled", self.task.local_epochs, self.task.local_steps)]

    def personal_model(self, received: Received, own_state: ClientState) -> Tensors:
        """The full state dict this client trains from and is tested with.

        What it received comes first, then what it remembers, then the network's initial values.
        """
        initial = self.task.model.state_dict()
        kept = own_state.get("model", {})
        return {**initial, **kept, **received.model}

    def evaluated_model(self, received: Received, own_state: ClientState) -> Tensors:
        """The full state dict that stands for this client in tests."""
        return self.personal_model(received, own_state)

    def begin(self, received: Received, own_state: ClientState) -> Carry:
        """Prepares the first step; the carry owns its tensors."""
        start = self.personal_model(received, own_state)
        state = {name: channels_last(tensor.detach()).clone() for name, tensor in start.items()}
        parameters, buffers = self.task.split(state)
        return Carry(parameters, buffers, self.task.optimizer.start(parameters), {})

    def objective(
        self, parameters: Tensors, carry: Carry, batch: Batch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a step minimises.

        Args:
            parameters: The tensors to differentiate by; use these, not the carry's.
            carry: Everything else; running statistics in ``carry.buffers`` are updated in place.
            batch: The samples.

        Returns:
            The scalar to minimise, and the outputs of shape (batch, classes).
        """
        outputs = self.task.outputs(parameters, carry.buffers, batch.inputs)
        return self.task.loss(outputs, batch.labels), outputs

    def gradients(self, carry: Carry, batch: Batch) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """Clipped gradients of the objective, and the step's metrics; pure but for the buffers."""
        slopes, loss, outputs = self.task.differentiate(
            lambda parameters, buffers: self.objective(
                parameters, carry._replace(buffers=buffers), batch
            ),
            carry.parameters,
            carry.buffers,
        )
        correct = (outputs.detach().argmax(dim=1) == batch.labels).float().mean()
        return self.task.optimizer.clip(slopes), {"loss": loss, "accuracy": correct}

    def step(
        self, carry: Carry, batch: Batch, server_round: int
    ) -> tuple[Carry, dict[str, torch.Tensor]]:
        """One optimiser step; returns the new carry and metrics averaged over the batch."""
        slopes, metrics = self.gradients(carry, batch)
        lr = self.task.optimizer.learning_rate(server_round)
        self.task.optimizer.apply(carry.parameters, slopes, carry.optimizer, lr)
        return carry, metrics

    def finish(self, carry: Carry, received: Received) -> Update:
        """What goes up and what stays, after the last step."""
        state = {**carry.parameters, **carry.buffers}
        own_state = {"model": {n: state[n] for n in self.local}} if self.local else {}
        return Update({"arrays": {n: state[n] for n in self.shared}}, own_state)
