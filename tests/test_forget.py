"""Forgetting a client of a finished run: the new run is one like any other, without the client."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch.nn.functional import cross_entropy

from fedlab import rng
from fedlab.clients.base import Received
from fedlab.errors import InputError
from fedlab.export.export_run import export_run
from fedlab.preparation import prepare
from fedlab.runs.checkpoint import load_checkpoint
from fedlab.runs.run import Run, load_run
from fedlab.scenario_file import load_scenario
from fedlab.simulation import resume, simulate
from fedlab.training import lists
from fedlab.unlearning import label_agnostic, projected_ascent
from fedlab.unlearning.feature_autoencoder import FeatureAutoencoder
from fedlab.unlearning.forget import forget
from fedlab.unlearning.reference_model import reference_model
from fedlab.unlearning.request import changeable, request
from helpers import toy

pytestmark = pytest.mark.xdist_group("forget")  # what is made for all of them is made once


def finished(folder: Path, **fields: Any) -> Run:
    return simulate(toy.scenario(**fields), out=folder, progress=False)


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three clients, whose samples are one batch each; with batch normalisation."""
    return finished(
        tmp_path_factory.mktemp("runs") / "stripes",
        rounds=3,
        partition={
            "clients": 3,
            "domains": "mixed",
            "quantity": {"name": "lognormal", "sigma": 0.5},
        },
        model={"name": "small_cnn", "widths": [4, 4, 8]},
        training={"batch_size": "full", "local_epochs": 2, "optimizer": {"lr": 0.05}},
    )


@pytest.fixture(scope="module")
def unlearnt(stripes: Run) -> Run:
    return forget(stripes, 1, recovery_rounds=1, progress=False).run


# ------------------------------------------------------------------ against plain PyTorch


def test_the_reference_is_the_mean_of_the_others_last_models(stripes: Run) -> None:
    asked = request(stripes, 1)
    checkpoint = changeable(asked)
    found = reference_model(asked, checkpoint)
    assert found.exact
    assert found.steps == 0
    before = load_checkpoint(stripes.folder / "checkpoints", 2).server
    received = Received(before, {"server-round": 3, "rounds": 3})
    runtime = asked.trained.runtime
    locals_ = {each: runtime.train(each, received, {}) for each in (0, 2)}
    sizes = {each: metrics["num-examples"] for each, (_, metrics) in locals_.items()}
    total = sum(sizes.values())
    for name in runtime.trainer.task.anatomy.learning:
        expected = sum(
            sizes[each] / total * update.arrays["arrays"][name]
            for each, (update, _) in locals_.items()
        )
        torch.testing.assert_close(found.model[name], expected, rtol=1e-4, atol=1e-5)


def test_without_its_last_model_a_client_trains_once_more(stripes: Run, tmp_path: Path) -> None:
    again = finished(
        tmp_path / "run",
        rounds=2,
        output={"checkpoint_every": 2},
        model={"name": "small_cnn", "widths": [4, 4, 8]},
    )
    asked = request(again, 0)
    checkpoint = changeable(asked)
    found = reference_model(asked, checkpoint)
    assert not found.exact
    assert found.steps > 0
    state = checkpoint.server["arrays"]
    update, _ = asked.trained.runtime.train(
        0, Received(checkpoint.server, {"server-round": 3, "rounds": 2}), {}
    )
    for name in asked.trained.runtime.trainer.task.anatomy.learning:
        expected = (3 * state[name] - update.arrays["arrays"][name]) / 2  # three equal clients
        torch.testing.assert_close(found.model[name], expected, rtol=1e-4, atol=1e-5)
    still = set(state) - set(asked.trained.runtime.trainer.task.anatomy.learning)
    assert still
    assert all(torch.equal(found.model[name], state[name]) for name in still)


