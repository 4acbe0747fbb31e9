"""The interface of executors, which train a cohort of clients and return their updates.

`fedlab.engine.execution.executors` lists them, and they are tried in that order. They give the same
numbers up to rounding; `Sequential`, which supports everything, is the reference. A new one is a
file with a subclass of `Executor` and a line there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import torch

from fedlab.clients.base import ClientState, ClientTrainer, Received, Update
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.engine.execution.low_rank_rule import Form
from fedlab.federation.preaggregation import Preaggregation

Trained = tuple[Update, dict[str, float]]
"""A client's update and its metrics."""


class Setting(NamedTuple):
    """The constants of a run, the same for all clients and rounds.

    Attributes:
        trainer: The method's client trainer, with its network.
        preprocess: Normalises and augments batches.
        batch_size: Samples per step.
        seed: The scenario's seed; all randomness is keyed on it, the client and the round.
        dense_layers: How dense layers are computed.
        few: Two stored samples, for finding the layers that can take low-rank form.
        execution: How clients are executed, the scenario's ``engine.execution``.
    """

    trainer: ClientTrainer
    preprocess: Preprocess
    batch_size: int | Literal["full"]
    seed: int
    dense_layers: Form
    few: torch.Tensor
    execution: str = "auto"


class Cohort(NamedTuple):
    """Clients that received the same.

    Attributes:
        clients: Their indices.
        received: What came down; not written to.
        states: Their client states; not written to.
        datas: The samples of each.
    """

    clients: Sequence[int]
    received: Received
    states: Sequence[ClientState]
    datas: Sequence[ClientData]

    def halves(self) -> tuple[Cohort, Cohort]:
        """The first and the second half of the clients."""
        middle = len(self.clients) // 2
        first, second = slice(middle), slice(middle, None)
        return self._slice(first), self._slice(second)

    def _slice(self, part: slice) -> Cohort:
        return Cohort(self.clients[part], self.received, self.states[part], self.datas[part])


class Executor(ABC):
    """Trains cohorts of clients.

    Args:
        setting: The constants of the run.
    """

    trains_one: ClassVar[bool] = False
    """Whether it may train a client that is sent for by itself, and not as one of a stack."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @abstractmethod
    def supports(self, cohort: Cohort) -> bool:
        """Whether this executor can train these clients."""

    @abstractmethod
    def train(self, cohort: Cohort, into: Preaggregation | None = None) -> list[Trained]:
        """A local round of clients.

        Args:
            cohort: The clients.
            into: Sum to which the updates are added, if only their sum is needed.

        Returns:
            For each client its update and its metrics, averaged over samples, with
            ``num-examples`` (distinct samples used) and ``steps``. With `into`, updates have
            no tensors.
        """


def add(trained: list[Trained], into: Preaggregation | None) -> list[Trained]:
    """Moves the updates' tensors into a sum, if `into` is given; metrics and states stay."""
    if into is None:
        return trained
    into.add([update.arrays for update, _ in trained], [metrics for _, metrics in trained])
    return [(update._replace(arrays={}), metrics) for update, metrics in trained]
