"""A method and a scenario of one's own, made in Python: in a notebook's cell, in a script."""

import subprocess
import sys

import pytest
import torch

import fedlab
from fedlab import ClientTrainer, Strategy
from fedlab.config import registry
from fedlab.errors import InputError
from fedlab.methods import client_trainer_class
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.strategies.fedavg import FedAvg
from fedlab.strategies.fedprox import FedProx, FedProxParameters
from fedlab.strategies.parameters import StrategyParameters
from helpers import toy
from helpers.tiny_scenario import write_tiny


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_tiny(tmp_path)


def notebook():
    """Classes that no other process can import, as those of a notebook's cell."""

    class Shrinking(ClientTrainer):
        """Pulls the model towards small weights."""

        def objective(self, parameters, carry, batch):
            loss, outputs = super().objective(parameters, carry, batch)
            penalty = sum(tensor.abs().sum() for tensor in parameters.values())
            return loss + self.parameters.strength * penalty, outputs

    class Slowed(FedAvg):
        """Goes only a part of the way."""

        class Parameters(StrategyParameters):
            """Its parameters."""

            pace: float = 0.5
            strength: float = 1e-3

        def aggregate(self, server_round, updates):
            before, mean = self.state["arrays"], self.weighted_mean(updates, "arrays")
            pace = self.parameters.pace
            self.state["arrays"] = {
                name: (before[name] + pace * (mean[name] - before[name])).to(before[name].dtype)
                for name in mean
            }

    return Slowed, Shrinking


@pytest.mark.slow
@pytest.mark.usefixtures("ray_here")
def test_classes_of_a_notebook_run_on_ray(tmp_path):
    slowed, shrinking = notebook()
    runs = {
        backend: fedlab.simulate(
            toy.scenario(resources={"backend": backend}),
            strategy=slowed.Parameters(pace=0.3, client=shrinking),
            out=tmp_path / backend,
            progress=False,
        )
        for backend in ("local", "ray")
    }
    histories = [(run.folder / "history.csv").read_bytes() for run in runs.values()]
    assert histories[0] == histories[1]
    assert runs["ray"].scenario.strategy.pace == 0.3


def test_a_class_may_stand_for_its_name_wherever_a_name_may(tiny):
    slowed, shrinking = notebook()
    name = f"{__name__}:notebook.<locals>.Slowed"
    for scenario in (
        load_scenario(tiny, strategy=slowed),
        load_scenario(tiny, {"strategy": {"name": slowed}}),
        load_scenario(tiny, {"strategy.name": slowed}),
        load_scenario(tiny, strategy=slowed.Parameters()),
    ):
        assert scenario.strategy.name == name
        assert scenario.strategy.pace == 0.5
    changed = load_scenario(tiny, {"strategy.pace": 0.1}, strategy=slowed, client=shrinking)
    assert changed.strategy.pace == 0.1
    assert client_trainer_class(changed) is shrinking
    assert load_scenario(tiny, strategy=FedProx).strategy == FedProxParameters()


def test_a_server_half_alone_goes_with_the_clients_of_the_method_it_builds_on(tiny):
    class Mine(FedProx): ...

    class Plain(Strategy): ...

    from fedlab.clients.fedprox import FedProx as Half

    assert client_trainer_class(load_scenario(tiny, strategy=Mine)) is Half
    assert client_trainer_class(load_scenario(tiny, strategy=Plain)) is ClientTrainer


def test_a_run_of_a_class_that_is_gone_says_what_to_do(tiny, tmp_path):
    slowed, shrinking = notebook()
    run = fedlab.simulate(
        tiny, strategy=slowed, client=shrinking, rounds=1, out="run", progress=False
    )
    assert fedlab.load_run("run").scenario == run.scenario  # here, the class is known
    registry._SESSION_CLASSES.clear()
    with pytest.raises(InputError) as refused:
        fedlab.resume("run")
    said = str(refused.value)
    assert "run/scenario.yaml:" in said
    assert "was defined in a notebook or a script, and is not known here" in said
    assert "put it into a module and name it module:Class" in said


