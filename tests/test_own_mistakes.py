"""Mistakes in a user's method: reported before training where possible, else in words."""

from __future__ import annotations

import errno
import logging
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import fedlab
from fedlab import ClientTrainer, cli
from fedlab.clients.fedbn import FedBN
from fedlab.errors import InputError, RunError
from fedlab.preparation import prepare
from fedlab.report.figures.feature_map import feature_map
from fedlab.runs import metrics
from fedlab.runs.history import HistoryWriter
from fedlab.scenario_file import load_scenario
from fedlab.simulation import resume, simulate
from fedlab.strategies.fedavg import FedAvg
from fedlab.tensor_files import write_tensors
from helpers import toy


def refusal(tmp_path: Path, **classes: type) -> str:
    """What a run of two rounds with classes of one's own is stopped with."""
    scenario = fedlab.load_scenario(toy.scenario(), **classes)
    with pytest.raises((InputError, RunError)) as stopped:
        simulate(scenario, out=tmp_path / "run", progress=False)
    return str(stopped.value)


# ---------------------------------------------------------------------- before training


class OtherObjective(ClientTrainer):
    """Has forgotten the carry."""

    def objective(self, parameters, batch):  # type: ignore[override]
        return super().objective(parameters, None, batch)


class OtherConstructor(ClientTrainer):
    """No caller can give it a third argument."""

    def __init__(self, parameters, task, strength):
        super().__init__(parameters, task)


class OtherCombine(FedAvg):
    """Has forgotten the round."""

    def aggregate(self, updates):  # type: ignore[override]
        super().aggregate(1, updates)


class MoreThanNeeded(ClientTrainer):
    """May take more, by default, and any keyword."""

    def objective(self, parameters, carry, batch, scale=1.0):
        loss, outputs = super().objective(parameters, carry, batch)
        return scale * loss, outputs

    def finish(self, *args):
        return super().finish(*args)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (
            {"client": OtherObjective},
            "OtherObjective.objective takes (parameters, batch) but is given (parameters, carry, b",
        ),
        (
            {"client": OtherConstructor},
            "OtherConstructor.__init__ takes (parameters, task, strength) but is given (parameter",
        ),
        (
            {"strategy": OtherCombine},
            "OtherCombine.aggregate takes (updates) but is given (server_round, updates); write it",
        ),
    ],
)
def test_a_method_with_other_arguments_is_refused_before_training(tmp_path, classes, said):
    assert said in refusal(tmp_path, **classes)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_method_may_take_more_than_it_is_given():
    assert prepare(fedlab.load_scenario(toy.scenario(), client=MoreThanNeeded))


# ---------------------------------------------------------------------- what aggregate leaves


def combining(aggregate) -> type[FedAvg]:
    return type("Mine", (FedAvg,), {"aggregate": aggregate, "__module__": __name__})


def returns(self, server_round, updates):
    return self.weighted_mean(updates, "arrays")


def forgets(self, server_round, updates):
    mean = self.weighted_mean(updates, "arrays")
    self.state["arrays"] = dict(list(mean.items())[1:])


def crops(self, server_round, updates):
    self.state["arrays"] = {
        name: tensor[..., :1] if tensor.ndim else tensor
        for name, tensor in self.weighted_mean(updates, "arrays").items()
    }


def converts(self, server_round, updates):
    self.state["arrays"] = {n: t.numpy() for n, t in self.weighted_mean(updates, "arrays").items()}


@pytest.mark.slow_for("returns", "forgets")
@pytest.mark.parametrize(
    ("aggregate", "said"),
    [
        (
            returns,
            "Mine.aggregate returned a dict, which is not read; put the next tensors into sel",
        ),
        (forgets, "Mine.aggregate left '0.weight' out of self.state[\"arrays\"]"),
        (crops, "Mine.aggregate gave '0.weight' the shape (32, 3, 3, 1); it has to stay (32, 3, 3"),
        (converts, "Mine.aggregate put a ndarray into self.state[\"arrays\"] for '0.weight'"),
    ],
)
def test_a_next_state_of_another_form_stops_the_run(tmp_path, aggregate, said):
    assert said in refusal(tmp_path, strategy=combining(aggregate))


# ---------------------------------------------------------------------- a hook that is misspelt


def named(base: type, attribute: str, value: Any = lambda self, *args: None) -> type:
    """A class with one more method, or another attribute."""
    return type("Odd", (base,), {attribute: value, "__module__": __name__})


