"""Some samples of a client are forgotten, and left out of a partition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.runs.run import Run
from fedlab.scenario_file import load_scenario
from fedlab.unlearning.forget import forget
from fedlab.unlearning.request import request
from helpers import toy
from helpers.adapting import finished
from helpers.forgetting import striped

pytestmark = pytest.mark.xdist_group("forget_samples")  # what is made for all of them is made once


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return striped(tmp_path_factory.mktemp("runs") / "stripes")


@pytest.mark.slow_except("label_agnostic")
@pytest.mark.parametrize("method", ["projected_ascent", "label_agnostic"])
def test_some_samples_are_forgotten_and_left_out(stripes: Run, tmp_path: Path, method: Any) -> None:
    own = request(stripes, 2).trained.runtime.partition[2].train.tolist()
    some = own[1::3]
    found = forget(
        stripes,
        2,
        samples=",".join(map(str, some)),
        method=method,
        recovery_rounds=1,
        out=tmp_path / "new",
        progress=False,
    )
    assert found.run.scenario.partition.left_out_samples == tuple(some)
    assert found.run.scenario.partition.held_out_clients is None
    assert found.stages["before"].membership.members == len(some)
    old, new = (
        pandas.read_csv(run.folder / "partition.csv", dtype=str) for run in (stripes, found.run)
    )
    gone = old["client"].notna() & new["client"].isna()
    assert gone.sum() == len(some)
    pandas.testing.assert_frame_equal(old[~gone], new[~gone])
    trained = found.run.history[found.run.history["split"] == "train"]
    steps = trained[trained["metric"] == "steps"].set_index("client")["examples"]
    assert steps[2] == len(own) - len(some)
    model = sum(v.numel() * v.element_size() for v in found.run.model_state().values())
    assert found.cost.bytes <= (2 + 3 * 2) * model  # the client does it by itself


def test_the_cost_of_retraining_is_without_the_samples(tmp_path: Path) -> None:
    """A client that keeps 16 samples fewer takes two steps of 8 fewer in every round."""
    run = finished(
        tmp_path / "run",
        rounds=2,
        model={"name": "mlp"},
        partition={"clients": 2, "domains": "mixed"},
        training={"batch_size": 8, "optimizer": {"lr": 0.05}},
    )
    own = request(run, 1).trained.runtime.partition[1].train.tolist()
    some = ",".join(map(str, own[:16]))
    alone, beside = (
        forget(
            run,
            1,
            samples=some,
            recovery_rounds=1,
            against_retraining=retrained,
            out=tmp_path / name,
            progress=False,
        )
        for name, retrained in (("alone", False), ("beside", True))
    )
    whole = run.history[run.history["metric"] == "steps"]["value"].sum()
    assert alone.retraining.steps == whole - 2 * 2
    assert alone.retraining == beside.retraining


@pytest.mark.slow
def test_samples_are_chosen_by_share_and_by_class(stripes: Run) -> None:
    split = request(stripes, 0).trained.runtime.partition[0]
    some = request(stripes, 0, "0.25").samples
    assert some is not None
    assert len(some) == round(0.25 * len(split.train))
    assert set(some) < set(split.train)
    assert some.tolist() == request(stripes, 0, "0.25").samples.tolist()  # type: ignore[union-attr]
    assert some.tolist() != request(stripes, 0, "0.25", seed=1).samples.tolist()  # type: ignore[union-attr]
    of_class = request(stripes, 0, "class=b").samples
    assert of_class is not None
    assert of_class.tolist() == split.train[split.labels == 1].tolist()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("class=z", "there is no class 'z'; choose from a, b, c, d"),
        ("1.5", "a share of 1.5"),
        ("some", "'some' is not clear"),
        ("-4", "sample -4 is none of client 0's"),
    ],
)
def test_samples_that_mean_nothing_are_refused(stripes: Run, words: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        request(stripes, 0, words)


def test_all_samples_are_the_client(stripes: Run) -> None:
    own = request(stripes, 0).trained.runtime.partition[0].train
    with pytest.raises(InputError, match="these are all training samples of client 0"):
        request(stripes, 0, ",".join(map(str, own)))


def test_left_out_samples_that_cannot_be_are_refused(stripes: Run) -> None:
    partition = request(stripes, 0).trained.runtime.partition
    own = partition[0].train.tolist()
    for samples, words in (
        ([999], "no client trains on sample 999"),
        (own, "client 0 would have no training samples left"),
    ):
        changed = load_scenario(stripes.scenario, {"partition.left_out_samples": samples})
        with pytest.raises(InputError, match=words):
            prepare(changed)
    for samples, words in (([-1], "-1 is no index"), ([3, 3], "name each sample once")):
        with pytest.raises(InputError, match=words):
            load_scenario(stripes.scenario, {"partition.left_out_samples": samples})


def test_labels_stay_with_the_samples_that_are_left() -> None:
    noisy = {
        "clients": 3,
        "label_noise": {"name": "symmetric", "rate": 0.5},
        "label_budget": {"share": 0.5},
    }
    before = prepare(toy.scenario(partition=noisy)).partition
    out = before.train[::4].tolist()
    after = prepare(toy.scenario(partition=noisy | {"left_out_samples": out})).partition
    for client in range(3):
        old, new = before[client], after[client]
        stay = ~np.isin(old.train, out)
        assert new.train.tolist() == old.train[stay].tolist()
        assert new.labels.tolist() == old.labels[stay].tolist()
        assert new.labelled.tolist() == old.labelled[stay].tolist()
        assert new.test.tolist() == old.test.tolist()
