"""Samples of every shape go through everything: training, tests, files for devices, devices."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fedlab
from fedlab.adaptation.personalise import personalise
from fedlab.data.ids import Ids
from fedlab.data.load import load_data
from fedlab.data.preprocess import Preprocess
from fedlab.data.sample_shape import SampleShape
from fedlab.data.spec import DataSpec
from fedlab.data.trial_samples import placeholder
from fedlab.deploy.device.local_data import load_own_data
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.model_check import checked_model
from fedlab.errors import InputError
from fedlab.models.build import build_model
from fedlab.models.norms import NormPolicy, local_names
from fedlab.models.spec import ModelSpec
from fedlab.preparation import prepare
from fedlab.strategies.parameters import StrategyParameters
from helpers.cohorts import assert_same, both
from helpers.plain_pytorch import round_of_fedavg
from helpers.running import At, result
from helpers.shapes import NETWORKS, SHAPES, VOCABULARY, scenario

ONE = {"clients": 1, "domains": {"name": "mixed"}}
FULL = {"batch_size": "full", "local_steps": 2, "optimizer": {"lr": 0.05}}


# Training


@pytest.mark.parametrize("case", NETWORKS)
def test_many_clients_train_as_one_with_the_numbers_of_each_alone(case: str) -> None:
    prepared = prepare(scenario(case, engine={"execution": "vmap"}, partition={"clients": 3}))
    cpu = torch.device("cpu")
    runtime = Runtime(prepared.scenario, prepared.data, prepared.partition, cpu)
    assert runtime.trainer.supports_vmap
    assert_same(*both(runtime, rounds=1))


@pytest.mark.slow_for("series-gru", "series-cnn1d", "map-small_cnn")
@pytest.mark.parametrize("case", NETWORKS)
def test_one_round_of_one_client_is_plain_pytorch(case: str, tmp_path: Path) -> None:
    single = scenario(case, rounds=1, partition=ONE, training=FULL)
    run = fedlab.simulate(single, out=tmp_path / "run", progress=False)
    expected = round_of_fedavg(single)
    for name, tensor in run.model_state().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-6)


def test_normalisation_layers_of_any_number_of_axes_stay_at_home() -> None:
    for case, layer in (("series-cnn1d", nn.BatchNorm1d), ("volume-cnn3d", nn.BatchNorm3d)):
        model = prepare(scenario(case, strategy="fedbn")).model
        own = {p for p, each in model.named_modules() if isinstance(each, layer)}
        names = local_names(model, NormPolicy.LOCAL_ALL)
        assert own
        assert {name.rpartition(".")[0] for name in names} == own
    grouped = prepare(scenario("volume-cnn3d", model=NETWORKS["volume-cnn3d"] | {"norm": "group"}))
    assert any(isinstance(each, nn.GroupNorm) for each in grouped.model.modules())


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case == "ids-transformer" else pytest.mark.slow)
        for case in NETWORKS
    ],
)
def test_a_run_that_was_cut_off_resumes_to_the_same_bytes(case: str, tmp_path: Path) -> None:
    whole = scenario(
        case, rounds=2, strategy="fedbn" if "text" not in case and "cnn" in case else "fedavg"
    )
    fedlab.simulate(whole, out=tmp_path / "whole", progress=False)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fedlab.simulate(whole, out=tmp_path / "cut", progress=False, callbacks=[At(1, stop)])
    fedlab.resume(tmp_path / "cut", progress=False)
    assert result(tmp_path / "cut") == result(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("case", NETWORKS)
def test_clients_make_their_models_their_own(case: str, tmp_path: Path) -> None:
    run = fedlab.simulate(scenario(case), out=tmp_path / "run", progress=False)
    assert len(personalise(run, steps=2)) == 2


# Files for devices


def exported(case: str, to: str, folder: Path) -> None:
    run = fedlab.simulate(scenario(case, rounds=1), out=folder / "run", progress=False)
    done = fedlab.export_run(run, to)
    assert done.comparison.largest <= done.comparison.allowed
    data = load_data(run.scenario.data)
    inputs = Preprocess(run.scenario.data, data).inputs(torch.from_numpy(data.test.inputs))
    network = checked_model(run.scenario, data)
    network.load_state_dict(run.model_state())
    with torch.no_grad():
        expected = network.eval()(inputs)
    stored = torch.from_numpy(data.test.inputs)
    if to == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
        (taken,) = session.get_inputs()
        assert taken.name == ("ids" if case.startswith("ids") else "features")
        given = torch.from_numpy(session.run(None, {taken.name: stored.numpy()})[0])
    elif to == "pt2":
        given = torch.export.load(done.path).module()(stored)
    else:
        given = fedlab.load_program(done.path)(stored)
    torch.testing.assert_close(given.detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow_except("ids-transformer")
@pytest.mark.parametrize("case", ["series-gru", "volume-cnn3d", "ids-transformer"])
def test_a_file_gives_what_the_network_gives(case: str, tmp_path: Path) -> None:
    exported(case, "safetensors" if case.startswith("ids") else "pt2", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["pt2", "onnx", "safetensors"])
@pytest.mark.parametrize("case", NETWORKS)
def test_every_file_gives_what_the_network_gives(case: str, to: str, tmp_path: Path) -> None:
    exported(case, to, tmp_path)


# Devices


def written(folder: Path, shape: str, **data: Any) -> fedlab.Scenario:
    """A scenario over two files of a shape."""
    generator = np.random.default_rng(0)
    sources = []
    for name in ("north", "south"):
        size = (40, *SHAPES[shape])
        drawn = generator.integers(0, VOCABULARY, size) if shape == "ids" else None
        x = generator.normal(size=size) if drawn is None else drawn
        np.savez(folder / f"{name}.npz", x_train=x, y_train=np.arange(40) % 3)
        sources.append({"name": "npz", "path": f"{name}.npz"})
    case = next(case for case in NETWORKS if case.startswith(shape))
    stated = scenario(case).data.model_dump(include={"inputs", "ids"})
    if shape != "ids":
        stated["normalisation"] = {"mean": 0, "std": 1}
    block = {"sources": sources, "root": str(folder), **stated, **data}
    return scenario(case, data=block, strategy="fedavg")


@pytest.mark.parametrize("shape", SHAPES)
def test_devices_train_the_network_of_the_server(shape: str, tmp_path: Path) -> None:
    whole = written(tmp_path, shape)
    setup = setup_of(whole)
    invited = setup.invitation("run", whole)
    values = whole.model_dump(mode="json")
    own = load_own_data(values, tmp_path / "south.npz", None, invited.classes, tuple(invited.shape))
    assert own.data.input_shape == setup.shape == SHAPES[shape]
    theirs = checked_model(own.scenario, own.data).state_dict()
    for name, tensor in setup.model.state_dict().items():
        assert torch.equal(tensor, theirs[name])


def test_devices_get_what_they_cannot_know(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.ids\.vocabulary: it is taken from all samples"):
        setup_of(written(tmp_path, "ids", ids={"pad": 0}))
    with pytest.raises(InputError, match=r"--classes: the shape .* data\.inputs is 'ids'"):
        setup_of(written(tmp_path, "ids"), ["a", "b", "c"])
    whole = written(tmp_path, "series")
    np.savez(tmp_path / "odd.npz", x_train=np.zeros((9, 2, 5)), y_train=np.arange(9) % 3)
    values = whole.model_dump(mode="json")
    with pytest.raises(InputError, match=r"give it samples of that shape, 2, 10"):
        load_own_data(values, tmp_path / "odd.npz", None, tuple("012"), (2, 10))


# Kinds of inputs


def read(folder: Path, x: Any, source: dict | None = None, **fields: Any):
    np.savez(folder / "a.npz", x_train=x, y_train=np.arange(len(x)) % 2)
    block = {"sources": [{"name": "npz", "path": "a.npz", **(source or {})}], "root": folder}
    spec = DataSpec.model_validate(block | fields)
    data = load_data(spec)
    batch = Preprocess(spec, data).inputs(torch.from_numpy(np.array(data.train.inputs)))
    return data, batch


@pytest.mark.parametrize("shape", [(2, 16), (2, 5, 7), (2, 3, 4, 5), (2, 2, 2, 2, 2)])
def test_numbers_of_any_shape_are_standardised_by_channel(tmp_path: Path, shape: tuple) -> None:
    x = np.random.default_rng(0).normal(3, [2.0, 30.0], (40, *shape[1:], 2))
    x = np.moveaxis(x, -1, 1)
    data, batch = read(tmp_path, x, inputs="numbers")
    assert data.input_shape == shape
    assert data.train.inputs.dtype == np.float32
    axes = (0, *range(2, batch.dim()))
    torch.testing.assert_close(batch.mean(axes), torch.zeros(2), rtol=0, atol=1e-5)
    torch.testing.assert_close(batch.std(axes, correction=0), torch.ones(2), rtol=0, atol=1e-5)
    by_hand = (x.astype(np.float32) - 3.0) / 2.0
    _, batch = read(tmp_path, x, inputs="numbers", normalisation={"mean": 3.0, "std": [2.0, 2.0]})
    assert np.isin(batch.numpy().round(3), by_hand.round(3)).mean() > 0.99


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "?"])
def test_volumes_of_whole_numbers_are_numbers_where_that_is_said(tmp_path: Path, kind: str) -> None:
    x = np.random.default_rng(0).integers(0, 2, (20, 1, 3, 4, 5)).astype(kind)
    data, batch = read(tmp_path, x, inputs="numbers", normalisation="none")
    assert batch.dtype == torch.float32
    assert set(np.unique(data.train.inputs)) == {0.0, 1.0}
    with pytest.raises(InputError, match=r"any shape, channels first, with data\.inputs=numbers"):
        read(tmp_path, x)


def ragged(*lengths: int, kind: type = np.ndarray) -> np.ndarray:
    made = np.empty(len(lengths), object)
    for place, length in enumerate(lengths):
        own = np.arange(1, length + 1)
        made[place] = own if kind is np.ndarray else own.tolist()
    return made


@pytest.mark.parametrize("kind", [np.ndarray, list])
def test_sequences_are_filled_up_and_cut(
    tmp_path: Path, kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    x = ragged(*[2, 5, 3, 4, 1] * 4, kind=kind)
    data, batch = read(tmp_path, x, inputs="ids", ids={"pad": 0, "length": 3})
    assert batch.dtype == torch.int64
    assert data.ids == Ids(vocabulary=4, pad=0, length=3)
    assert {tuple(row) for row in data.train.inputs.tolist()} == {(1, 2, 3), (1, 2, 0), (1, 0, 0)}
    assert (
        "cut 8 sequences of more than 3 ids, filled up 8 shorter sequences (of 20)" in caplog.text
    )
    data, _ = read(tmp_path, x, inputs="ids", ids={"pad": 9})
    assert data.ids == Ids(vocabulary=10, pad=9, length=5)
    with pytest.raises(InputError, match=r"have 1 to 5 ids; say with data\.ids\.pad which id"):
        read(tmp_path, x, inputs="ids")
    with pytest.raises(InputError, match=r"Python objects; sequences of different lengths"):
        read(tmp_path, x, inputs="numbers")


class Evil:
    """Would run a command where a pickle is trusted."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("it was run",))


