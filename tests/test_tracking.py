"""Trackers hear every number once, change nothing, and cannot end a run."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

import fedlab
from fedlab.errors import InputError
from fedlab.federation.callbacks import RoundReport
from fedlab.runs import metrics
from fedlab.tracking.base import Tracker
from fedlab.tracking.tensorboard import TensorBoard
from helpers.tiny_scenario import write_tiny

DOCUMENT = Path(__file__).parents[1] / "docs" / "tracking.md"


class Notes(Tracker):
    """Records the calls."""

    calls: ClassVar[list] = []

    def start(self, folder, scenario, first_round):
        self.calls.append(("start", folder.name, scenario.name, first_round))

    def log(self, round, numbers):
        self.calls.append((round, dict(numbers)))

    def finish(self):
        self.calls.append("finish")


class Broken(Notes):
    """Fails when it logs a round."""

    def log(self, round, numbers):
        self.calls.append(round)
        raise ConnectionError("no network")


class Needy(Notes):
    """Needs a package that does not exist."""

    package = "no_such_package"


class NeedyWithin(Notes):
    """Needs a module of a package that does not exist."""

    package = "no_such_package.part"


class Stops:
    """Ends the process's work in the middle of a run, as a crash would."""

    def __init__(self, round: int) -> None:
        self.round = round

    def on_start(self, strategy: Any, first_round: int, rounds: int) -> None:
        """Nothing."""

    def on_round(self, strategy: Any, report: RoundReport) -> None:
        """Raises in its round."""
        if report.round == self.round:
            raise RuntimeError("killed")

    def on_end(self, strategy: Any) -> None:
        """Nothing."""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Notes, "calls", [])
    return write_tiny(tmp_path)


def simulate(tiny, out, *overrides, **more):
    return fedlab.simulate(tiny, overrides, out=out, progress=False, **more)


def test_a_tracker_gets_the_historys_numbers(tiny):
    run = simulate(tiny, "run", "output.trackers=[test_tracking:Notes]")
    start, (first, numbers), (second, _), finish = Notes.calls
    assert start == ("start", "run", "tiny", 1)
    assert (first, second, finish) == (1, 2, "finish")
    spread = metrics.spread(metrics.by_client(run.history, 1))
    assert numbers["accuracy/mean_over_clients"] == spread.mean_over_clients
    assert numbers["accuracy/worst_client"] == spread.worst
    domains = metrics.by_domain(run.history, 1)
    for domain in ("north", "south"):
        assert numbers[f"accuracy/{domain}"] == domains["clients_value"][domain]
        assert numbers[f"global_accuracy/{domain}"] == domains["global_value"][domain]
    rows = run.history.query("round == 1 and split == 'round'").set_index("metric")["value"]
    assert numbers["bytes/up"] == rows["bytes_up"]
    assert numbers["seconds/train"] == rows["seconds_train"]
    losses = metrics.by_client(run.history, 1, "loss", "train")
    mean = (losses["value"] * losses["examples"]).sum() / losses["examples"].sum()
    assert numbers["train/loss"] == pytest.approx(mean, rel=1e-12)


@pytest.mark.slow
def test_a_tracker_gets_clients_that_have_never_trained_after_a_resume_too(tiny):
    words = ("output.trackers=[test_tracking:Notes]", "participation.fraction=0.25")
    simulate(tiny, "run", *words)
    run = fedlab.resume("run", ["rounds=3"], progress=False)
    logged = {
        one[0]: one[1] for one in Notes.calls if isinstance(one, tuple) and one[0] in (1, 2, 3)
    }
    for number, numbers in logged.items():
        spread = metrics.spread_in(run.history, number)
        assert spread.untrained >= 4 - number
        assert numbers["clients/tested_untrained"] == spread.untrained
        trained = spread.of_trained
        assert numbers["accuracy/mean_over_trained_clients"] == trained.mean_over_clients
        assert numbers["accuracy/worst_trained_client"] == trained.worst
    assert sorted(logged) == [1, 2, 3]


def test_a_tracker_changes_no_number_and_cannot_end_a_run(tiny, caplog):
    plain = simulate(tiny, "plain")
    tracked = simulate(tiny, "tracked", "output.trackers=[test_tracking:Broken, tensorboard]")
    for name in ("history.csv", "model.safetensors"):
        assert (plain.folder / name).read_bytes() == (tracked.folder / name).read_bytes()
    assert Notes.calls == [("start", "tracked", "tiny", 1), 1]
    (warning,) = (r.getMessage() for r in caplog.records if "tracker" in r.getMessage())
    assert warning.startswith("the tracker 'test_tracking:Broken' fails and is left out: ")


