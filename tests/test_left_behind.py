"""Clients of a process share one client trainer: what a round leaves in it is an error before."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlab
from fedlab import ClientTrainer
from fedlab.errors import InputError
from fedlab.losses.cross_entropy import CrossEntropy
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.simulation import prepare
from helpers import toy


def chosen(client: type) -> Scenario:
    return load_scenario(toy.scenario(model={"name": "mlp", "hidden": [8]}), client=client)


class Box:
    """Holds something."""

    def __init__(self) -> None:
        self.inside = [0]


def started(self: Any, parameters: Any, task: Any) -> None:
    ClientTrainer.__init__(self, parameters, task)
    self.seen = []
    self.counts = {"steps": {"taken": 0}}
    self.network = torch.nn.Linear(2, 2)
    self.moments = np.zeros(3)
    self.chance = torch.Generator()
    self.box = Box()


def keeping(hook: str, keep: Callable[[Any], Any]) -> type[ClientTrainer]:
    """A client trainer that does something with itself in a hook."""

    def hooked(self, *args):
        keep(self)
        return getattr(ClientTrainer, hook)(self, *args)

    members = {"__init__": started, "everybody": [], "total": 0, "__module__": __name__}
    return type("Keeping", (ClientTrainer,), {hook: hooked, **members})


def count(self: Any) -> None:
    self.count = getattr(self, "count", 0) + 1


def count_inside(self: Any) -> None:
    self.counts["steps"]["taken"] += 1


def count_in_the_class(self: Any) -> None:
    type(self).total += 1


KEEPING: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "a count": ("step", count, "count"),
    "a count in a dict in a dict": ("objective", count_inside, "counts"),
    "a count in the class": ("step", count_in_the_class, "total"),
    "a list": ("begin", lambda self: self.seen.append(1), "seen"),
    "a list of tensors": ("finish", lambda self: self.seen.append(torch.ones(2)), "seen"),
    "a list of the class": ("step", lambda self: self.everybody.append(1), "everybody"),
    "a tensor": ("begin", lambda self: setattr(self, "last", torch.ones(2)), "last"),
    "a network that learns": ("step", lambda self: self.network.weight.data.add_(1), "network"),
    "an array": ("gradients", lambda self: self.moments.__iadd__(1), "moments"),
    "a generator that draws": ("step", lambda self: torch.rand(1, generator=self.chance), "chance"),
    "an object of one's own": ("step", lambda self: self.box.inside.append(1), "box"),
}


@pytest.mark.parametrize("what", KEEPING)
def test_what_would_go_from_client_to_client_is_refused(what: str, tmp_path: Path) -> None:
    hook, keep, name = KEEPING[what]
    with pytest.raises(InputError, match=f"keeps '{name}' in an attribute.*client_state"):
        fedlab.simulate(chosen(keeping(hook, keep)), out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


class Counting(ClientTrainer):
    """Counts its steps, and reads the count elsewhere."""

    def begin(self, received, client_state, stats):
        assert getattr(self, "steps", 0) >= 0
        return super().begin(received, client_state, stats)

    def step(self, carry, batch, phase, server_round):
        self.steps = getattr(self, "steps", 0) + 1
        return super().step(carry, batch, phase, server_round)


def test_who_keeps_something_is_named_with_its_line() -> None:
    place = (
        rf"Counting.step \({Path(__file__).name}, line {Counting.step.__code__.co_firstlineno}\)"
    )
    with pytest.raises(InputError, match=f"^{place} keeps 'steps'"):
        prepare(chosen(Counting))


class Caching(ClientTrainer):
    """Keeps what is the same for all clients."""

    def __init__(self, parameters, task):
        super().__init__(parameters, task)
        self.teacher = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)).eval()
        self.network = task.model
        self.share = 0.5

    @cached_property
    def weights(self) -> torch.Tensor:
        return torch.ones(4)

    def objective(self, parameters, carry, batch):
        loss, outputs = super().objective(parameters, carry, batch)
        self.teacher.train().eval()
        return loss + self.share * (self.teacher(outputs) * self.weights).square().mean(), outputs


def test_what_is_the_same_for_all_clients_may_be_kept() -> None:
    prepare(chosen(Caching))


def test_what_all_clients_are_given_is_not_written_to() -> None:
    class Sharing(ClientTrainer):
        def begin(self, received, client_state, stats):
            carry = super().begin(received, client_state, stats)
            return carry._replace(parameters=dict(received.model))

    class Training(ClientTrainer):
        def finish(self, carry, received, steps):
            next(self.task.model.parameters()).data.add_(1)
            return super().finish(carry, received, steps)

    with pytest.raises(InputError, match=r"Sharing writes to '.*' of what came down"):
        prepare(chosen(Sharing))
    with pytest.raises(InputError, match=r"Training changes '.*' of self.task.model"):
        prepare(chosen(Training))


class KeepingLoss(CrossEntropy):
    """Remembers the outputs of its last call."""

    name: str = f"{__name__}:KeepingLoss"
    _last: list[torch.Tensor] = []  # noqa: RUF012

    def value(self, outputs, labels, indices, kept):
        self._last.append(outputs.detach())
        return super().value(outputs, labels, indices, kept)


def test_a_users_loss_keeps_nothing_either() -> None:
    training = {"batch_size": 16, "optimizer": {"lr": 0.05}, "loss": KeepingLoss()}
    with pytest.raises(InputError, match=r"KeepingLoss keeps '_last' in an attribute.*`start`"):
        prepare(toy.scenario(training=training))