@pytest.mark.parametrize("odd", [Evil(), [[1, 2], [3]], 0.5, ["a"], np.zeros((2, 2), int)])
def test_objects_that_are_no_sequences_are_refused(tmp_path: Path, odd: Any) -> None:
    x = ragged(*[3] * 10)
    x[4] = odd
    with pytest.raises(InputError, match=r"data\.sources\.0"):
        read(tmp_path, x, inputs="ids", ids={"pad": 0})


@pytest.mark.parametrize(
    ("x", "fields", "message"),
    [
        (np.full((20, 4), 24), {"ids": {"vocabulary": 10}}, r"has the id 24, .*has the ids 0 to 9"),
        (np.full((20, 4), -1), {}, r"go down to -1; number them from 0"),
        (np.full((20, 4), 0.5), {}, r"not whole, and data\.inputs says 'ids'"),
        (np.zeros((20, 2, 4)), {}, r"shape \(16, 2, 4\); data\.inputs=ids takes whole numbers"),
    ],
)
def test_what_are_no_ids_is_refused(tmp_path: Path, x: Any, fields: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, x, inputs="ids", **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ids": {"pad": 0}}, "ids says what ids are, and inputs is 'auto'"),
        ({"inputs": "ids", "normalisation": {"mean": 0}}, "ids are names that cannot be scaled"),
        ({"inputs": "ids", "features": "warm_up"}, "features 'warm_up' are those of images"),
        ({"inputs": "ids", "ids": {"vocabulary": 5, "pad": 5}}, "pad 5 is no id of a vocabulary"),
        ({"inputs": "numbers", "augmentation": {"flip": True}}, "augmentation changes images"),
    ],
)
def test_keys_that_would_do_nothing_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataSpec.model_validate({"sources": [{"name": "npz", "path": "a.npz"}]} | fields)