@pytest.mark.slow
def test_methods_of_a_notebook_are_compared(tiny):
    slowed, shrinking = notebook()
    done = fedlab.compare(
        tiny,
        ["fedavg", slowed.Parameters(client=shrinking), {"name": slowed, "pace": 0.1}],
        1,
        rounds=1,
        progress=False,
        overrides={"strategy.weighting": "uniform"},
    )
    assert len(done.runs) == 3
    assert "pace=0.1" in done.groups[2].strategy


SCRIPT = """
import sys

import fedlab
from fedlab import ClientTrainer
from fedlab.strategies.fedavg import FedAvg

class Mine(FedAvg):
    "A method of a script."
    class Parameters(FedAvg.Parameters):
        name: str = "__main__:Mine"
        pace: float = 1.0

class Half(ClientTrainer):
    def begin(self, received, client_state, profile):
        assert self.parameters.pace == 0.5
        return super().begin(received, client_state, profile)

if __name__ == "__main__":
    done = fedlab.compare(
        "smoke", ["fedavg", Mine.Parameters(pace=0.5, client=Half)], 1, rounds=1, out="runs",
        progress=False,
    )
    assert [len(group.runs) for group in done.groups] == [1, 1], done.results()["state"].tolist()
    run = fedlab.simulate(
        "smoke", {"strategy.pace": 0.5}, strategy=Mine, client=Half, rounds=1, out="one",
        progress=False,
    )
    same = done.groups[1].runs[0].folder / "history.csv"
    assert (run.folder / "history.csv").read_bytes() == same.read_bytes()
    assert "torch._dynamo" not in sys.modules  # which takes longer to import than such a run
    print("done", done.groups[1].strategy)
"""


@pytest.mark.slow
def test_a_script_runs_its_own_classes_on_a_ray_of_its_own(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "done Mine client=Half pace=0.5\n"


# ---------------------------------------------------------------------------- scenarios in Python


def test_a_scenario_is_built_of_typed_parts_as_it_is_written_in_yaml(tmp_path):
    from fedlab.data.digits import Digits
    from fedlab.data.spec import DataSpec
    from fedlab.models.small_cnn import SmallCNN
    from fedlab.partition.spec import PartitionSpec
    from fedlab.scenarios.dirichlet import Dirichlet
    from fedlab.training.spec import OptimizerSpec, TrainingSpec

    typed = Scenario(
        name="mine",
        rounds=3,
        data=DataSpec(sources=(Digits(domains=("scan", "photo")),), image_size=16),
        partition=PartitionSpec(clients=4, labels=Dirichlet(alpha=0.3)),
        model=SmallCNN(widths=(8, 8, 16)),
        strategy=FedProxParameters(mu=0.1),
        training=TrainingSpec(batch_size=16, optimizer=OptimizerSpec(lr=0.05)),
    )
    plain = Scenario(
        name="mine",
        rounds=3,
        data={"sources": [{"name": "digits", "domains": ["scan", "photo"]}], "image_size": 16},
        partition={"clients": 4, "labels": {"name": "dirichlet", "alpha": 0.3}},
        model={"name": "small_cnn", "widths": [8, 8, 16]},
        strategy={"name": "fedprox", "mu": 0.1},
        training={"batch_size": 16, "optimizer": {"lr": 0.05}},
    )
    from fedlab.scenario_file import to_yaml

    file = tmp_path / "mine.yaml"
    file.write_text(to_yaml(typed))
    assert typed == plain == load_scenario(file) == load_scenario(typed)
    assert load_scenario(typed, ["model.widths=[4, 4, 8]"]).model.widths == (4, 4, 8)


class Forgetful(Strategy):
    """Sends a value down and forgets the base's."""

    def config(self, server_round):
        return {"mine": 1}


@pytest.mark.slow
def test_a_config_that_forgets_its_base_keeps_the_round(tmp_path) -> None:
    """Batches are drawn by the round, and the learning rate falls with it."""
    fields = {"training": {"optimizer": {"lr": 0.05, "lr_decay": 0.5}}, "rounds": 3}
    plain, mine = (
        fedlab.simulate(
            toy.scenario(**fields, strategy=strategy), out=tmp_path / name, progress=False
        )
        for name, strategy in (("plain", "fedavg"), ("mine", Forgetful))
    )
    ours, theirs = (run.model().state_dict() for run in (mine, plain))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