@pytest.mark.parametrize("clip", [5.0, 0.5])
def test_ascent_is_sgd_up_the_loss_and_back_onto_the_ball(stripes: Run, clip: float) -> None:
    asked = request(stripes, 1)
    reference = reference_model(asked, changeable(asked))
    options = projected_ascent.Options(epochs=4, lr=0.3, clip=clip, radius_share=0.01)
    found = projected_ascent.ascend(asked, reference, options, seed=0)
    assert found.steps == 4
    assert found.distance == pytest.approx(found.radius, rel=1e-4)

    task = asked.trained.runtime.trainer.task
    model = copy.deepcopy(task.model).eval()
    model.load_state_dict({**model.state_dict(), **reference.model})
    data = asked.trained.runtime.client_data(1)
    inputs = asked.trained.runtime.preprocess.inputs(data.inputs)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        (-cross_entropy(model(inputs), data.labels)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        with torch.no_grad():
            away = {n: p - reference.model[n] for n, p in model.named_parameters()}
            distance = torch.cat([each.flatten() for each in away.values()]).norm()
            if distance > found.radius:
                for name, parameter in model.named_parameters():
                    parameter.copy_(reference.model[name] + found.radius / distance * away[name])
    for name, value in model.state_dict().items():
        if name in found.model:
            torch.testing.assert_close(found.model[name], value, rtol=1e-3, atol=1e-4)


def test_the_radius_is_the_root_of_a_share_of_squared_distances(
    stripes: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(stripes, 1)
    network = asked.trained.runtime.trainer.task.model
    still = {name: value.detach() for name, value in network.named_parameters()}
    monkeypatch.setattr(projected_ascent, "initial_model", lambda *rest: network)
    centre = {name: value + 2 for name, value in still.items()}
    count = sum(value.numel() for value in still.values())
    found = projected_ascent.ball_radius(asked, centre, 1 / 3, seed=0)
    assert found == pytest.approx((4 * count / 3) ** 0.5)


def test_ascent_ends_at_a_distance_from_the_local_model(stripes: Run) -> None:
    asked = request(stripes, 1)
    reference = reference_model(asked, changeable(asked))
    options = projected_ascent.Options(epochs=6, lr=0.05)
    whole = projected_ascent.ascend(asked, reference, options, seed=0)
    learnt = asked.trained.runtime.trainer.task.anatomy.learning
    away = lists.less({name: whole.model[name] for name in learnt}, reference.local)
    most = float(lists.square_sum(away))
    ended = projected_ascent.ascend(
        asked, reference, options._replace(stop_distance=0.3 * most), seed=0
    )
    assert 0 < ended.steps < 6


def test_the_head_and_statistics_stay_as_they_are(stripes: Run) -> None:
    asked = request(stripes, 1)
    state = changeable(asked).server["arrays"]
    options = label_agnostic.Options(epochs=3, autoencoder_rounds=1, autoencoder_epochs=1)
    found = label_agnostic.forget_features(asked, state, options, seed=0)
    assert found.steps == 6  # a batch each, and two steps
    assert found.cost.steps == 12
    assert {name for name in state if torch.equal(state[name], found.model[name])} == {
        *asked.trained.runtime.trainer.task.head.names,
        *asked.trained.runtime.trainer.task.anatomy.buffers,
    } & set(state)


def test_features_change_by_two_steps_of_adam_for_each_pair(
    stripes: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fit", "fit_together"):
        monkeypatch.setattr(label_agnostic, name, lambda *rest, **more: None)
    own = request(stripes, 1).trained.runtime.partition[1].train
    asked = request(stripes, 1, ",".join(map(str, own[:5])))
    state = changeable(asked).server["arrays"]
    options = label_agnostic.Options(epochs=3, extraction_lr=2e-3, alignment_lr=1e-3)
    found = label_agnostic.forget_features(asked, state, options, seed=4)

    runtime = asked.trained.runtime
    model = copy.deepcopy(runtime.trainer.task.model).eval()
    model.load_state_dict({**model.state_dict(), **state})
    old = copy.deepcopy(model)
    *body, head = model.children()
    assert isinstance(head, torch.nn.Linear)
    inputs = runtime.preprocess.inputs(runtime.client_data(1).inputs)
    with rng.torch_seed(4, "forget", "autoencoders"):
        of_rest, of_own = (FeatureAutoencoder(head.in_features, 8) for _ in range(2))
    learning = [each for layer in body for each in layer.parameters()]
    extraction = torch.optim.Adam(learning, lr=2e-3)
    alignment = torch.optim.Adam(learning, lr=1e-3)

    def features(network: torch.nn.Module, rows: slice) -> torch.Tensor:
        return torch.nn.Sequential(*list(network.children())[:-1])(inputs[rows])

    gone, rest = slice(0, 5), slice(5, None)
    for _ in range(3):
        loss = torch.zeros(())
        for rows, coder, sign in ((rest, of_rest, 1), (gone, of_own, -1)):
            made = features(model, rows)
            far = (coder(made) - made).square().sum(dim=1)
            loss = loss + sign * (far / (far + 1)).exp().sum()
        extraction.zero_grad()
        loss.backward()
        extraction.step()
        turned = {
            part: 1 - torch.cosine_similarity(features(model, rows), features(old, rows).detach())
            for part, rows in (("rest", rest), ("gone", gone))
        }
        bottom = (turned["gone"] / 5).exp().sum()
        alignment.zero_grad()
        (turned["rest"].exp() / bottom).log().sum().backward()
        alignment.step()
    for name, value in model.named_parameters():
        torch.testing.assert_close(found.model[name], value, rtol=1e-3, atol=1e-4)
    assert found.cost.steps == 2 * 6


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


def test_it_can_be_used_like_any_other(unlearnt: Run, tmp_path: Path) -> None:
    from fedlab.adaptation.personalise import personalise

    assert export_run(unlearnt, "safetensors", out=tmp_path / "model").path.is_file()
    assert set(personalise(unlearnt, steps=1)["client"]) == {0, 1, 2}


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
    plain = simulate(
        stripes.scenario,
        {"partition.held_out_clients": [1]},
        out=tmp_path / "plain",
        progress=False,
    )
    for name, value in plain.model_state().items():
        assert torch.equal(value, found.retrained.model_state()[name])
    alone = forget(stripes, 1, method="retrain", out=tmp_path / "alone", progress=False)
    assert alone.stages["after"] == found.stages["retrained"]
    assert alone.cost == found.retraining
    assert list(found.stages) == ["before", "unlearnt", "after", "retrained"]


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
        (1, {"recovery_rounds": 0}, "--recovery-rounds: 0 must be 1 or more"),
    ],
)
def test_a_wrong_wish_is_refused(
    stripes: Run, client: int, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        forget(stripes, client, progress=False, **options)


EQUAL = {"name": "fedavg", "weighting": "uniform"}


def small(folder: Path, **fields: Any) -> Run:
    return finished(folder / "run", **({"rounds": 1, "model": {"name": "mlp"}} | fields))


@pytest.mark.parametrize(
    ("fields", "options", "words"),
    [
        ({"partition": {"clients": 1, "domains": "mixed"}}, {}, "is the only one that trains"),
        ({"partition": {"clients": 3, "held_out_clients": [0]}}, {}, "was held out and never"),
        ({"strategy": "scaffold"}, {}, "the server of scaffold keeps more than a model"),
        ({"strategy": "moon"}, {}, "clients of moon keep tensors"),
        ({"strategy": "fedper"}, {}, "whose clients have models of their own"),
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


# ------------------------------------------------------------------ some samples


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


def test_ascent_is_on_the_chosen_samples_alone(stripes: Run) -> None:
    own = request(stripes, 1).trained.runtime.partition[1].train
    some = request(stripes, 1, ",".join(map(str, own[:5])))
    reference = reference_model(some, changeable(some))
    options = projected_ascent.Options(epochs=1, lr=0.1, clip=100.0, radius_share=100.0)
    found = projected_ascent.ascend(some, reference, options, seed=0)
    task, runtime = some.trained.runtime.trainer.task, some.trained.runtime
    model = copy.deepcopy(task.model).eval()
    model.load_state_dict({**model.state_dict(), **reference.model})
    data = runtime.client_data(1)
    loss = cross_entropy(model(runtime.preprocess.inputs(data.inputs[:5])), data.labels[:5])
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        expected = reference.model[name] + 0.1 * parameter.grad
        torch.testing.assert_close(found.model[name], expected, rtol=1e-4, atol=1e-5)


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
    ("words", "told"),
    [
        ("class=z", "there is no class 'z'; choose from a, b, c, d"),
        ("1.5", "a share of 1.5"),
        ("some", "'some' is not clear"),
        ("-4", "sample -4 is none of client 0's"),
    ],
)
def test_samples_that_mean_nothing_are_refused(stripes: Run, words: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
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


# ------------------------------------------------------------------ the command


def test_the_command_shows_a_table(stripes: Run, tmp_path: Path, run: Any) -> None:
    words = ("forget", stripes.folder, "--client", 2, "--out", tmp_path / "new")
    code, told, _ = run(*words, "--recovery-rounds", 1, "--table", tmp_path / "table.csv")
    assert code == 0
    assert "membership attack, AUC" in told
    assert "of the client steps of retraining, which was not done," in told
    assert "ascent: 5 steps" in told
    found = pandas.read_csv(tmp_path / "table.csv")
    assert set(found["stage"]) == {"before", "unlearnt", "after", "retrained"}
    assert found[found["score"] == "membership"]["low"].notna().all()
    code, _, error = run(*words)
    assert code == 2
    assert error.startswith("error: the folder")
    assert len(error.splitlines()) == 1
