"""Exported models: what is written gives what was trained, with nothing of fedlab around it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from typer.testing import CliRunner

import fedlab
from fedlab.cli import app
from fedlab.data.load import load_data
from fedlab.errors import InputError, RunError
from fedlab.export.description import Description, TensorDescription
from fedlab.export.folding import fold_weight_standardisation
from fedlab.export.formats import format_of
from fedlab.export.formats.pt2 import Pt2
from fedlab.export.program import Program, Standardise
from fedlab.models.build import build_model
from fedlab.models.weight_standardisation import WSConv2d
from fedlab.partition.partition import make_partition
from fedlab.strategies.fedavg import FedAvg
from helpers.toy import scenario

FORMATS = ("pt2", "onnx", "safetensors")
NETWORKS = {  # name -> (parameters, smallest image that suits it)
    "linear": ({}, 8),
    "mlp": ({"hidden": [8]}, 8),
    "small_cnn": ({"widths": [4, 8, 8]}, 8),
    "digits_cnn": ({}, 8),
    "resnet20": ({}, 8),
    "mobilenet_v2": ({}, 32),
    "resnet18": ({}, 32),
    "alexnet": ({}, 63),
}
LARGE = ("resnet20", "mobilenet_v2", "resnet18", "alexnet")


def finished(folder: Path, **fields: Any) -> fedlab.Run:
    return fedlab.simulate(scenario(**fields), out=folder, progress=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> fedlab.Run:
    """A run of FedAvg."""
    return finished(tmp_path_factory.mktemp("export") / "fedavg")


@pytest.fixture(scope="module")
def personal(tmp_path_factory: pytest.TempPathFactory) -> fedlab.Run:
    """A run of FedBN in which client 1 alone has trained."""
    participation = {"fraction": 0.34}
    folder = tmp_path_factory.mktemp("export") / "fedbn"
    return finished(folder, strategy="fedbn", rounds=1, participation=participation)


def reader(to: str) -> Callable[[Path], Callable[[Tensor], Tensor]]:
    """What a device does with a file, without fedlab where that is the promise."""
    if to == "pt2":
        return lambda path: torch.export.load(path).module()
    if to == "safetensors":
        return lambda path: fedlab.load_program(path)
    import onnxruntime

    def onnx(path: Path) -> Callable[[Tensor], Tensor]:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return lambda x: torch.from_numpy(session.run(["logits"], {"images": x.numpy()})[0])

    return onnx


def written_description(path: Path) -> dict[str, Any]:
    """The description that lies in a file."""
    if path.suffix == ".pt2":
        extra = {"fedlab.json": ""}
        torch.export.load(path, extra_files=extra)
        return json.loads(extra["fedlab.json"])
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["fedlab"])
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return json.loads(session.get_modelmeta().custom_metadata_map["fedlab"])


@pytest.mark.slow_except("pt2", "safetensors")
@pytest.mark.parametrize("to", FORMATS)
def test_a_file_takes_pixels_and_gives_the_logits_of_the_run(run: fedlab.Run, to: str) -> None:
    done = fedlab.export_run(run, to)
    assert done.path == run.folder / "export" / f"global.{to}"
    assert done.comparison.samples == 60
    assert done.comparison.largest <= done.comparison.allowed

    pixels = load_data(run.scenario.data).test.inputs
    network = build_model(run.scenario.model, FedAvg.Parameters(), (3, 8, 8), 4, seed=9)
    network.load_state_dict(run.model_state())
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy((pixels / 255 - 0.5) / 0.5).float())
    device = reader(to)(done.path)
    for size in (1, 2, 7, 60):
        given = device(torch.from_numpy(pixels[:size]))
        torch.testing.assert_close(given.detach(), expected[:size], rtol=1e-4, atol=1e-5)

    about = written_description(done.path)
    assert about["classes"] == ["a", "b", "c", "d"]
    assert about["input"]["shape"] == ["batch", 3, 8, 8]
    assert (about["input"]["dtype"], about["input"]["range"]) == ("uint8", [0, 255])
    assert about["scenario"]["strategy"]["name"] == "fedavg"
    assert about["rounds"] == 2


def test_a_run_gives_its_network_as_a_module(run: fedlab.Run, personal: fedlab.Run) -> None:
    data = load_data(run.scenario.data)
    model = run.model()
    assert isinstance(model, nn.Module)
    assert not model.training
    right = model(torch.from_numpy(data.test.inputs)).argmax(1).numpy() == data.test.labels
    table = run.summary()
    expected = (table["global_value"] * table["examples"]).sum() / table["examples"].sum()
    assert right.mean() == pytest.approx(expected)
    with pytest.raises(InputError, match="there is no global model"):
        personal.model()


@pytest.mark.slow
def test_a_client_has_a_model_of_its_own(tmp_path: Path, personal: fedlab.Run) -> None:
    trained = [
        client
        for client in range(3)
        if personal.model_state(client).keys() != personal.model_state().keys()
    ]
    assert len(trained) == 1
    done = fedlab.export_run(personal, client=trained[0], out=tmp_path / "own.pt2")
    data = load_data(personal.scenario.data)
    own = make_partition(personal.scenario.partition, data, 0)[trained[0]].test
    logits = personal.model(trained[0])(torch.from_numpy(data.test.inputs[own]))
    tested = personal.summary()["clients_value"].iloc[trained[0]]
    assert (logits.argmax(1).numpy() == data.test.labels[own]).mean() == pytest.approx(tested)
    history = personal.history.query(
        f"split == 'test' and metric == 'accuracy' and client == {trained[0]}"
    )
    assert done.comparison.samples == len(own)
    assert done.comparison.score == pytest.approx(history.value.item())
    other = next(client for client in range(3) if client != trained[0])
    with pytest.raises(InputError, match=f"has none of client {other}"):
        fedlab.export_run(personal, client=other)


def test_a_method_without_a_global_model_says_so(personal: fedlab.Run) -> None:
    with pytest.raises(InputError, match=r"no global model to export; name a client \(0 to 2\)"):
        fedlab.export_run(personal)


@pytest.mark.slow
def test_features_go_with_their_extractor(tmp_path: Path) -> None:
    data = {
        "sources": [{"name": "helpers.toy:Stripes"}],
        "image_size": 8,
        "features": {
            "name": "warm_up",
            "rounds": 1,
            "unit_length": True,
            "network": {"name": "small_cnn", "widths": [4, 4, 8]},
        },
    }
    run = finished(tmp_path / "run", data=data, model="linear", rounds=1)
    pixels = torch.from_numpy(load_data(run.scenario.data).test.inputs)
    outputs = []
    for to in ("pt2", "onnx"):
        done = fedlab.export_run(run, to)
        assert done.comparison.largest < 1e-5
        outputs.append(reader(to)(done.path)(pixels))
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
    head = fedlab.export_run(run, "safetensors")
    assert head.description.input.shape == ("batch", 8)
    assert "warm_up" in head.description.input.meaning


def test_nothing_is_written_that_gives_something_else(
    run: fedlab.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genuine = Pt2.read

    def wrong(self: Pt2, path: Path) -> Callable[[Tensor], Tensor]:
        program = genuine(self, path)
        return lambda inputs: program(inputs) + 1e-2

    monkeypatch.setattr(Pt2, "read", wrong)
    with pytest.raises(RunError, match=r"differs from the original by 0\.01 on 60"):
        fedlab.export_run(run, out=tmp_path / "wrong.pt2")
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_reported(run: fedlab.Run, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--to: there is no format 'tflite'; choose from pt2"):
        fedlab.export_run(run, "tflite")
    with pytest.raises(InputError, match="no client 3; clients go from 0 to 2"):
        fedlab.export_run(run, client=3)
    with pytest.raises(InputError, match=r"--out: '.*' cannot be written"):
        fedlab.export_run(run, "safetensors", out=tmp_path / "file" / "model.safetensors")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        fedlab.load_program(tmp_path / "file")
    with pytest.raises(InputError, match="has no description of a model"):
        fedlab.load_program(run.folder / "model.safetensors")
    monkeypatch.setattr("fedlab.export.formats.onnx.NEEDED", ("onnx", "no_such_module"))
    with pytest.raises(InputError, match=r'no_such_module is not .* "fedlab-sim\[export\]"'):
        fedlab.export_run(run, "onnx")


def test_a_network_that_branches_on_values_is_refused(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return inputs.mean((2, 3)) if inputs.sum() > 0 else inputs.amax((2, 3))

    with pytest.raises(InputError, match=r"torch\.export cannot follow the network"):
        write_and_compare("pt2", Branching(), 8, tmp_path)


def test_an_operator_without_a_translation_is_named(tmp_path: Path) -> None:
    head = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.RReLU())
    with pytest.raises(
        InputError, match=r"translated \(No ONNX function .*rrelu.*use --to pt2"
    ) as c:
        write_and_compare("onnx", head, 2, tmp_path)
    assert "\x1b" not in str(c.value)


def test_the_command_says_what_goes_in(run: fedlab.Run, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    command = ["export", str(run.folder), "--to", "safetensors", "--client", "0"]
    result = CliRunner().invoke(app, [*command, "--out", str(file)])
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "uint8 (batch, 3, 8, 8), 0 to 255" in text
    assert "checked 20 test samples: logits differ by" in text
    assert file.is_file()


# ---------------------------------------------------------------------- every network


def network(name: str, norm: str, strategy: str = "fedavg") -> nn.Module:
    """An untrained network with running statistics as after training."""
    parameters, size = NETWORKS[name]
    chosen = scenario(model={"name": name, "norm": norm, **parameters}, strategy=strategy)
    model = build_model(chosen.model, chosen.strategy, (3, size, size), 4, seed=1)
    generator = torch.Generator().manual_seed(0)
    for path, buffer in model.named_buffers():
        if path.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5, generator=generator)
    for path, parameter in model.named_parameters():
        if path.endswith(("gain", "skip_gain", "bias")):
            parameter.data.uniform_(0.5, 1.5, generator=generator)
    return model.eval().requires_grad_(False)


def write_and_compare(to: str, model: nn.Module, size: int, folder: Path) -> None:
    """Exports a network and compares the file with it on random images."""
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.integers(0, 256, (3, 3, size, size), np.uint8))
    program = Program(model, Standardise(torch.tensor(0.5), torch.tensor(0.25), True)).eval()
    takes = TensorDescription("images", "uint8", ("batch", 3, size, size), (0, 255), "")
    gives = TensorDescription("logits", "float32", ("batch", 4), None, "")
    about = Description({}, 1, None, tuple("abcd"), takes, gives, 0.5, 0.25)
    path = folder / f"model.{to}"
    format_of(to).write(program, images[:2], about, path)
    given = reader(to)(path)(images)
    wanted = model((images / 255 - 0.5) / 0.25)
    torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.slow_except("mlp")
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in LARGE])
def test_every_network_can_be_exported(name: str, tmp_path: Path) -> None:
    norm = "group" if name == "digits_cnn" else "batch"
    write_and_compare("onnx", network(name, norm), NETWORKS[name][1], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "to"),
    [("resnet20", "onnx"), ("mobilenet_v2", "onnx"), ("resnet18", "pt2"), ("alexnet", "pt2")],
)
def test_every_large_network_can_be_exported(name: str, to: str, tmp_path: Path) -> None:
    norm = "group" if to == "pt2" else "batch"
    write_and_compare(to, network(name, norm), NETWORKS[name][1], tmp_path)


@pytest.mark.parametrize(
    "name", ["small_cnn", "digits_cnn", "resnet20", "mobilenet_v2", "resnet18", "alexnet"]
)
@pytest.mark.slow
def test_standardised_kernels_are_folded(name: str) -> None:
    model = network(name, "batch", strategy="fedwon")
    size = NETWORKS[name][1]
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    before = model(images)
    tensors = len(model.state_dict())
    folded = fold_weight_standardisation(model)
    assert not any(isinstance(module, WSConv2d) for module in folded.modules())
    assert len(folded.state_dict()) < tensors
    torch.testing.assert_close(folded(images), before)