def test_inputs_are_what_the_scenario_says(tmp_path: Path) -> None:
    series = np.zeros((20, 2, 4), np.float32)
    with pytest.raises(InputError, match=r"float32, and data\.inputs says 'images'"):
        read(tmp_path, series, {"series": True}, inputs="images")
    whole = np.arange(80).reshape(20, 4)
    assert read(tmp_path, whole, inputs="numbers", normalisation="none")[1].dtype == torch.float32
    assert read(tmp_path, whole, inputs="ids")[1].dtype == torch.int64
    with pytest.raises(InputError, match=r"has 3 numbers, but the samples have 2 channels"):
        read(tmp_path, series, inputs="numbers", normalisation={"mean": [0, 1, 2]})


# Networks


IDS = SampleShape((6,), Ids(vocabulary=9, pad=0))


def build(name: str, shape: tuple[int, ...], **parameters: Any) -> nn.Module:
    spec = ModelSpec.choose({"name": name, **parameters})
    return build_model(spec, StrategyParameters(name="fedavg"), shape, 3, 0).eval()


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("small_cnn", (2, 16), r"takes images .* shape \(2, 16\); choose 'cnn1d', 'gru'"),
        ("resnet20", (1, 8, 8, 8), r"takes images .*; choose 'cnn3d'"),
        ("mlp", IDS, r"takes numbers but the data have samples of 6 ids; choose 'transformer'"),
        ("cnn1d", (3, 8, 8), r"takes series .*; choose 'small_cnn'"),
        ("gru", (3, 8, 8), r"takes series .*; choose 'small_cnn'"),
        ("transformer", (7,), r"takes ids \(length\) .*where they are ids, say data\.inputs=ids"),
        ("text_mean", (2, 16), r"takes ids .* choose 'cnn1d'"),
        ("cnn3d", (3, 8, 8), r"takes volumes .*; choose 'small_cnn'"),
        ("cnn3d", (1, 8, 4, 8), r"at least 8x8x8 but the data have 8x4x8"),
        ("text_cnn", SampleShape((4,), Ids(vocabulary=9)), r"phrases of 5 ids, and a sample has 4"),
    ],
)
def test_a_network_for_other_samples_is_refused_with_those_that_suit(name, shape, message) -> None:
    with pytest.raises(InputError, match=message):
        build(name, shape)