class Helping(ClientTrainer):
    """Has helpers that are called almost as hooks are, and a variant of one."""

    steps = 3

    def objective(self, parameters, carry, batch):
        assert self.steps
        assert self.gradient()
        assert self.phase
        assert getattr(self, "losses")  # noqa: B009
        return super().objective(parameters, carry, batch)

    def objective2(self, parameters, carry, batch): ...

    def gradient(self):
        return True

    @property
    def phase(self):
        return True

    def losses(self): ...

    def _finsh(self): ...

    def mixed(self): ...


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("objectve", "objective"),
        ("begins", "begin"),
        ("finsh", "finish"),
        ("gradient", "gradients"),
        ("Objective", "objective"),
        ("norm_polcy", "norm_policy"),
        ("prepare_netwrk", "set_train_mode"),
    ],
)
def test_a_hook_of_a_client_trainer_that_is_misspelt_is_refused(tiny_toy, name, meant):
    with pytest.raises(InputError, match=rf"Odd.{name} overrides nothing, .* call it '{meant}'"):
        prepare(load_scenario(tiny_toy, client=named(ClientTrainer, name)))


@pytest.mark.parametrize(
    ("name", "meant"),
    [("combin", "aggregate"), ("agregate", "aggregate"), ("brodcast", "broadcast")],
)
def test_a_hook_of_a_strategy_that_is_misspelt_is_refused(tiny_toy, name, meant):
    with pytest.raises(InputError, match=rf"Odd.{name} overrides nothing, .* call it '{meant}'"):
        prepare(load_scenario(tiny_toy, strategy=named(FedAvg, name)))


@pytest.mark.parametrize("name", ["chek"])  # a string in code might be for `getattr`
def test_a_misspelt_hook_of_parameters_is_refused(tiny_toy, name):
    strategy = named(FedAvg, "Parameters", named(FedAvg.Parameters, name))
    with pytest.raises(InputError, match=r"Odd.chek overrides nothing, .* call it 'check'"):
        prepare(load_scenario(tiny_toy, strategy=strategy))


@pytest.mark.parametrize("name", ["Paramters"])
def test_misspelt_parameters_of_a_strategy_are_refused(tiny_toy, name):
    with pytest.raises(InputError, match=r"Odd.Paramters overrides nothing, .* 'Parameters'"):
        prepare(load_scenario(tiny_toy, strategy=named(FedAvg, name, FedAvg.Parameters)))


def test_a_misspelt_hook_in_a_notebooks_function_is_refused(tiny_toy):
    class Local(ClientTrainer):
        def objectve(self, parameters, carry, batch): ...

    with pytest.raises(InputError, match=r"Local.objectve overrides nothing"):
        prepare(load_scenario(tiny_toy, client=Local))


@pytest.mark.slow
def test_honest_helpers_are_let_pass(tiny_toy):
    prepare(load_scenario(tiny_toy, client=Helping))


@pytest.fixture
def tiny_toy():
    return toy.scenario(model={"name": "mlp", "hidden": [8]})


# ---------------------------------------------------------------------- a run that diverges


class LosesItself(ClientTrainer):
    """Its loss is no number from round 2 on."""

    def begin(self, received, client_state, stats):
        carry = super().begin(received, client_state, stats)
        factor = torch.tensor(math.nan if received.server_round > 1 else 1.0)
        return carry._replace(extra={**carry.extra, "end": {"factor": factor}})

    def objective(self, parameters, carry, batch):
        loss, outputs = super().objective(parameters, carry, batch)
        return carry.extra["end"]["factor"] * loss, outputs


def test_a_round_that_is_not_finite_is_reported_and_changes_nothing(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "fedlab"):
        run = fedlab.simulate(
            toy.scenario(rounds=3), client=LosesItself, out=tmp_path / "run", progress=False
        )
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    assert warnings[0].startswith("round 2: training has left the numbers for 3 of 3 clients")
    assert "lower training.optimizer.lr or set training.optimizer.clip_norm" in warnings[0]
    assert warnings[1].startswith("in 2 rounds, from round 2 on, no client's update was finite")
    assert run.finished
    assert metrics.by_client(run.history, 3, "loss", "train").empty
    tested = [metrics.by_client(run.history, r, "loss", "test")["value"] for r in (1, 3)]
    assert tested[0].equals(tested[1])
    named = pandas.read_csv(run.folder / "failures.csv")
    assert sorted(named["client"]) == sorted([f"client {c}" for c in range(3)] * 2)
    assert named["reason"].str.contains("its update is not finite").all()


class Uneven(toy.Stripes):
    """The client of domain d1 has other numbers of samples than the rest."""

    def _domain(self, index, context):
        self = self.model_copy(update={"train": UNEVEN}) if index == 1 else self
        return toy.Stripes._domain(self, index, context)


UNEVEN = 44


