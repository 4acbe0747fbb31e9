"""Where parts that were made apart meet: methods, targets, owners, shapes, starting weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

import fedlab
from fedlab.adaptation.calibrate import calibrate
from fedlab.adaptation.personalise import personalise
from fedlab.data.load import load_data
from fedlab.data.spec import DataSpec
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.export.export_run import export_run
from fedlab.preparation import prepare
from fedlab.scenario import Scenario
from fedlab.simulation import resume, simulate
from fedlab.training.task import Batch
from helpers import shapes, toy
from helpers.running import At, result
from helpers.targets import OTHERS, scenario

OF_CLASSES = ["fedetf", "fedrod", "fpl", "fedplvm", "f2dc", "fedsr", "fediir", "sla"]
OF_LOSSES = ["afl", "ifca", "fedala", "qfedavg", "feddg_ga"]
VALIDATED = {"feddg_ga": {"evaluation": {"validation": 0.2}}}
TRANSFORMER = shapes.NETWORKS["ids-transformer"]
LORA = {"name": "lora", "rank": 2}
SCORE = {"multi_label": "hamming_accuracy", "regression": "mae"}


def trainer_of(scenario: Scenario) -> Any:
    prepared = prepare(scenario)
    runtime = Runtime(prepared.scenario, prepared.data, prepared.partition, torch.device("cpu"))
    return runtime.trainer


# ------------------------------------------------------------------ methods and targets


@pytest.mark.parametrize("method", OF_CLASSES)
@pytest.mark.parametrize("target", OTHERS)
def test_a_method_of_classes_is_refused_by_its_name(method: str, target: str) -> None:
    with pytest.raises(ValueError, match=rf"strategy.name: '{method}' goes with data.target class"):
        scenario(target, strategy=method)


def test_a_base_is_asked_for_its_targets_too() -> None:
    with pytest.raises(ValueError, match=r"strategy.base: 'fedntd' goes with data.target class"):
        scenario("multi_label", strategy={"name": "fedheal", "base": "fedntd"})


@pytest.mark.slow_except("multi_label")
@pytest.mark.parametrize("method", OF_LOSSES)
@pytest.mark.parametrize("target", OTHERS)
def test_a_method_of_losses_reads_the_targets(method: str, target: str, tmp_path: Path) -> None:
    chosen = scenario(target, strategy=method, **VALIDATED.get(method, {}))
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    metrics = set(run.history.query("split == 'train'").metric)
    assert {"loss", SCORE[target]} <= metrics
    assert "accuracy" not in metrics
    assert np.isfinite(run.history.value).all()
    assert not (run.folder / "failures.csv").exists()


@pytest.mark.parametrize(
    ("target", "loss"),
    [("multi_label", binary_cross_entropy_with_logits), ("regression", mse_loss)],
)
def test_ifca_chooses_by_the_default_loss_of_the_target(target: str, loss: Any) -> None:
    trainer = trainer_of(scenario(target, strategy="ifca"))
    generator = torch.Generator().manual_seed(0)
    outputs = trainer.task.classes
    inputs = torch.randn(6, 5, generator=generator)
    labels = torch.randint(2, (6, outputs), generator=generator).float()
    model = {name: tensor.clone() for name, tensor in trainer.task.initial.items()}
    (found,), _ = trainer.losses([model], Batch(inputs, labels, torch.arange(6)))
    with torch.no_grad():
        expected = loss(trainer.task.model.eval()(inputs), labels)
    torch.testing.assert_close(found, expected)


# ------------------------------------------------------------------ methods and networks


@pytest.mark.parametrize("case", ["series-gru", "ids-transformer", "volume-cnn3d"])
def test_ccst_refuses_what_is_no_image_before_training(case: str) -> None:
    with pytest.raises(InputError, match="ccst paints images in other styles, and the samples are"):
        prepare(shapes.scenario(case, strategy="ccst"))


def test_ifca_refuses_models_that_would_all_start_the_same(tmp_path: Path) -> None:
    cnn = {"name": "small_cnn", "widths": [4, 4, 4]}
    frozen = {"freeze": ["0.*", "4.*", "8.*", "14.*"]}  # normalisation layers alone learn
    with pytest.raises(InputError, match="that learns has a reset_parameters"):
        prepare(toy.scenario(strategy="ifca", model=cnn | frozen))
    base = simulate(toy.scenario(model=cnn, rounds=1), out=tmp_path / "base", progress=False)
    started = cnn | {"weights": str(base.folder)}
    with pytest.raises(InputError, match=r"model.weights: ifca starts from 2 models"):
        prepare(toy.scenario(strategy="ifca", model=started))


@pytest.mark.slow_except("ifca", "fedbabu")
@pytest.mark.parametrize("method", ["fedbabu", "fedrod", "fedetf", "ifca", "fpl"])
def test_adapters_of_a_transformer_learn_alone(method: str, tmp_path: Path) -> None:
    chosen = shapes.scenario(
        "ids-transformer", strategy=method, model={**TRANSFORMER, "adapt": LORA}
    )
    first = prepare(chosen).model
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    after = run.model_state()
    still = {name for name, tensor in first.named_parameters() if not tensor.requires_grad}
    changed = {name for name in after if not torch.equal(after[name], first.state_dict()[name])}
    assert not changed & still
    assert any("lora_b" in name for name in changed)
    if method == "fedbabu":
        assert all("lora" in name for name in changed)


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "afl"},
        {"name": "qfedavg"},
        {"name": "fedlabel", "aggregation": "flute", "weighting": "uniform"},
    ],
    ids=lambda strategy: strategy["name"],
)
def test_clients_weights_of_a_rule_have_no_meaning_in_a_median(strategy: dict) -> None:
    clients = {"clients": 3, "label_budget": {"share": 0.5}}
    chosen = toy.scenario(strategy=strategy, updates={"rule": "median"}, partition=clients)
    with pytest.raises(InputError, match=f"updates.rule: {strategy['name']} has its own weights"):
        prepare(chosen)


def test_without_its_powers_qfedavg_takes_a_median() -> None:
    prepare(toy.scenario(strategy={"name": "qfedavg", "q": 0}, updates={"rule": "median"}))


def test_calibration_refuses_what_it_would_get_wrong(tmp_path: Path) -> None:
    labels = simulate(scenario("multi_label", rounds=1), out=tmp_path / "labels", progress=False)
    with pytest.raises(InputError, match=r"learns data.target 'multi_label'"):
        calibrate(labels)
    fixed = toy.scenario(strategy="fedetf", model={"name": "mlp", "hidden": [6]}, rounds=1)
    with pytest.raises(InputError, match="outputs are not those of a last dense layer"):
        calibrate(simulate(fixed, out=tmp_path / "fixed", progress=False))


# ------------------------------------------------------------------ owners and targets

PATIENTS = 6


@pytest.fixture
def wards(tmp_path: Path) -> Path:
    """Two tables of x0, patient, a, x1, b, x2; a and b are the signs of x0 and x1."""
    for place, name in enumerate(("north", "south")):
        x = np.random.default_rng(place).normal(size=(60, 3))
        rows = [
            f"{a:.4f},{name}-{row % PATIENTS},{int(a > 0)},{b:.4f},{int(b > 0)},{c:.4f}"
            for row, (a, b, c) in enumerate(x)
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join(["x0,patient,a,x1,b,x2", *rows]))
    return tmp_path


def table(root: Path, target: str, **source: Any) -> dict[str, Any]:
    files = {name: f"{name}.csv" for name in ("north", "south")}
    return {"sources": [{"name": "csv", "files": files} | source], "root": root, "target": target}


@pytest.mark.parametrize("split", ["within_owners", "by_owner"])
@pytest.mark.parametrize(
    ("label", "owner"),
    [(["a", "b"], "patient"), ([2, 4], 1), ([-4, "b"], -5), (["b", "a"], "patient")],
    ids=str,
)
def test_labels_and_owners_of_a_table(wards: Path, label: Any, owner: Any, split: str) -> None:
    fields = table(wards, "multi_label", label=label, owner=owner, split=split)
    data = load_data(DataSpec.model_validate(fields))
    names = ("b", "a") if label == ["b", "a"] else ("a", "b")
    assert data.class_names == names
    assert data.input_shape == (3,)
    assert len(data.owner_names) == 2 * PATIENTS
    for part in (data.train, data.test):
        signs = (part.inputs[:, [names.index("a"), names.index("b")]] > 0).astype(np.uint8)
        ordered = part.labels[:, [names.index("a"), names.index("b")]]
        assert signs.shape == ordered.shape
        np.testing.assert_array_equal(ordered, (part.inputs[:, :2] > 0).astype(np.uint8))
    both = set(data.train.owners.tolist()) & set(data.test.owners.tolist())
    assert not both if split == "by_owner" else len(both) == 2 * PATIENTS


@pytest.mark.parametrize("owner", ["a", "b", 2, -2])
def test_an_owner_is_no_label(wards: Path, owner: Any) -> None:
    fields = table(wards, "multi_label", label=["a", "b"], owner=owner, categorical="patient")
    with pytest.raises(InputError, match="give each its own column"):
        load_data(DataSpec.model_validate(fields))


@pytest.mark.parametrize(
    ("target", "label"), [("multi_label", ["a", "b"]), ("regression", ["x0", "x1"])]
)
@pytest.mark.parametrize("held_out", [None, 0.25])
def test_natural_clients_learn_other_targets(
    wards: Path, target: str, label: Any, held_out: float | None, tmp_path: Path
) -> None:
    fields: dict[str, Any] = {
        "name": "wards",
        "rounds": 2,
        "data": table(wards, target, label=label, owner="patient"),
        "partition": {"clients": "natural"},
        "model": {"name": "mlp", "hidden": [6]},
        "resources": {"backend": "local"},
        "output": {"owner_names": False},
    }
    if held_out:
        fields["partition"]["held_out_clients"] = held_out
        fields["evaluation"] = {"adapt_steps": 2, "validation": 0.2}
    run = simulate(Scenario.model_validate(fields), out=tmp_path / "run", progress=False)
    assert run.history.query("client >= 0").client.nunique() == 2 * PATIENTS
    assert SCORE[target] in set(run.history.query("split == 'train'").metric)
    assert np.isfinite(run.history.query("split == 'train'").value).all()
    assert "north-0" not in (run.folder / "history.csv").read_text()


# ------------------------------------------------------------------ shapes and targets


def shaped(case: str, target: str, folder: Path) -> Scenario:
    """Samples of any shape from a file, whose labels are sets or numbers."""
    generator = np.random.default_rng(0)
    shape = case.partition("-")[0]
    inputs = generator.normal(size=(48, *shapes.SHAPES[shape])).astype(np.float32)
    data: dict[str, Any] = {"inputs": "numbers"}
    if shape == "ids":
        inputs = generator.integers(0, shapes.VOCABULARY, (48, *shapes.SHAPES["ids"]))
        data = {"inputs": "ids", "ids": {"vocabulary": shapes.VOCABULARY, "pad": 0}}
    sums = inputs.reshape(48, -1)[:, :2].astype(np.float64)
    labels = 100 + 5 * sums if target == "regression" else (sums > sums.mean()).astype(np.uint8)
    np.savez(folder / "all.npz", x_train=inputs, y_train=labels)
    data |= {"sources": [{"name": "npz", "domain": "all", "path": "all.npz"}]}
    fields = {
        "name": "shaped",
        "rounds": 1,
        "data": data | {"root": folder, "target": target},
        "partition": {"clients": 2},
        "model": shapes.NETWORKS[case],
        "resources": {"backend": "local"},
    }
    return Scenario.model_validate(fields)


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("case", "kind"),
    [
        ("series-gru", "safetensors"),
        ("ids-transformer", "safetensors"),
        pytest.param("series-cnn1d", "onnx", marks=SLOW),
        pytest.param("series-gru", "pt2", marks=SLOW),
        pytest.param("ids-lstm", "onnx", marks=SLOW),
        pytest.param("ids-transformer", "pt2", marks=SLOW),
    ],
)
@pytest.mark.parametrize("target", OTHERS)
def test_networks_of_sequences_learn_and_are_exported(
    case: str, kind: str, target: str, tmp_path: Path
) -> None:
    run = simulate(shaped(case, target, tmp_path), out=tmp_path / "run", progress=False)
    exported = export_run(run, kind, out=tmp_path / f"out.{kind}")
    assert exported.path.exists()  # and was compared with the run on test samples
    if kind == "safetensors":
        program = fedlab.load_program(tmp_path / f"out.{kind}")
        data = load_data(run.scenario.data)
        outputs = program(torch.from_numpy(data.test.inputs[:4]))
        assert outputs.shape == (4, 2)
        if target == "regression":  # in the units of the data
            assert (outputs - 100).abs().max() < 60


@pytest.mark.slow
@pytest.mark.parametrize("case", shapes.NETWORKS)
@pytest.mark.parametrize("target", OTHERS)
def test_every_shape_is_resumed_personalised_and_exported_with_every_target(
    case: str, target: str, tmp_path: Path
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    scenario = shaped(case, target, tmp_path).model_copy(update={"rounds": 2})
    run = simulate(scenario, out=tmp_path / "run", progress=False)
    with pytest.raises(KeyboardInterrupt):
        simulate(scenario, out=tmp_path / "cut", progress=False, callbacks=[At(1, stop)])
    resume(tmp_path / "cut", progress=False)
    assert result(tmp_path / "cut") == result(run.folder)
    table = personalise(run, steps=1, shots=4)
    assert (table["shots"] == 4).all()
    assert table["after"].notna().all()
    for kind in ("pt2", "onnx", "safetensors"):
        exported = export_run(run, kind, out=tmp_path / f"out.{kind}")
        assert exported.comparison.largest <= exported.comparison.allowed
