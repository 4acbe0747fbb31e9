"""A method of one's own is tried before anything is trained, and nothing is kept of it."""

from __future__ import annotations

import random
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlab
from fedlab import ClientTrainer
from fedlab.clients.base import Carry, Phase
from fedlab.errors import InputError
from fedlab.losses.base import Loss
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.simulation import prepare
from fedlab.strategies.fedavg import FedAvg
from helpers import toy


def chosen(client: type, **fields: Any) -> Scenario:
    dense = {"model": {"name": "mlp", "hidden": [8]}}
    return load_scenario(toy.scenario(**{**dense, **fields}), client=client)


class Mine(ClientTrainer):
    """Fails in each of its methods, as configured."""

    where = ""
    error: type[BaseException] = ValueError

    def _fail(self, name: str) -> None:
        if self.where == name:
            raise self.error("no luck")

    def training_data(self, samples, received, client_state):
        self._fail("training_data")
        return samples

    def begin(self, received, client_state, stats):
        self._fail("begin")
        return super().begin(received, client_state, stats)

    def objective(self, parameters, carry, batch):
        self._fail("objective")
        return super().objective(parameters, carry, batch)

    def gradients(self, carry, batch, phase):
        self._fail("gradients")
        return super().gradients(carry, batch, phase)

    def step(self, carry, batch, phase, server_round):
        self._fail("step")
        return super().step(carry, batch, phase, server_round)

    def finish(self, carry, received, steps):
        self._fail("finish")
        return super().finish(carry, received, steps)


METHODS = ("training_data", "begin", "objective", "gradients", "step", "finish")


@pytest.mark.slow_except("ValueError-begin", "SystemExit-gradients", "ValueError-step")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_an_error_is_reported_before_there_is_a_folder(
    method: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Mine, "where", method)
    monkeypatch.setattr(Mine, "error", error)
    with pytest.raises(InputError) as refused:
        fedlab.simulate(chosen(Mine), out=tmp_path / "run", progress=False)
    said = str(refused.value)
    assert said.startswith(f"Mine.{method} fails in a client's first round")
    assert f"{error.__name__}: no luck (test_rehearsal.py, line " in said
    assert "\n" not in said
    assert not (tmp_path / "run").exists()


class Forgetful(ClientTrainer):
    """Returns nothing where a pair is wanted."""

    def step(self, carry, batch, phase, server_round):  # type: ignore[override]
        super().step(carry, batch, phase, server_round)


class Numbers(ClientTrainer):
    """Keeps numbers where tensors are wanted."""

    def finish(self, carry, received, steps):
        return super().finish(carry, received, steps)._replace(client_state={"seen": {"n": steps}})


@pytest.mark.parametrize(
    ("client", "words"),
    [
        (Forgetful, r"Forgetful.step \(test_rehearsal.py, line \d+\) returns nothing; return the"),
        (Numbers, r"Numbers.finish \(.*\) puts an int into Update.client_state\['seen'\] for 'n'"),
    ],
)
def test_what_a_method_returns_is_tried_too(client: type[ClientTrainer], words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare(chosen(client))


class OwnLoss(Loss):
    """Reads a label that is not there."""

    name: str = f"{__name__}:OwnLoss"

    def value(self, outputs, labels, indices, kept):
        return outputs[:, labels.max() + 9].mean()


def test_a_users_loss_is_tried() -> None:
    loss = {"batch_size": 16, "optimizer": {"lr": 0.05}, "loss": OwnLoss()}
    with pytest.raises(InputError, match=r"OwnLoss.value fails .* IndexError: "):
        prepare(toy.scenario(training=loss))


BEGUN: list[tuple[Any, ...]] = []


class Drawing(ClientTrainer):
    """Draws by chance."""

    def begin(self, received, client_state, stats):
        BEGUN.append((random.random(), np.random.rand(), torch.rand(1)))
        return super().begin(received, client_state, stats)


def test_nothing_is_kept_of_what_is_tried_before_a_run() -> None:
    scenario = chosen(Drawing, partition={"clients": 3})
    before = random.getstate(), repr(np.random.get_state()), torch.get_rng_state()
    first = prepare(toy.scenario(model={"name": "mlp", "hidden": [8]})).model.state_dict()
    BEGUN.clear()
    model = prepare(scenario).model
    assert len(BEGUN) == 2  # it is rehearsed, and its passes are counted
    assert random.getstate() == before[0]
    assert repr(np.random.get_state()) == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, first[name])
    BEGUN.clear()
    prepare(chosen(ClientTrainer))
    assert not BEGUN