@pytest.mark.parametrize(("name", "theirs"), [("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_recurrent_networks_have_pytorchs_equations(name: str, theirs: Any) -> None:
    model: Any = build(name, (3, 8), width=5, layers=2)
    reference = theirs(3, 5, num_layers=2, batch_first=True)
    for place, layer in enumerate(model.layers):
        for kind, dense in (("ih", layer.inputs), ("hh", layer.hidden)):
            getattr(reference, f"weight_{kind}_l{place}").data.copy_(dense.weight)
            getattr(reference, f"bias_{kind}_l{place}").data.copy_(dense.bias)
    series = torch.randn(4, 3, 8)
    expected = model.head(reference(series.transpose(1, 2))[0][:, -1])
    torch.testing.assert_close(model(series), expected)


def test_a_block_of_the_transformer_is_pytorchs() -> None:
    model: Any = build("transformer", IDS, width=8, layers=1, heads=2)
    (ours,) = model.blocks
    theirs = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    theirs.self_attn.in_proj_weight.data.copy_(ours.attention.project.weight)
    theirs.self_attn.in_proj_bias.data.copy_(ours.attention.project.bias)
    theirs.self_attn.out_proj.load_state_dict(ours.attention.join.state_dict())
    theirs.linear1.load_state_dict(ours.dense[0].state_dict())
    theirs.linear2.load_state_dict(ours.dense[2].state_dict())
    nn.init.normal_(ours.norm1.weight)
    theirs.norm1.load_state_dict(ours.norm1.state_dict())
    vectors, there = torch.randn(3, 6, 8), torch.ones(3, 6)
    there[1, 4:] = 0
    expected = theirs.train()(vectors, src_key_padding_mask=there == 0)
    known = there.bool()
    torch.testing.assert_close(ours(vectors, there)[known], expected[known])


@pytest.mark.parametrize("name", ["transformer", "gru", "lstm", "text_mean"])
def test_what_fills_up_changes_nothing(name: str) -> None:
    short = build(name, SampleShape((4,), IDS.ids))
    long = build(name, SampleShape((9,), IDS.ids))
    state = {n: t for n, t in short.state_dict().items() if "positions" not in n}
    long.load_state_dict(state, strict=False)
    if name == "transformer":
        long.get_submodule("positions").weight.data[:4] = short.get_submodule("positions").weight
    ids = torch.tensor([[3, 5, 1, 2], [8, 1, 0, 0], [0, 0, 0, 0]])
    filled = nn.functional.pad(ids, (0, 5))
    torch.testing.assert_close(long(filled), short(ids))
    assert long(filled).isfinite().all()


def test_a_shape_of_ids_is_a_tuple_that_keeps_its_vocabulary() -> None:
    again = pickle.loads(pickle.dumps(IDS))
    assert again == (6,)
    assert again.ids == IDS.ids
    assert placeholder(IDS).max() < 9
    assert placeholder((2, 4)).shape == (2, 2, 4)
