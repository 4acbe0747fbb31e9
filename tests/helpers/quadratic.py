"""A test-bed with a known optimum: clients with F_i(x) = ½ xᵀA_i x - b_iᵀx, in double precision.

Each is the squared error of a linear network on four samples, so methods run as they are:
strategy, messages, client trainer, optimiser. Clients may take different numbers of steps, each on
all of their samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from flwr.app import ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from torch import nn

from fedlab import flower_compat
from fedlab.clients.base import ClientState, ClientTrainer, Received
from fedlab.config import registry
from fedlab.data.client_data import ClientData
from fedlab.engine.execution.sequential import train_one
from fedlab.losses.base import Loss
from fedlab.records import Tensors, arrays_of, from_record, to_record
from fedlab.strategies.base import ServerSettings, Strategy
from fedlab.strategies.parameters import StrategyParameters
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec
from fedlab.training.task import Task

CLIENTS, SIZE, TARGETS = 3, 4, 10
ZERO = torch.zeros(SIZE, dtype=torch.float64)


class SquaredError(Loss):
    """½ mean (output - label)², the label being a number."""

    name: str = "helpers.quadratic:SquaredError"

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        return (outputs[:, 0] - labels).square().mean() / 2


class AsStored:
    """Samples go into the network as they are."""

    def inputs(self, stored: torch.Tensor, own: bool = False) -> torch.Tensor:
        return stored

    def draw(self, count: int, generators: Sequence[torch.Generator]) -> None:
        return None

    def augmented(self, inputs: torch.Tensor, draws: None) -> torch.Tensor:
        return inputs


def network() -> nn.Module:
    """x ↦ ⟨weight, x⟩."""
    return nn.Linear(SIZE, 1, bias=False, dtype=torch.float64)


def samples(client: int, copies: int = 1) -> ClientData:
    """Inputs whose second moment has eigenvalues from 1 to 2 in the client's own directions."""
    generator = torch.Generator().manual_seed(client)
    axes, _ = torch.linalg.qr(torch.randn(SIZE, SIZE, dtype=torch.float64, generator=generator))
    scales = torch.linspace(1.0, 2.0, SIZE, dtype=torch.float64)
    inputs = ((SIZE * scales).sqrt()[:, None] * axes.T).repeat(copies, 1)
    labels = torch.randint(0, TARGETS, (SIZE,), generator=generator).repeat(copies)
    known = torch.ones(len(labels), dtype=torch.bool)
    return ClientData(inputs, labels, known)


def system(data: ClientData) -> tuple[torch.Tensor, torch.Tensor]:
    """A_i and b_i of a client's samples."""
    count = len(data.labels)
    return data.inputs.T @ data.inputs / count, data.inputs.T @ data.labels.double() / count


def optimum(weights: Sequence[float] = (1, 1, 1)) -> torch.Tensor:
    """Where Σ weight_i F_i is least."""
    systems = [system(samples(client)) for client in range(CLIENTS)]
    a = torch.stack([w * a for w, (a, _) in zip(weights, systems, strict=True)])
    b = torch.stack([w * b for w, (_, b) in zip(weights, systems, strict=True)])
    return torch.linalg.solve(a.sum(0), b.sum(0))


class Bed:
    """A federation of the three clients; a grid, as far as a strategy needs one.

    Args:
        method: The ``strategy`` block.
        steps: Local steps of each client.
        copies: How often each client has its four samples.
        fraction: Share of the clients that train in a round.
        start: The first model.
        optimizer: The ``training.optimizer`` block.
    """

    def __init__(
        self,
        method: Mapping[str, Any],
        *,
        steps: Sequence[int] = (3, 3, 3),
        copies: Sequence[int] = (1, 1, 1),
        fraction: float = 1.0,
        start: torch.Tensor = ZERO,
        **optimizer: Any,
    ) -> None:
        flower_compat.assume_identity()
        parameters = StrategyParameters.choose(dict(method))
        trainer: type[ClientTrainer] = registry.resolve("clients", parameters.client_trainer)
        spec = Optimizer(OptimizerSpec(**{"lr": 0.1, **optimizer}))
        self.halves = [
            trainer(parameters, Task(network(), spec, TARGETS, SquaredError(), local_steps=count))
            for count in steps
        ]
        self.data = [samples(client, count) for client, count in enumerate(copies)]
        self.own_states: list[ClientState] = [{} for _ in steps]
        settings = ServerSettings(fraction_train=fraction, fraction_evaluate=0)
        strategy: type[Strategy] = registry.resolve("strategies", parameters.name)
        self.strategy = strategy(network(), parameters, settings)
        self.start = start
        self.cohorts: list[list[int]] = []

    def run(self, rounds: int) -> torch.Tensor:
        """The model after so many rounds, shape (SIZE,)."""
        first = to_record({"weight": self.start[None]})
        result = self.strategy.start(self, first, num_rounds=rounds)  # type: ignore[arg-type]
        return from_record(result.arrays)["weight"][0]

    # ------------------------------------------------------------------ what a strategy sees

    def get_node_ids(self) -> Iterable[int]:
        return range(len(self.halves))

    def get_nodes(self) -> Iterable[flower_compat.NodeInfo]:
        return [flower_compat.NodeInfo(node_id=node) for node in self.get_node_ids()]

    def send_and_receive(self, messages: Iterable[Message], *, timeout=None) -> list[Message]:
        asked = list(messages)
        assert all(message.metadata.message_type == MessageType.TRAIN for message in asked)
        self.cohorts.append([message.metadata.dst_node_id for message in asked])
        return [self._reply(message) for message in asked]

    def _reply(self, message: Message) -> Message:
        client = message.metadata.dst_node_id
        config = dict(message.content["config"])
        update, metrics = train_one(
            self.halves[client],
            AsStored(),  # type: ignore[arg-type]
            Received(arrays_of(message.content), config),
            self.own_states[client],
            self.data[client],
            batch_size="full",
            seed=0,
            client=client,
        )
        self.own_states[client] = {**self.own_states[client], **update.client_state}
        records: dict[str, Any] = {name: to_record(t) for name, t in update.arrays.items()}
        records["metrics"] = MetricRecord(dict(metrics))
        records["client"] = ConfigRecord({"id": client})
        return Message(RecordDict(records), reply_to=message)


EQUAL = (1, 1, 1)


def error(bed: Bed, rounds: int, weights: Sequence[float] = EQUAL) -> float:
    """The largest distance from the optimum in any entry."""
    return float((bed.run(rounds) - optimum(weights)).abs().max())
