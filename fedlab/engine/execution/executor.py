"""What a way of running clients is: it takes a cohort and gives each client's update.

There are three, tried in the order of `fedlab.engine.execution.executors.EXECUTORS`. They give the
same numbers up to rounding, and `Sequential`, which supports everything, is the reference. A new
way is one file with an `Executor` and one line in that list; without its line, a way is gone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch

from fedlab.clients.base import ClientState, ClientTrainer, Received, Update
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.engine.execution.low_rank_rule import Form
from fedlab.federation.preaggregation import Preaggregation

Trained = tuple[Update, dict[str, float]]
"""A client's update and its metrics."""


class Setting(NamedTuple):
    """What is the same for all clients and rounds of a run.

    Attributes:
        trainer: The method's client trainer, with its network.
        preprocess: Normalises and augments batches.
        batch_size: Samples per step.
        seed: The scenario's seed; all randomness is keyed on it, the client and the round.
        dense_layers: How dense layers are computed.
        few: Two stored samples, by which layers are looked at.
    """

    trainer: ClientTrainer
    preprocess: Preprocess
    batch_size: int | Literal["full"]
    seed: int
    dense_layers: Form
    few: torch.Tensor


class Cohort(NamedTuple):
    """Clients that received the same.

    Attributes:
        clients: Their indices.
        received: What came down; not written to.
        states: What each of them keeps; not written to.
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
    """A way of running clients.

    Args:
        setting: What is the same for all clients and rounds.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @abstractmethod
    def supports(self, cohort: Cohort) -> bool:
        """Whether these clients can be run this way."""

    @abstractmethod
    def train(self, cohort: Cohort, into: Preaggregation | None = None) -> list[Trained]:
        """A local round of clients.

        Args:
            cohort: The clients.
            into: Takes in the updates, if no more than their sum is wanted.

        Returns:
            For each client its update and its metrics, averaged over samples, with
            ``num-examples`` (distinct samples used) and ``steps``. With `into`, updates come
            without the tensors that went into it.
        """


def add(trained: list[Trained], into: Preaggregation | None) -> list[Trained]:
    """Adds what clients would send to a sum, where one is wanted; metrics and states are left."""
    if into is None:
        return trained
    into.add([update.arrays for update, _ in trained], [metrics for _, metrics in trained])
    return [(update._replace(arrays={}), metrics) for update, metrics in trained]
