"""The data types of a local round: `Received`, `Carry`, `Update` and `Phase`.

`fedlab.clients.base` exports all of them for client trainers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch

from fedlab.records import Tensors
from fedlab.training.optimizer import OptimizerState
from fedlab.training.task import Batch

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
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def model(self) -> Tensors:
        """The model, or the part of it that is shared."""
        return self.arrays["arrays"]

    @property
    def rounds(self) -> int:
        """Rounds of the whole run; the current one where the server does not say."""
        return int(self.config.get("rounds", self.server_round))

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
        extra: The method's own records, by name; ``loss`` is the loss's state.
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
        client_state: What stays with the client: records that take the place of those of the same
            name; empty if it keeps nothing new.
        metrics: Scalars that join the metrics of the round's steps, and go before them.
    """

    arrays: dict[str, Tensors]
    client_state: ClientState
    metrics: Mapping[str, torch.Tensor] = MappingProxyType({})


Objective = Callable[[Tensors, Carry, Batch], tuple[torch.Tensor, torch.Tensor]]
"""(tensors to differentiate by, carry, samples) -> (scalar to minimise, outputs)."""

Step = Callable[[Carry, Batch, int], tuple[Carry, dict[str, torch.Tensor]]]
"""(carry, samples, server round) -> (new carry, metrics averaged over the batch)."""


@dataclass(frozen=True)
class Phase:
    """One phase of local training.

    Attributes:
        split: Which of the client's training samples it reads.
        epochs: Passes over them.
        steps: Steps instead of passes, or None.
        trained: Names of the parameters that learn; the others stay as they are. All by default.
            A phase of none only measures: its samples go through the network, but it takes no
            optimiser step, counts no examples, and its metrics are none of the round's.
        enter: Maps the carry before the first step; the identity by default.
        objective: The objective of its steps; by default `ClientTrainer.objective`.
        step: A custom step in place of the optimiser's; such clients cannot be stacked.
        strong_views: Whether batches contain strongly augmented views (``Batch.strong``).
        share: Share of the split's samples that a pass reads, drawn anew for each pass; not with
            `unlabelled`.
        again: Whether to take all steps of the phase once more, asked after each time with the
            carry; such clients cannot be stacked. The steps taken again are no part of the round's
            workload or metrics.
        unlabelled: Unlabelled samples that a step reads for each sample of its batch, appended
            to the batch; a client without samples of `split` reads these alone. None by default.
    """

    split: Literal["all", "labelled", "unlabelled"] = "labelled"
    epochs: int = 1
    steps: int | None = None
    trained: Collection[str] | None = None
    enter: Callable[[Carry], Carry] | None = None
    objective: Objective | None = None
    step: Step | None = None
    strong_views: bool = False
    unlabelled: int | None = None
    share: float = 1.0
    again: Callable[[Carry], bool] | None = None

    @property
    def learns(self) -> bool:
        """Whether any parameter learns, so that its steps are optimiser steps."""
        return self.trained is None or bool(self.trained)


def trained_part(parameters: Tensors, phase: Phase) -> Tensors:
    """The parameters that a phase trains."""
    if phase.trained is None:
        return parameters
    return {name: parameters[name] for name in parameters if name in phase.trained}
