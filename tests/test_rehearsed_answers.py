"""What a user's hooks return is checked before anything is trained; errors have their place."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import fedlab
from fedlab import ClientTrainer
from fedlab.clients.base import Phase
from fedlab.clients.scaffold import Scaffold
from fedlab.errors import InputError
from fedlab.losses.cross_entropy import CrossEntropy
from fedlab.methods import client_trainer_class
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.simulation import prepare
from fedlab.strategies.fedavg import FedAvg
from helpers import toy

BIAS = "1.bias"
"""Of the first layer of the dense network."""


def chosen(client: type, **fields: Any) -> Scenario:
    dense = {"model": {"name": "mlp", "hidden": [8]}}
    return load_scenario(toy.scenario(**{**dense, **fields}), client=client)


def trainer_of(
    hook: str, answer: Callable[..., Any], base: type[ClientTrainer] = ClientTrainer
) -> type[ClientTrainer]:
    """A client trainer of which one hook answers with what is made of its usual answer."""

    def hooked(self, *args):
        return answer(getattr(base, hook)(self, *args), *args)

    hooked.__name__, hooked.__qualname__ = hook, f"Odd.{hook}"
    return type("Odd", (base,), {hook: hooked, "__module__": __name__})


def but(tensors: dict[str, Any], name: str = BIAS) -> dict[str, Any]:
    """All but one."""
    return {key: value for key, value in tensors.items() if key != name}


def each(change: Callable[..., Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Every tensor, changed."""
    return lambda tensors: {name: change(tensor) for name, tensor in tensors.items()}


def beginning(change: Callable[..., Any]) -> Callable[..., Any]:
    return lambda carry, *_: carry._replace(parameters=change(carry.parameters))


def sloping(change: Callable[..., Any]) -> Callable[..., Any]:
    return lambda answer, *_: (change(answer[0]), answer[1])


def sending(change: Callable[..., Any]) -> Callable[..., Any]:
    return lambda update, *_: update._replace(arrays={"arrays": change(update.arrays["arrays"])})


def rooted(answer: Any, parameters: Any, carry: Any, batch: Any) -> Any:
    """Adds the distance from where the round began, whose root has no gradient there."""
    apart = (parameters[BIAS] - carry.parameters[BIAS]).square().sum().sqrt()
    return answer[0] + apart, answer[1]