@pytest.mark.parametrize(
    ("tracker", "message"),
    [
        ("tensorbord", "did you mean 'tensorboard'?"),
        ("test_tracking:Needy", "needs the package no_such_package, which is not installed"),
        ("test_tracking:NeedyWithin", "needs the package no_such_package.part, which is not"),
        ("test_tracking:Stops", "output.trackers.0: 'test_tracking:Stops' cannot stand here"),
        ("gone:Tracker", "cannot be imported"),
    ],
)
def test_a_tracker_that_cannot_work_is_refused_before_training(tiny, tmp_path, tracker, message):
    with pytest.raises(InputError, match=re.escape(message)):
        simulate(tiny, "run", f"output.trackers=[{tracker}]")
    with pytest.raises(InputError, match=re.escape(message)):
        fedlab.compare(tiny, seeds=1, out="run", output={"trackers": [tracker]}, progress=False)
    assert not (tmp_path / "run").exists()


def test_the_remedy_for_tensorboard_is_the_extra(tiny, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name)
    )
    with pytest.raises(InputError, match=r'run pip install "fedlab-sim\[track\]", or leave it out'):
        TensorBoard.check(TensorBoard.Parameters())


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads: steps and values by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0}).Reload()
    return {
        tag: [(event.step, event.value) for event in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    }


@pytest.mark.slow_except("2")
@pytest.mark.parametrize("every", [1, 2])
def test_a_resumed_run_has_every_round_once_in_tensorboard(tiny, every):
    changes = ("output.trackers=[tensorboard]", "rounds=5", f"output.checkpoint_every={every}")
    with pytest.raises(RuntimeError, match="killed"):
        simulate(tiny, "run", *changes, callbacks=[Stops(3)])
    assert len(events(Path("run"))["bytes/up"]) == 3
    run = fedlab.resume("run", progress=False)
    drawn = events(run.folder)
    for domain in ("north", "south"):
        steps, values = zip(*drawn[f"accuracy/{domain}"], strict=True)
        assert steps == (1, 2, 3, 4, 5)
        own = [metrics.by_domain(run.history, k)["clients_value"][domain] for k in steps]
        assert values == pytest.approx(own, rel=1e-6)
    assert [step for step, _ in drawn.pop("seconds/ask")] == [1]  # strategies ask before round 1
    assert all([step for step, _ in curve] == [1, 2, 3, 4, 5] for curve in drawn.values())


def examples() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def wandb(monkeypatch) -> SimpleNamespace:
    """The part of W&B's interface that the worked example uses; records the calls."""
    module = ModuleType("wandb")
    module.__spec__ = importlib.util.spec_from_loader("wandb", None)
    seen = SimpleNamespace(init=[], log=[], finished=0)

    class Session:
        def log(self, numbers: dict[str, float], step: int) -> None:
            seen.log.append((step, numbers))

        def finish(self) -> None:
            seen.finished += 1

    def init(**arguments: Any) -> Session:
        seen.init.append(arguments)
        return Session()

    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return seen


def test_the_worked_example_works(tiny, tmp_path, monkeypatch, wandb):
    (block,) = (block for block in examples() if "wandb" in block)
    name = re.match(r"# (\w+)\.py\n", block)
    assert name
    (tmp_path / f"{name[1]}.py").write_text(block)
    monkeypatch.syspath_prepend(str(tmp_path))
    tracker = re.search(rf"{name[1]}:\w+", DOCUMENT.read_text("utf-8"))
    assert tracker
    block = f"output.trackers=[{{name: '{tracker[0]}', project: skews}}]"
    run = simulate(tiny, "run", block)
    (arguments,) = wandb.init
    assert arguments["project"] == "skews"
    assert arguments["name"] == "run"
    assert arguments["config"]["strategy"]["mu"] == 1e-3
    assert [step for step, _ in wandb.log] == [1, 2]
    own = metrics.by_domain(run.history, 2)["clients_value"]["north"]
    assert wandb.log[1][1]["accuracy/north"] == own
    assert wandb.finished == 1
