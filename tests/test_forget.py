"""Forgetting a client of a finished run: the new run is one like any other, without the client."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch

from fedlab.errors import InputError
from fedlab.export.export_run import export_run
from fedlab.runs.checkpoint import load_checkpoint
from fedlab.runs.run import Run, load_run
from fedlab.scenario_file import load_scenario
from fedlab.simulation import resume, simulate
from fedlab.unlearning.forget import forget
from fedlab.unlearning.request import changeable, request
from helpers.adapting import finished
from helpers.forgetting import striped

pytestmark = pytest.mark.xdist_group("forget")  # what is made for all of them is made once


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return striped(tmp_path_factory.mktemp("runs") / "stripes")


@pytest.fixture(scope="module")
def unlearnt(stripes: Run) -> Run:
    return forget(stripes, 1, recovery_rounds=1, progress=False).run


# ------------------------------------------------------------------ the new run


def test_the_new_run_goes_on_without_the_client(stripes: Run, unlearnt: Run) -> None:
    assert unlearnt.folder == stripes.folder.with_name("stripes-without-1")
    assert unlearnt.finished
    assert unlearnt.rounds == 4
    assert unlearnt.scenario.partition.held_out_clients == (1,)
    trained = unlearnt.history[unlearnt.history["split"] == "train"]
    assert set(trained["round"]) == {4}
    assert set(trained["client"]) == {0, 2}
    assert set(unlearnt.history[unlearnt.history["split"] == "held_out"]["client"]) == {1}
    note = json.loads((unlearnt.folder / "forgotten.json").read_text())
    assert (note["client"], note["method"], note["lr"]) == (1, "projected_ascent", 0.01)
    tables = [pandas.read_csv(each.folder / "partition.csv") for each in (stripes, unlearnt)]
    assert set(tables[1].loc[tables[1].pop("held_out") == "yes", "client"]) == {1}
    pandas.testing.assert_frame_equal(*tables)
    assert load_run(unlearnt.folder).scenario.description.startswith("The run 'stripes'")


@pytest.mark.slow
def test_it_can_be_used_like_any_other(unlearnt: Run, tmp_path: Path) -> None:
    from fedlab.adaptation.personalise import personalise

    assert export_run(unlearnt, "safetensors", out=tmp_path / "model").path.is_file()
    assert set(personalise(unlearnt, steps=1)["client"]) == {0, 1, 2}


@pytest.mark.slow
def test_it_is_resumed_without_the_client(stripes: Run, tmp_path: Path) -> None:
    short = forget(stripes, 1, recovery_rounds=1, out=tmp_path / "short", progress=False).run
    longer = resume(short.folder, ["rounds=5"], progress=False)
    trained = longer.history[longer.history["split"] == "train"]
    assert set(trained["round"]) == {4, 5}
    assert set(trained["client"]) == {0, 2}
    whole = forget(stripes, 1, recovery_rounds=2, out=tmp_path / "whole", progress=False).run
    for name, value in whole.model_state().items():
        assert torch.equal(value, longer.model_state()[name])
    rows = [
        each.history[each.history["split"] == "train"].values.tolist() for each in (whole, longer)
    ]
    assert rows[0] == rows[1]


def test_retraining_is_the_scenario_with_the_client_held_out(stripes: Run, tmp_path: Path) -> None:
    found = forget(stripes, 1, method="retrain", out=tmp_path / "new", progress=False)
    plain = simulate(
        stripes.scenario,
        {"partition.held_out_clients": [1]},
        out=tmp_path / "plain",
        progress=False,
    )
    for name, value in plain.model_state().items():
        assert torch.equal(value, found.run.model_state()[name])
    assert list(found.stages) == ["before", "after"]
    assert found.shares == (1, 1)


def test_forgetting_is_held_against_retraining(stripes: Run, tmp_path: Path) -> None:
    found = forget(
        stripes,
        1,
        method="label_agnostic",
        epochs=1,
        autoencoder_rounds=1,
        recovery_rounds=1,
        against_retraining=True,
        out=tmp_path / "new",
        progress=False,
    )
    assert found.retrained is not None
    assert found.retrained.folder == tmp_path / "new-retrained"
    alone = forget(stripes, 1, method="retrain", out=tmp_path / "alone", progress=False)
    assert alone.stages["after"] == found.stages["retrained"]
    assert alone.cost == found.retraining
    assert list(found.stages) == ["before", "unlearnt", "after", "retrained"]


@pytest.mark.slow
def test_costs_are_counted(stripes: Run, tmp_path: Path) -> None:
    found = forget(stripes, 1, recovery_rounds=1, out=tmp_path / "new", progress=False)
    model = sum(
        value.numel() * value.element_size()
        for value in load_checkpoint(stripes.folder / "checkpoints", 3).server["arrays"].values()
    )
    # Five passes up, with one batch each; then two clients of two passes.
    assert found.cost.steps == 5 + 2 * 2
    assert found.cost.bytes == 2 * model + 2 * 2 * model
    assert found.retraining.steps == 3 * 2 * 2
    assert found.retraining.bytes == 3 * 2 * 2 * model
    table = found.table.set_index(["stage", "score"])["value"]
    assert table["after", "steps"] == found.cost.steps
    assert table["before", "membership"] == found.stages["before"].membership.auc


def test_a_round_that_was_chosen_on_validation_is_what_is_changed(tmp_path: Path) -> None:
    run = small(
        tmp_path,
        rounds=4,
        evaluation={"validation": 0.2, "select": "validation"},
        training={"optimizer": {"lr": 3.0, "lr_decay": 0.5}},
    )
    asked = request(run, 0)
    assert asked.model_round == run.chosen_round
    state = changeable(asked).server["arrays"]
    for name, value in run.model_state().items():
        assert torch.equal(state[name], value)
    found = forget(run, 0, recovery_rounds=2, progress=False)
    assert found.run.rounds == 6
    assert found.run.chosen_round in {5, 6}


@pytest.mark.slow
def test_two_clients_are_forgotten_one_after_the_other(unlearnt: Run, tmp_path: Path) -> None:
    found = forget(unlearnt, 2, recovery_rounds=1, out=tmp_path / "new", progress=False)
    assert found.run.scenario.partition.held_out_clients == (1, 2)
    trained = found.run.history[found.run.history["split"] == "train"]
    assert set(trained["client"]) == {0}
    assert set(trained["round"]) == {5}
    with pytest.raises(InputError, match="client 1 was held out"):
        forget(unlearnt, 1, progress=False)
    with pytest.raises(InputError, match="client 0 is the only one that trains"):
        forget(found.run, 0, progress=False)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("client", "options", "words"),
    [
        (3, {}, "the run has no client 3; clients go from 0 to 2"),
        (-1, {}, "the run has no client -1"),
        (1, {"method": "fisher"}, "--method: there is no 'fisher'"),
        (1, {"temperature": 2.0}, "projected_ascent has no such option, label_agnostic has"),
        (1, {"method": "retrain", "lr": 0.1}, "retrain has no such option, projected_ascent has"),
        (1, {"method": "retrain", "recovery_rounds": 2}, "--recovery-rounds: retrain is"),
        (1, {"method": "retrain", "against_retraining": True}, "--against-retraining: retrain is"),
        (1, {"lr": -0.1}, "--lr: -0.1 must be above 0"),
        (1, {"lr": float("inf")}, "--lr: inf must be between 1e-30"),
        (1, {"lr": 1e30}, r"--lr: with 1e\+30 the ascent is no longer finite"),
        (1, {"method": "label_agnostic", "alignment_lr": float("inf")}, "--alignment-lr: inf must"),
        (1, {"recovery_rounds": 0}, "--recovery-rounds: 0 must be 1 or more"),
    ],
)
def test_a_wrong_wish_is_refused(
    stripes: Run, client: int, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        forget(stripes, client, out=tmp_path / "new", progress=False, **options)


EQUAL = {"name": "fedavg", "weighting": "uniform"}


def small(folder: Path, **fields: Any) -> Run:
    return finished(folder / "run", **({"rounds": 1, "model": {"name": "mlp"}} | fields))


@pytest.mark.slow_for("fields7")
@pytest.mark.parametrize(
    ("fields", "options", "words"),
    [
        ({"partition": {"clients": 1, "domains": "mixed"}}, {}, "is the only one that trains"),
        ({"partition": {"clients": 3, "held_out_clients": [0]}}, {}, "was held out and never"),
        ({"strategy": "scaffold"}, {}, "the server of scaffold keeps more than a model"),
        ({"strategy": "moon"}, {}, "clients of moon keep tensors"),
        ({"strategy": "fedper"}, {}, "whose clients have local models"),
        ({"strategy": "qfedavg"}, {}, "makes the next model in another way"),
        (
            {"updates": {"rule": "median"}, "strategy": EQUAL},
            {},
            "makes the next model in another way",
        ),
        (
            {"privacy": {"noise_multiplier": 1.0, "clipping_norm": 1.0}, "strategy": EQUAL},
            {"method": "label_agnostic"},
            "is private",
        ),
    ],
)
def test_a_run_that_keeps_traces_elsewhere_is_refused(
    tmp_path: Path, fields: dict[str, Any], options: dict[str, Any], words: str
) -> None:
    run = small(tmp_path, **fields)
    with pytest.raises(InputError, match=words):
        forget(run, 0, progress=False, **options)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["run"]


def test_a_client_that_never_took_part_is_refused(tmp_path: Path) -> None:
    run = small(tmp_path, participation={"fraction": 0.34})
    (trained,) = set(run.history[run.history["split"] == "train"]["client"])
    idle = min({0, 1, 2} - {trained})
    with pytest.raises(InputError, match=f"client {idle} never took part"):
        forget(run, idle, progress=False)


def test_samples_that_are_elsewhere_are_refused(stripes: Run, tmp_path: Path) -> None:
    shutil.copytree(stripes.folder, tmp_path / "devices")
    (tmp_path / "devices" / "devices.json").write_text("{}")
    with pytest.raises(InputError, match="was on real devices, which have its samples"):
        forget(load_run(tmp_path / "devices"), 1, progress=False)
    features = {"data.features": {"name": "run", "folder": str(stripes.folder)}}
    other = Run(stripes.folder, load_scenario(stripes.scenario, features))
    with pytest.raises(InputError, match="reads features of another run"):
        forget(other, 1, progress=False)


def test_a_damaged_checkpoint_is_refused(stripes: Run, tmp_path: Path) -> None:
    shutil.copytree(stripes.folder, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "round-000003" / "checkpoint.json").write_text("{")
    with pytest.raises(InputError, match="the checkpoint of round 3 cannot be read"):
        forget(load_run(tmp_path / "run"), 1, progress=False)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["run"]


def test_a_folder_that_is_used_is_refused_before_anything_is_done(
    stripes: Run, tmp_path: Path
) -> None:
    (tmp_path / "new-retrained").mkdir()
    (tmp_path / "new-retrained" / "file").touch()
    with pytest.raises(InputError, match="is not empty"):
        forget(stripes, 1, against_retraining=True, out=tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


def test_held_out_clients_stay_held_out(tmp_path: Path) -> None:
    run = small(tmp_path, partition={"clients": 4, "domains": "mixed", "held_out_clients": 0.25})
    (before,) = request(run, 1 if _held_out(run) != 1 else 2).trained.runtime.partition.held_out
    client = min({0, 1, 2, 3} - {int(before)})
    asked = request(run, client)
    assert asked.scenario.partition.held_out_clients == tuple(sorted([int(before), client]))
    assert asked.remaining == sorted({0, 1, 2, 3} - {int(before), client})


def _held_out(run: Run) -> int:
    trained = set(run.history[run.history["split"] == "train"]["client"])
    (only,) = {0, 1, 2, 3} - trained
    return only


# ------------------------------------------------------------------ the command


def test_the_command_shows_a_table(stripes: Run, tmp_path: Path, run: Any) -> None:
    words = ("forget", stripes.folder, "--client", 2, "--out", tmp_path / "new")
    code, printed, _ = run(*words, "--recovery-rounds", 1, "--table", tmp_path / "table.csv")
    assert code == 0
    assert "membership attack, AUC" in printed
    assert "of the client steps of retraining, which was not done," in printed
    assert "ascent: 5 steps" in printed
    found = pandas.read_csv(tmp_path / "table.csv")
    assert set(found["stage"]) == {"before", "unlearnt", "after", "retrained"}
    assert found[found["score"] == "membership"]["low"].notna().all()
    code, _, error = run(*words)
    assert code == 2
    assert error.startswith("error: the folder")
    assert len(error.splitlines()) == 1