WRONG: dict[str, tuple[str, Callable[..., Any], str]] = {
    "no carry": ("begin", lambda carry, *_: None, "returns nothing; return a Carry"),
    "a dict for a carry": ("begin", lambda carry, *_: carry._asdict(), "returns a dict"),
    "a parameter less": ("begin", beginning(but), f"leaves '{BIAS}' out of carry.parameters"),
    "shorter parameters": ("begin", beginning(each(lambda t: t[:1])), "carry.parameters the shape"),
    "parameters that are none": ("begin", beginning(each(lambda t: t / 0)), "that are not finite"),
    "a number beside tensors": (
        "begin",
        lambda carry, *_: carry._replace(extra={"count": {"n": 0}}),
        r"puts an int into carry.extra\['count'\] for 'n'",
    ),
    "no outputs": ("objective", lambda pair, *_: pair[0], "returns a Tensor; return two tensors"),
    "a loss for each sample": (
        "objective",
        lambda pair, *_: (pair[1].logsumexp(dim=1), pair[1]),
        r"a loss of shape \(16,\) where a scalar is wanted; take its mean",
    ),
    "a loss of one element": ("objective", sloping(lambda loss: loss[None]), r"of shape \(1,\)"),
    "a number for a loss": ("objective", sloping(float), "a float as the loss"),
    "a loss that teaches nothing": ("objective", sloping(torch.detach), "does not depend on the"),
    "a loss that is no number": (
        "objective",
        sloping(lambda loss: loss * torch.nan),
        "a loss of nan for",
    ),
    "a loss without end": (
        "objective",
        sloping(lambda loss: loss / 0),
        "a loss of inf for outputs",
    ),
    "outputs of two classes": (
        "objective",
        lambda pair, *_: (pair[0], pair[1][:, :2]),
        r"outputs of shape \(16, 2\).*ones of shape \(16, 4\)",
    ),
    "outputs of a mean": (
        "objective",
        lambda pair, *_: (pair[0], pair[1].mean(dim=0, keepdim=True)),
        r"outputs of shape \(1, 4\)",
    ),
    "a root of nothing": (
        "objective",
        rooted,
        f"a gradient by '{BIAS}' that is not finite, though",
    ),
    "gradients alone": ("gradients", lambda pair, *_: pair[0], "returns a dict; return two"),
    "a gradient less": ("gradients", sloping(but), f"leaves the gradient of '{BIAS}' out"),
    "gradients divided by zero": (
        "gradients",
        sloping(each(lambda slope: slope / (slope - slope))),
        "makes the gradient of '.*' not finite",
    ),
    "gradients of another shape": (
        "gradients",
        sloping(each(lambda slope: slope.mean(dim=0, keepdim=True))),
        "of the gradients the shape .* instead of",
    ),
    "a gradient of nothing": (
        "gradients",
        sloping(lambda slopes: {**slopes, "weight": torch.ones(1)}),
        "a gradient of 'weight', which is no parameter",
    ),
    "losses for a metric": (
        "gradients",
        lambda pair, carry, batch, _: (pair[0], {**pair[1], "each": batch.labels.float()}),
        r"the metric 'each' of shape \(16,\)",
    ),
    "a step that divides by zero": (
        "step",
        sloping(beginning(each(lambda tensor: tensor / 0))),
        "not finite in the first step",
    ),
    "no update": ("finish", lambda update, *_: update.arrays, "returns a dict; return an Update"),
    "a tensor less": ("finish", sending(but), f"leaves '{BIAS}' out of the record 'arrays', and F"),
    "a tensor more": (
        "finish",
        sending(lambda tensors: {**tensors, "n": torch.ones(1)}),
        "sends 'n' in the record 'arrays', which FedAvg does not know",
    ),
    "tensors of another shape": (
        "finish",
        sending(each(lambda tensor: tensor[None])),
        r"has the shape \(1, .*; FedAvg needs float32 of shape",
    ),
    "tensors of another type": ("finish", sending(each(torch.Tensor.half)), "is float16 and not f"),
    "an update that is no number": (
        "finish",
        sending(each(lambda tensor: tensor / 0)),
        "not finite from finite tensors",
    ),
    "a record that is not taken": (
        "finish",
        lambda u, *_: u._replace(arrays={**u.arrays, "more": {"n": torch.ones(1)}}),
        "sends the record 'more', which FedAvg does not take",
    ),
    "another record": (
        "finish",
        lambda u, *_: u._replace(arrays={"model": u.arrays["arrays"]}),
        "does not send the record 'arrays', which FedAvg needs from every client; it sends 'model'",
    ),
    "a memory that is no number": (
        "finish",
        lambda u, *_: u._replace(client_state={"mine": {"n": torch.zeros(1) / 0}}),
        "makes 'n' not finite from finite tensors",
    ),
}


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad:UserWarning")
@pytest.mark.parametrize("what", WRONG)
def test_an_answer_that_cannot_be_used_is_reported_with_its_place(
    what: str, tmp_path: Path
) -> None:
    hook, answer, words = WRONG[what]
    with pytest.raises(InputError) as refused:
        fedlab.simulate(chosen(trainer_of(hook, answer)), out=tmp_path / "run", progress=False)
    said, file = str(refused.value), Path(__file__).name
    assert re.match(rf"Odd.{hook} \({file}, line \d+\) .*{words}", said), said
    assert not (tmp_path / "run").exists()


class TakesChanges(FedAvg):
    """Reads a record of its own."""

    def aggregate(self, server_round, updates):
        self.state["arrays"] = self.mean(updates, "change")