class NeedsMany(ClientTrainer):
    """Takes the ten largest losses of a batch, and looks at outputs of whole batches alone."""

    def objective(self, parameters, carry, batch):
        loss, outputs = super().objective(parameters, carry, batch)
        return outputs.logsumexp(dim=1).topk(10).values.mean() + loss, outputs


class RefusesOne(ClientTrainer):
    """Has no use for the darkest client."""

    def begin(self, received, client_state, stats):
        if stats.samples == 40:
            raise ValueError("no luck")
        return super().begin(received, client_state, stats)


class Uneven(toy.Stripes):
    """The first domain has fewer samples."""

    def _domain(self, index, context):
        return self.model_copy(update={"train": 40 if index == 0 else 44})._other(index, context)

    def _other(self, index, context):
        return toy.Stripes._domain(self, index, context)


class Asking(FedAvg):
    """Asks before the first round, and sends the answer."""

    def before_rounds(self, ask):
        self.state["answers"] = {"n": torch.ones(1)}

    def broadcast(self, server_round):
        return {**super().broadcast(server_round), "answers": self.state["answers"]}


class Told(ClientTrainer):
    """Reads the answer that the server got."""

    def begin(self, received, client_state, stats):
        assert received.arrays["answers"]["n"] == 1
        return super().begin(received, client_state, stats)


class FromTheSecond(ClientTrainer):
    """Fails once it has been through a round."""

    def begin(self, received, client_state, stats):
        if received.server_round > 1:
            raise ValueError("no luck")
        return super().begin(received, client_state, stats)


@pytest.mark.parametrize(
    ("client", "fields"),
    [
        (NeedsMany, {}),
        (RefusesOne, {"data": {"sources": [{"name": f"{__name__}:Uneven"}], "image_size": 8}}),
        (Told, {"strategy": {"name": f"{__name__}:Asking"}}),
        (FromTheSecond, {}),
        (Told, {"strategy": {"name": "flwr:FedAvg"}}),
    ],
)
def test_what_cannot_be_known_beforehand_is_let_pass(
    client: type[ClientTrainer], fields: dict[str, Any]
) -> None:
    prepare(chosen(client, **fields))


def test_few_samples_are_enough_however_long_a_round_is() -> None:
    rows: list[int] = []

    class Counting(ClientTrainer):
        def objective(self, parameters, carry, batch):
            rows.append(len(batch.inputs))
            return super().objective(parameters, carry, batch)

    prepare(chosen(Counting, training={"local_epochs": 1000, "batch_size": 32}))
    assert len(rows) <= 3  # two steps, and one whose passes are counted
    assert max(rows) <= 8


def test_an_error_in_a_library_is_reported_with_the_line_that_called_it() -> None:
    class Asking(ClientTrainer):
        def objective(self, parameters, carry, batch):
            loss, outputs = super().objective(parameters, carry, batch)
            return loss * statistics.mean([]), outputs

    with pytest.raises(InputError) as refused:
        prepare(chosen(Asking))
    line = Asking.objective.__code__.co_firstlineno + 2
    said = str(refused.value)
    assert said.startswith("Asking.objective fails"), said
    assert f"(test_rehearsal.py, line {line})" in said


def test_a_users_phases_are_entered() -> None:
    class Entering(ClientTrainer):
        def phases(self) -> list[Phase]:
            return [Phase(), Phase(enter=self.turn)]

        def turn(self, carry: Carry) -> Carry:
            raise RuntimeError("no way in")

    with pytest.raises(InputError, match=r"Entering.turn fails .* RuntimeError: no way in"):
        prepare(chosen(Entering))
