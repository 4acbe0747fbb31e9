"""Labels and numbers through the whole house: training, resuming, devices, exports, refusals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message
from torch.nn import functional

import fedlab
from fedlab import flower_compat
from fedlab.adaptation.audit import audit
from fedlab.adaptation.personalise import personalise
from fedlab.config import registry, yaml_text
from fedlab.config.builtin_names import BUILTIN
from fedlab.config.scenario_diff import differences
from fedlab.data.load import load_data
from fedlab.deploy.device.local_data import load_own_data
from fedlab.deploy.device.participant import Participant
from fedlab.deploy.handshake import INVITE, DeviceInfo
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario, to_yaml
from fedlab.simulation import resume, simulate
from fedlab.targets.base import EVERY
from helpers.cohorts import assert_same, both
from helpers.running import At
from helpers.targets import OTHERS, scenario

WANT_MORE = {"fedbn", "silobn", "fedwon", "fixbn", "fedbuff", "feddg_ga", "ccst", "nmtune"}
"""Methods that need normalisation, devices, validation samples, images or features."""
METHODS = [
    name
    for name in BUILTIN["strategies"]
    if registry.resolve("strategies", name).Parameters.targets == EVERY
    if name not in WANT_MORE
]
LOSSES = {
    "multi_label": [
        {"name": "bce", "prior": "client", "pos_weight": 2.0},
        {"name": "bce", "gamma_neg": 4.0, "clip": 0.05},
        {"name": "pu", "gamma": 0.85, "temperature": 2.0},
    ],
    "regression": ["mae", {"name": "huber", "delta": 0.5}],
}


def runtime_of(scenario: Scenario) -> Runtime:
    prepared = prepare(scenario)
    return Runtime(scenario, prepared.data, prepared.partition, torch.device("cpu"))


@pytest.mark.parametrize(
    ("target", "loss"), [(t, loss) for t in OTHERS for loss in [None, *LOSSES[t]]], ids=str
)
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(target: str, loss: Any) -> None:
    training: dict[str, Any] = {"batch_size": 10, "optimizer": {"lr": 0.05}}
    if loss:
        training["loss"] = loss
    runtime = runtime_of(scenario(target, training=training, strategy="fedprox"))
    assert runtime.trainer.supports_vmap
    alone, together = both(runtime)
    assert_same(alone, together, 1e-9)
    assert {"loss", runtime.data.target.score} <= alone[0][1].keys()


@pytest.mark.slow_except("low_rank")
@pytest.mark.parametrize("form", ["dense", "low_rank"])
@pytest.mark.parametrize("target", OTHERS)
def test_low_rank_layers_learn_the_same(target: str, form: str, tmp_path: Path) -> None:
    model = {"name": "mlp", "hidden": [64]}
    plain = simulate(
        scenario(target, model=model, engine={"execution": "sequential", "dense_layers": "dense"}),
        out=tmp_path / "plain",
        progress=False,
    )
    other = simulate(
        scenario(target, model=model, engine={"execution": "auto", "dense_layers": form}),
        out=tmp_path / "other",
        progress=False,
    )
    for name, tensor in plain.model_state().items():
        torch.testing.assert_close(tensor, other.model_state()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow_except("multi_label")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", OTHERS)
def test_methods_that_do_not_look_at_labels_are_prepared(target: str, method: str) -> None:
    strategy: Any = method
    prepare(scenario(target, strategy=strategy))


@pytest.mark.parametrize("target", OTHERS)
def test_one_client_is_plain_pytorch(target: str, tmp_path: Path) -> None:
    engine = {"execution": "sequential", "dense_layers": "dense"}
    one = scenario(
        target,
        rounds=3,
        data={"sources": [{"name": "helpers.targets:Tables", "domains": 1}]},
        partition={"clients": 1},
        training={"batch_size": "full", "optimizer": {"lr": 0.1}},
        engine=engine,
    )
    prepared = prepare(one)
    network, data = prepared.model, prepared.data
    x = torch.from_numpy(data.train.inputs)
    x = ((x - x.mean(0)) / x.std(0, unbiased=False)).float()
    y = torch.from_numpy(data.train.labels).double()
    if target == "regression":
        y = (y - y.mean(0)) / y.std(0, unbiased=False)
        loss = functional.mse_loss
    else:
        loss = functional.binary_cross_entropy_with_logits
    run = simulate(one, out=tmp_path / "run", progress=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        loss(network(x), y.float()).backward()
        optimizer.step()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(run.model_state()[name], tensor, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module", params=OTHERS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> fedlab.Run:
    folder = tmp_path_factory.mktemp(request.param) / "run"
    metrics = {
        "multi_label": ["average_precision", "label_f1", "hamming_accuracy", "loss"],
        "regression": ["mae", "rmse", "r2", "loss"],
    }
    evaluation = {"validation": 0.2, "metrics": metrics[request.param]}
    wanted = scenario(request.param, rounds=3, evaluation=evaluation)
    return simulate(wanted, out=folder, progress=False)


def test_scores_are_of_all_samples_and_in_their_units(run: fedlab.Run) -> None:
    data = load_data(run.scenario.data)
    outputs = run.model()(torch.from_numpy(data.test.inputs)).double()
    labels = torch.from_numpy(data.test.labels).double()
    history = run.history
    last = history[(history["round"] == 3) & (history["client"] == -1) & (history.split == "test")]
    scores = last[last.metric == data.target.score].set_index("domain")["value"]
    for index, domain in enumerate(data.domain_names):
        rows = data.test.domains == index
        if run.scenario.data.target.kind == "regression":
            expected = (outputs - labels)[rows].abs().mean()
        else:
            expected = ((outputs > 0) == (labels > 0))[rows].double().mean()
        assert scores[domain] == pytest.approx(float(expected), rel=1e-5)
    assert "accuracy" not in set(history["metric"])
    trained = history[(history.split == "train") & (history.metric == data.target.score)]
    assert trained["value"].between(0, 100).all()


@pytest.mark.slow_except("multi_label")
def test_a_resumed_run_ends_in_the_same_bytes(run: fedlab.Run, tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(run.scenario, out=tmp_path / "again", progress=False, callbacks=[At(2, stop)])
    again = resume(tmp_path / "again", progress=False)
    for name, tensor in run.model_state().items():
        assert torch.equal(tensor, again.model_state()[name])


@pytest.mark.slow_for("regression-onnx")
@pytest.mark.parametrize("to", ["pt2", "onnx", "safetensors"])
def test_exports_give_the_scores_of_tests(run: fedlab.Run, to: str) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    done = fedlab.export_run(run, to)
    assert done.comparison.largest <= done.comparison.allowed
    data = load_data(run.scenario.data)
    assert done.description.classes == data.class_names
    if run.scenario.data.target.kind == "regression":
        assert done.description.output.name == "values"
        inputs = torch.from_numpy(data.test.inputs)
        given = fedlab.load_program(done.path)(inputs) if to == "safetensors" else None
        if given is not None:
            assert 900 < float(given[:, 0].detach().mean()) < 1100
    else:
        assert "sigmoid" in done.description.output.meaning


def test_clients_are_personalised_and_not_audited(run: fedlab.Run) -> None:
    table = personalise(run, steps=2, shots=10)
    assert (table["shots"] == 10).all()
    assert table["after"].notna().all()
    with pytest.raises(InputError, match="audit looks for samples whose class is wrong"):
        audit(run)


@pytest.mark.slow_except("regression")
def test_a_page_and_pictures_name_what_is_learnt(run: fedlab.Run, tmp_path: Path) -> None:
    from fedlab.comparison.comparison import Comparison
    from fedlab.report.html.page import render

    page = render(Comparison.of([run]))
    assert "ccuracy" not in re.sub(r"(?i)hamming[ _]accuracy", "", page)
    assert run.scenario.data.target.strata_nouns[0] in page
    run.plot()


# ---------------------------------------------------------------------- devices


def archives(folder: Path, target: str) -> dict[str, Any]:
    """The domains as files, and the source that reads them."""
    data = load_data(scenario(target).data)
    for index, name in enumerate(data.domain_names):
        splits = {}
        for split, pool in (("train", data.train), ("test", data.test)):
            rows = pool.domains == index
            splits |= {f"x_{split}": pool.inputs[rows], f"y_{split}": pool.labels[rows]}
        np.savez(folder / f"{name}.npz", **splits)
    files = {name: str(folder / f"{name}.npz") for name in data.domain_names}
    return {"name": "npz", "files": files}


@pytest.mark.parametrize("target", OTHERS)
def test_devices_learn_what_the_server_has_fitted(target: str, tmp_path: Path) -> None:
    source = archives(tmp_path, target)
    normalisation = {"mean": 0.0, "std": 1.0}
    wanted = scenario(
        target,
        data={"sources": [source], "normalisation": normalisation},
        partition={"clients": 2},
        evaluation={"validation": 0.2},
    )
    prepared = prepare(wanted)
    setup = setup_of(wanted)
    participant = Participant("d1", tmp_path / "d1.npz", None, tmp_path / "state", "cpu", 1)
    terms = setup.invitation("run", wanted)
    message = Message(terms.to_content(), dst_node_id=7, message_type=INVITE)
    reply = participant.answer(flower_compat.stamp(message))
    assert reply is not None
    assert DeviceInfo.of(reply.content) == DeviceInfo("d1", "d1", 60, 40)
    values, _ = yaml_text.read(terms.scenario, "scenario")
    own = load_own_data(values, tmp_path / "d1.npz", None, terms.classes, terms.shape)
    assert own.data.target == prepared.data.target
    split = own.partition(1, 2)
    simulated = prepared.partition[1]
    assert (split.train + 60 == simulated.train).all()
    assert (split.validation + 60 == simulated.validation).all()
    here = Runtime(wanted, prepared.data, prepared.partition, torch.device("cpu")).client_data(1)
    there = Runtime(own.scenario, own.data, split, torch.device("cpu")).client_data(1)
    assert torch.equal(here.labels, there.labels)


def test_a_server_without_data_needs_the_scale() -> None:
    data = {"sources": [{"name": "npz", "path": "there.npz"}], "image_size": 8}
    with pytest.raises(
        InputError, match=r"data\.target\.standardise: mean and std are those of all"
    ):
        setup_of(scenario("regression", data=data, model="small_cnn"), ["a", "b"])
    target = {"name": "regression", "mean": [1.0, 2.0], "std": [1.0, 1.0]}
    setup = setup_of(scenario(target, data=data, model="small_cnn"), ["a", "b"])
    assert setup.classes == ("a", "b")


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("target", "changes", "words"),
    [
        ("regression", {"strategy": "fedproto"}, "strategy.name: 'fedproto' goes with .* class"),
        ("multi_label", {"strategy": "fraug"}, "'fraug' .* use one of fedavg, fedprox"),
        ("regression", {"training": {"loss": "bce"}}, "'bce' .* use one of mse, mae, huber"),
        ("multi_label", {"training": {"loss": "ldam"}}, "training.loss: 'ldam' .* one of bce"),
        ("class", {"training": {"loss": "mse"}}, "'mse' goes with data.target regression"),
        ("regression", {"evaluation": {"metrics": ["accuracy"]}}, "'accuracy' .* mae, mse, rmse"),
        ("class", {"evaluation": {"metrics": ["r2"]}}, "evaluation.metrics: 'r2' goes with"),
        ("multi_label", {"evaluation": {"metrics": ["f1"]}}, "'f1' .* label_f1"),
        (
            "regression",
            {"partition": {"clients": 2, "label_noise": {"name": "symmetric", "rate": 0.1}}},
            "partition.label_noise: 'symmetric' .* use one of none",
        ),
        ("multi_label", {"data": {"features": "warm_up"}}, "data.features: 'warm_up' goes with"),
        ("regression", {"data": {"target": {"name": "regression", "mean": [1]}}}, "mean and std"),
        ("regresion", {}, "did you mean 'regression'"),
    ],
)
def test_what_does_not_go_with_the_target_is_refused(
    target: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        scenario(target, **changes)


def test_sources_of_classes_are_refused() -> None:
    wanted = scenario("regression", data={"sources": ["digits"]})
    with pytest.raises(
        InputError, match=r"'digits' yields labels of data\.target class, and it is"
    ):
        prepare(wanted)


def test_losses_and_metrics_follow_the_target_where_none_are_said() -> None:
    for target, loss, metrics in (
        ("class", "cross_entropy", ["accuracy", "loss"]),
        ("multi_label", "bce", ["label_f1", "average_precision", "loss"]),
        ("regression", "mse", ["mae", "r2", "loss"]),
    ):
        made = scenario(target)
        assert made.training.loss.name == loss
        assert [metric.name for metric in made.evaluation.metrics] == metrics
        again = Scenario.model_validate(yaml_text.read(to_yaml(made), "it")[0])
        assert again == made


@pytest.mark.parametrize("target", OTHERS)
def test_an_override_keeps_defaults_that_depend_on_the_target(target: str) -> None:
    values = yaml_text.read(to_yaml(scenario(target)), "it")[0]
    made = Scenario.model_validate(values)
    for block, key, value in (
        ("evaluation", "validation", 0.2),
        ("evaluation", "every", 2),
        ("training", "local_epochs", 3),
        ("training", "optimizer.lr", 0.5),
    ):
        silent = {name: each for name, each in values.items() if name != block}
        for said in ({}, {block: type(getattr(made, block))()}):
            changed = load_scenario(silent | said, [f"{block}.{key}={value}"])
            assert changed.training.loss == made.training.loss
            assert changed.evaluation.metrics == made.evaluation.metrics
            assert differences(load_scenario(silent), changed)[0].after == value


def test_an_override_of_an_unwritten_list_changes_the_default() -> None:
    made = load_scenario(
        scenario("class").model_dump(exclude={"evaluation"}), ["evaluation.metrics.1=f1"]
    )
    assert [metric.name for metric in made.evaluation.metrics] == ["accuracy", "f1"]


@pytest.mark.slow_for("multi_label_digits")
@pytest.mark.parametrize("name", ["multi_label_digits", "regression_diabetes"])
def test_shipped_scenarios_are_prepared(name: str) -> None:
    few = ["data.train_samples_per_domain=30", "data.test_samples_per_domain=10"]
    small = ["data.sources.0.train_per_domain=30", "data.sources.0.test_per_domain=20"]
    made = fedlab.load_scenario(name, few + small * name.startswith("multi"))
    prepared = prepare(made)
    assert prepared.data.target.kind in OTHERS
