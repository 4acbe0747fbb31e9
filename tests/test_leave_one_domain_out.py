"""Tuning by domains that no client has trained on: what is trained, read and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlab
from fedlab import InputError
from fedlab.data.load import load_data
from fedlab.data.source import LoadContext
from fedlab.targets.regression import Regression
from fedlab.tuning.ledger import LEDGER
from fedlab.tuning.result import TUNED, Tuning
from fedlab.tuning.trial_runs import run_trials
from helpers.targets import Tables, scenario

DOMAINS = ("a", "b", "c", "unseen")


MLP = {"model": {"name": "mlp", "hidden": [8]}}


def write_data(folder: Path, poisoned: bool = False) -> None:
    """Four domains of three classes, each with a shift of its own; poisoned: wrong test labels."""
    generator = np.random.default_rng(0)
    for number, name in enumerate(DOMAINS):
        labels = np.arange(60) % 3
        inputs = generator.normal(0, 1, (60, 4)).astype(np.float32) + number
        inputs[np.arange(60), labels] += 2
        tests = (labels[:30] + poisoned) % 3
        np.savez(
            folder / f"{name}.npz",
            x_train=inputs,
            y_train=labels,
            x_test=inputs[:30],
            y_test=tests,
        )


def fields(folder: Path, **more: Any) -> dict[str, Any]:
    """A scenario of three domains with a client each, and one that no client has."""
    return {
        "name": "four_domains",
        "rounds": 2,
        "data": {
            "sources": [
                {"name": "npz", "path": str(folder / f"{name}.npz"), "domain": name}
                for name in DOMAINS
            ],
            "unseen_domains": ["unseen"],
        },
        "partition": {"clients": 3},
        "model": "linear",
        "training": {"batch_size": 10},
        "resources": {"backend": "local"},
    } | more


def tuned(folder: Path, *, data: Path, methods: Any = ("fedavg",), **more: Any) -> Tuning:
    """A little tuning by left-out domains."""
    scenario = fields(data, **more.pop("scenario", {}))
    given = {"seeds": 1, "progress": False, "select": "leave_one_domain_out"} | more
    return fedlab.tune(scenario, list(methods), 2, out=folder, **given)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


@pytest.fixture(scope="module")
def tuning(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Tuning:
    return tuned(tmp_path_factory.mktemp("tuned"), data=data)


def test_each_draw_is_trained_once_without_each_domain_that_clients_own(tuning: Tuning) -> None:
    ledger = tuning.ledger
    assert ledger[["draw", "left_out"]].values.tolist() == [
        [draw, domain] for draw in (0, 1) for domain in ("a", "b", "c")
    ]
    assert set(ledger["rounds"]) == {2}
    assert (ledger["bytes"] > 0).all()
    for run in (fedlab.load_run(folder) for folder in (tuning.folder / "draws").iterdir()):
        left_out = run.scenario.data.unseen_domains[-1]
        assert run.folder.name.endswith(f"-without-{left_out}")
        assert run.scenario.data.unseen_domains == ("unseen", left_out)
        assert set(run.history["split"]) == {"train", "round"}


def test_a_score_is_that_of_the_last_model_on_training_samples_of_the_left_out_domain(
    tuning: Tuning, data: Path
) -> None:
    for _, row in tuning.ledger.iterrows():
        name = f"fedavg-d{row['draw']}-s{row['seed']}-without-{row['left_out']}"
        model = fedlab.load_run(tuning.folder / "draws" / name).model()
        with np.load(data / f"{row['left_out']}.npz") as arrays:
            outputs = model(torch.from_numpy(arrays["x_train"]))
            right = outputs.argmax(dim=1).numpy() == arrays["y_train"]
        assert row["score"] == pytest.approx(right.mean())
    by_draw = tuning.ledger.groupby("draw")["score"].mean()
    assert tuning.summary().loc["fedavg", "draw"] == by_draw.idxmax()
    assert tuning.summary().loc["fedavg", "score"] == pytest.approx(by_draw.max())


@pytest.mark.slow_except("loss")
@pytest.mark.parametrize("metric", ["mae", "rmse", "loss"])
def test_numbers_are_judged_in_their_units(
    metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, load = list[LoadContext](), Tables.load
    monkeypatch.setattr(
        Tables, "load", lambda self, context: loads.append(context) or load(self, context)
    )
    evaluation = {"metrics": ["mae", "rmse", "loss"]}
    wanted = scenario("regression", partition={"clients": 2}, evaluation=evaluation)
    tuning = fedlab.tune(
        wanted,
        ["fedavg"],
        1,
        1,
        select="leave_one_domain_out",
        metric=metric,
        out=tmp_path,
        progress=False,
    )
    assert len(loads) == 3  # without each of two domains, and with both
    for _, row in tuning.ledger.iterrows():
        run = fedlab.load_run(tmp_path / f"draws/fedavg-d0-s1000-without-{row['left_out']}")
        data = load_data(run.scenario.data)
        rows = data.train.domains == data.domain_names.index(row["left_out"])
        labels = torch.from_numpy(data.train.labels[rows])
        errors = run.model()(torch.from_numpy(data.train.inputs[rows])).double() - labels
        assert isinstance(data.target, Regression)
        expected = {
            "mae": errors.abs().mean(),
            "rmse": errors.square().mean(dim=0).sqrt().mean(),
            "loss": (errors / torch.tensor(data.target.std)).square().mean(),
        }
        assert row["score"] == pytest.approx(float(expected[metric].detach()), rel=1e-5)
    assert tuning.plan["sign"] == -1


def test_nothing_that_is_chosen_depends_on_test_samples(tuning: Tuning, tmp_path: Path) -> None:
    poisoned = tmp_path / "data"
    poisoned.mkdir()
    write_data(poisoned, poisoned=True)
    other = tuned(tmp_path / "tuned", data=poisoned)
    assert (other.folder / TUNED).read_bytes() == (tuning.folder / TUNED).read_bytes()
    ours, theirs = (each.ledger for each in (tuning, other))
    assert ours.equals(theirs)
    tests = [each.comparison.runs[0].history for each in (tuning, other)]
    scores = [each.loc[each.split == "test", "value"].tolist() for each in tests]
    assert scores[0] != scores[1]


@pytest.mark.slow
def test_the_same_command_goes_on_and_comes_to_the_same_bytes(
    tuning: Tuning, data: Path, tmp_path: Path
) -> None:
    def interrupted(trials: Any, *rest: Any) -> Any:
        run_trials(trials[:2], *rest)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fedlab.tuning.tune.run_trials", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tuned(tmp_path, data=data)
    again = tuned(tmp_path, data=data)
    for name in (LEDGER, TUNED):
        assert (again.folder / name).read_bytes() == (tuning.folder / name).read_bytes()


@pytest.mark.slow
def test_tuned_scenarios_have_all_domains_and_tests(tuning: Tuning, data: Path) -> None:
    scenario = tuning.scenarios()["fedavg"]
    assert scenario.data.unseen_domains == ("unseen",)
    assert (scenario.evaluation.fraction, scenario.evaluation.domains) == (1, True)
    compared = next(iter(tuning.comparison.groups[0].runs.values())).scenario
    assert scenario.data == compared.data
    assert scenario.evaluation == compared.evaluation
    assert scenario.training == compared.training


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": ["lg_fedavg"], "scenario": MLP}, "lg_fedavg keeps tensors with its clients"),
        ({"halving": True}, "halving: leave_one_domain_out judges finished runs"),
        (
            {"scenario": {"evaluation": {"validation": 0.2, "select": "validation"}}},
            "evaluation.select: .* use evaluation.select=last",
        ),
        (
            {"scenario": {"evaluation": {"validation": 0.2, "patience": 2}}},
            "evaluation.patience: .* use evaluation.patience=null",
        ),
    ],
)
def test_what_does_not_go_with_it_is_refused_before_anything_is_trained(
    changes: dict[str, Any], said: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        tuned(tmp_path / "tuned", data=data, **changes)
    assert not (tmp_path / "tuned" / "draws").exists()


def test_one_domain_alone_cannot_be_left_out(data: Path, tmp_path: Path) -> None:
    one = fields(data)["data"] | {"unseen_domains": ["b", "c", "unseen"]}
    with pytest.raises(InputError, match="at least 2 domains that clients own, and here it is a"):
        tuned(tmp_path, data=data, scenario={"data": one})