class OneLeaves(ClientTrainer):
    """The client with so many samples sends infinities in round 2."""

    def begin(self, received, client_state, stats):
        carry = super().begin(received, client_state, stats)
        leaves = stats.samples == UNEVEN and received.server_round == 2
        factor = torch.tensor(math.inf if leaves else 1.0)
        return carry._replace(extra={**carry.extra, "end": {"factor": factor}})

    def finish(self, carry, received, steps):
        factor = carry.extra["end"]["factor"]
        moved = {name: value * factor for name, value in carry.parameters.items()}
        return super().finish(carry._replace(parameters=moved), received, steps)


class OneLeavesAtHome(OneLeaves):
    """The same with normalisation that stays."""

    norm_policy = FedBN.norm_policy


@pytest.mark.slow_except("method1-sequential", "method2-vmap")
@pytest.mark.parametrize("execution", ["sequential", "vmap"])
@pytest.mark.parametrize("method", ["fedavg", {"name": "fedbn"}, {"name": "flwr:FedMedian"}])
def test_one_client_that_leaves_the_numbers_costs_itself_the_round_alone(
    tmp_path, execution, method
):
    data = {"sources": [{"name": "test_own_mistakes:Uneven"}], "image_size": 8}
    scenario = toy.scenario(strategy=method, engine={"execution": execution}, data=data)
    client = OneLeavesAtHome if method == {"name": "fedbn"} else OneLeaves
    run = fedlab.simulate(scenario, client=client, out=tmp_path / "run", progress=False)
    named = pandas.read_csv(run.folder / "failures.csv")
    assert list(zip(named["round"], named["client"], strict=True)) == [(2, "client 1")]
    assert all(bool(tensor.isfinite().all()) for tensor in run.model_state().values())
    assert list(metrics.by_client(run.history, 2, "loss", "train").index) == [0, 2]
    assert list(metrics.by_client(run.history, 1, "loss", "train").index) == [0, 1, 2]


def test_an_update_that_goes_too_far_costs_its_client_the_round(tmp_path):
    bound = {"max_failed_share": 0.5, "update_norm": 1e-9}
    scenario = toy.scenario(participation=bound, rounds=1)
    run = fedlab.simulate(scenario, out=tmp_path / "run", progress=False)
    named = pandas.read_csv(run.folder / "failures.csv")
    assert named["reason"].str.contains(r"further than participation.update_norm \(1e-09\)").all()
    assert len(named) == 3
    loose = toy.scenario(participation=bound | {"update_norm": 1e9}, rounds=1)
    one = fedlab.simulate(loose, out=tmp_path / "loose", progress=False)
    two = fedlab.simulate(toy.scenario(rounds=1), out=tmp_path / "free", progress=False)
    for name, tensor in one.model_state().items():
        assert torch.allclose(tensor, two.model_state()[name], rtol=1e-6, atol=0)


class Moves(ClientTrainer):
    """Moves one entry by 3 and another by 4 for all data: a distance of 5."""

    def finish(self, carry, received, steps):
        moved = {name: tensor.clone() for name, tensor in received.model.items()}
        moved["1.weight"].view(-1)[:2] += torch.tensor([3.0, 4.0])
        return super().finish(carry, received, steps)._replace(arrays={"arrays": moved})


@pytest.mark.parametrize(("most", "refused"), [(5.01, 0), (4.99, 3)])
def test_how_far_an_update_goes_is_counted_from_what_was_sent(tmp_path, most, refused):
    bound = {"max_failed_share": 0.5, "update_norm": most}
    scenario = toy.scenario(participation=bound, rounds=1, model="linear")
    run = fedlab.simulate(scenario, client=Moves, out=tmp_path / "run", progress=False)
    named = run.folder / "failures.csv"
    reasons = pandas.read_csv(named)["reason"].tolist() if named.exists() else []
    assert len(reasons) == refused
    assert all("its update goes 5 far" in reason for reason in reasons)


# ---------------------------------------------------------------------- on the command line