class SendsMore(FedAvg):
    """Sends a record down that need not come back."""

    def broadcast(self, server_round):
        return {**super().broadcast(server_round), "more": {"n": torch.ones(1)}}


FAST = {"training": {"optimizer": {"lr": 1e30}, "batch_size": 16}}

FINE: dict[str, tuple[str, Callable[..., Any], dict[str, Any]]] = {
    "a rate that is far too high": ("finish", lambda update, *_: update, FAST),
    "a number for a metric": ("step", lambda p, *_: (p[0], {**p[1], "one": 1.0}), {}),
    "what one's own strategy takes": (
        "finish",
        lambda update, *_: update._replace(arrays={"change": update.arrays["arrays"]}),
        {"strategy": {"name": f"{__name__}:TakesChanges"}},
    ),
    "less than one's own strategy sends": (
        "finish",
        lambda update, *_: update,
        {"strategy": {"name": f"{__name__}:SendsMore"}},
    ),
}


@pytest.mark.parametrize("what", FINE)
def test_an_answer_that_can_be_used_is_let_pass(what: str) -> None:
    hook, answer, fields = FINE[what]
    prepare(chosen(trainer_of(hook, answer), **fields))


def test_a_method_with_records_of_its_own_is_let_pass_and_held_to_them() -> None:
    usual = trainer_of("finish", lambda update, *_: update, Scaffold)
    prepare(chosen(usual, strategy={"name": "scaffold"}))
    model = trainer_of(
        "finish", lambda u, *_: u._replace(arrays={"arrays": u.arrays["arrays"]}), Scaffold
    )
    with pytest.raises(InputError, match="does not send the record 'control'"):
        prepare(chosen(model, strategy={"name": "scaffold"}))


class VectorLoss(CrossEntropy):
    """One for each sample."""

    name: str = f"{__name__}:VectorLoss"

    def value(self, outputs, labels, indices, kept):
        return torch.nn.functional.cross_entropy(outputs, labels, reduction="none")


def test_what_a_users_loss_returns_is_checked() -> None:
    training = {"batch_size": 16, "optimizer": {"lr": 0.05}, "loss": VectorLoss()}
    with pytest.raises(
        InputError, match=rf"VectorLoss.value \({Path(__file__).name}, .* a loss of"
    ):
        prepare(toy.scenario(training=training))


def test_what_the_objective_of_a_phase_returns_is_checked() -> None:
    class Phased(ClientTrainer):
        def phases(self):
            return [Phase(objective=self.mine)]

        def mine(self, parameters, carry, batch):
            return super().objective(parameters, carry, batch)[1].sum(dim=1), None

    with pytest.raises(
        InputError, match=rf"Phased.mine \({Path(__file__).name}, line .* a loss of"
    ):
        prepare(chosen(Phased))


METHODS = ("fedprox", "scaffold", "feddyn", "fednova", "feddc", "ditto", "fedper", "fedrep")


@pytest.mark.slow_except("fedprox", "scaffold", "fedsam", "feddyn")
@pytest.mark.parametrize("method", [*METHODS, "fedproto", "moon", "fedntd", "fedsam", "fedadam"])
def test_what_builds_on_a_shipped_method_and_changes_nothing_is_let_pass(method: str) -> None:
    own = client_trainer_class(toy.scenario(strategy=method))
    for hook in ("begin", "objective", "gradients", "step", "finish"):
        own = trainer_of(hook, lambda answer, *_: answer, own)
    prepare(chosen(own, strategy=method))


@pytest.mark.parametrize(("strategy", "client"), [("fedproto", "fedavg"), ("scaffold", "fedavg")])
def test_a_shipped_trainer_that_lacks_what_the_strategy_reads_is_refused(
    strategy: str, client: str
) -> None:
    chosen = toy.scenario(strategy={"name": strategy, "client": client})
    with pytest.raises(InputError, match="fedavg does not send up"):
        fedlab.prepare(chosen)