@pytest.fixture
def said(tmp_path, monkeypatch, capsys):
    """Runs a command that fails, and gives its exit code and what it says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "toy.yaml").write_text(fedlab.scenario_file.to_yaml(toy.scenario()))

    def call(*words: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["fedlab", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().err

    return call


def test_an_error_of_a_users_class_is_reported_with_its_line_and_how_to_go_on(said, tmp_path):
    (tmp_path / "mine_a.py").write_text(
        "from fedlab.strategies.fedavg import FedAvg\n"
        "class Mine(FedAvg):\n"
        "    def aggregate(self, server_round, updates):\n"
        "        self.state['arrays'] = self.weighted_mean(updates, 'control')\n"
    )
    code, error = said("simulate", "toy.yaml", "strategy=mine_a:Mine", "--out", "run")
    assert code == 1
    assert error.startswith("error: the run was stopped by KeyError: 'control' (mine_a.py, line 4)")
    assert "go on with: fedlab resume run (fedlab --debug shows where" in error
    assert error.count("\n") == 1


def test_a_full_disk_is_reported_with_how_to_go_on(said, monkeypatch):
    def full(self, strategy, report):
        raise OSError(errno.ENOSPC, "No space left on device", "run/history.csv")

    with monkeypatch.context() as patched:
        patched.setattr(HistoryWriter, "on_round", full)
        code, error = said("simulate", "toy.yaml", "--out", "run")
    assert code == 1
    assert "No space left on device: 'run/history.csv'" in error
    assert "mend that, and go on with: fedlab resume run" in error
    assert resume("run", progress=False).finished


def test_an_unexpected_error_is_printed_without_a_traceback(said, tmp_path):
    (tmp_path / "mine_b.py").write_text(
        "from fedlab.data.source import Source\n"
        "class Mine(Source):\n"
        "    def load(self, context):\n"
        "        return {}['missing']\n"
    )
    code, error = said("simulate", "toy.yaml", "data.sources.0=mine_b:Mine")
    assert (code, error.count("\n")) == (1, 1)
    assert error.startswith("error: KeyError: 'missing' (mine_b.py, line 4); fedlab --debug,")


# ---------------------------------------------------------------------- going on


def test_a_run_does_not_go_on_as_another_one(tmp_path):
    class Stop:
        def on_start(self, strategy, first_round, rounds): ...

        def on_round(self, strategy, report):
            raise KeyboardInterrupt

        def on_end(self, strategy): ...

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        simulate(toy.scenario(rounds=2), out=folder, callbacks=[Stop()], progress=False)
    file = folder / "scenario.yaml"
    begun = file.read_text()
    file.write_text(begun.replace("lr: 0.05", "lr: 0.5").replace("clients: 3", "clients: 4"))
    with pytest.raises(InputError) as refused:
        resume(folder, progress=False)
    assert str(refused.value).startswith(f"{file}: the run was begun with another scenario: ")
    assert "training.optimizer.lr is 0.5 and was 0.05" in str(refused.value)
    assert "partition.clients is 4 and was 3" in str(refused.value)
    file.write_text(begun)
    assert resume(folder, progress=False).finished


def test_a_run_may_be_made_longer_and_then_is_as_long_from_the_beginning(tmp_path):
    folder = tmp_path / "run"
    simulate(toy.scenario(rounds=2), out=folder, progress=False)
    with pytest.raises(InputError, match=r"training\.batch_size is 8 and was 16; set that back"):
        resume(folder, ["rounds=3", "training.batch_size=8"], progress=False)
    with pytest.raises(InputError, match=r"rounds=1 are fewer than the 2 that the run .* has done"):
        resume(folder, ["rounds=1"], progress=False)
    assert fedlab.load_run(folder).finished
    longer = resume(folder, ["rounds=3"], progress=False)
    assert (longer.rounds, longer.scenario.rounds, longer.finished) == (3, 3, True)
    whole = simulate(toy.scenario(rounds=3), out=tmp_path / "whole", progress=False)
    files = [run.folder / "history.csv" for run in (longer, whole)]
    assert files[0].read_bytes() == files[1].read_bytes()
    states = longer.model_state(), whole.model_state()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


# ---------------------------------------------------------------------- what is left of it


@pytest.mark.parametrize("factor", [0.0, 1e6, math.nan])
def test_a_network_that_has_collapsed_can_be_reported(tmp_path, factor):
    run = simulate(toy.scenario(rounds=1), out=tmp_path / "run", progress=False)
    state = {name: tensor * factor for name, tensor in run.model_state().items()}
    write_tensors(run.folder / "model.safetensors", state)
    if math.isnan(factor):
        with pytest.raises(InputError, match="has diverged: its features are not finite"):
            feature_map(run)
    else:
        points = feature_map(run).points
        assert np.isfinite(points).all()
        assert (points == 0).all() == (factor == 0)


class Unheard(ClientTrainer):
    """Methods of other frameworks, which nothing calls here."""

    def compute_loss(self, outputs, labels):
        return outputs.sum()

    def penalty(self, parameters):
        return 0.0


def test_a_class_without_a_hook_is_refused(tmp_path):
    said = refusal(tmp_path, strategy={"name": "fedavg", "client": Unheard})
    assert "Unheard overrides nothing of ClientTrainer, and nothing calls its compute_loss" in said
    assert "objective" in said
