"""Low-rank adapters: what learns and travels, and that it is what plain PyTorch learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu
from torch.nn.utils import prune

from fedlab import simulate
from fedlab.data.preprocess import Preprocess
from fedlab.errors import InputError
from fedlab.export.export_run import export_run
from fedlab.models.adapters.adapter_checks import check_adapters
from fedlab.models.adapters.lora_layers import add_factors, merge
from fedlab.models.build import build_model
from fedlab.models.spec import ModelSpec
from fedlab.preparation import prepare
from fedlab.runs.run import Run
from fedlab.simulation import resume
from fedlab.strategies.parameters import StrategyParameters
from fedlab.training.task import Task
from helpers.plain_pytorch import round_of_fedavg
from helpers.running import At, result
from helpers.toy import scenario

PLAIN = StrategyParameters(name="fedavg")
LORA = {"name": "lora", "rank": 2, "alpha": 6}
CNN = {"name": "small_cnn", "widths": [4, 4, 8], "adapt": LORA}
MLP = {"name": "mlp", "hidden": [12, 10], "adapt": LORA}


def build(shape: tuple[int, ...] = (3, 8, 8), **block: Any) -> nn.Module:
    return build_model(ModelSpec.choose(block), PLAIN, shape, 4, seed=0)


def run_of(folder: Path, **fields: Any) -> Run:
    return simulate(scenario(**fields), out=folder, progress=False)


def learning(model: nn.Module) -> list[str]:
    return [name for name, each in model.named_parameters() if each.requires_grad]


# ------------------------------------------------------------------------------ what learns


def test_a_network_with_adapters_computes_the_same_at_first() -> None:
    adapted, plain = build(**CNN), build(**CNN | {"adapt": "none"})
    images = torch.randn(3, 3, 8, 8)
    assert torch.equal(adapted.eval()(images), plain.eval()(images))
    assert {*plain.state_dict()} < {*adapted.state_dict()}


def test_only_adapters_and_the_head_learn() -> None:
    factors = [f"{path}.lora_{factor}" for path in (0, 4, 8) for factor in "ab"]
    assert learning(build(**CNN)) == [*factors, "14.weight", "14.bias"]
    named = build(**CNN | {"adapt": LORA | {"targets": ["4"], "also_learn": ["1.*"]}})
    assert learning(named) == ["1.weight", "1.bias", "4.lora_a", "4.lora_b", "14.weight", "14.bias"]
    only_b = build(**CNN | {"adapt": LORA | {"freeze_a": True}})
    assert learning(only_b) == [*factors[1::2], "14.weight", "14.bias"]


@pytest.mark.parametrize(
    "strategy", ["fedavg", "fedprox", "scaffold", "feddyn", "fedavgm", "fedadam", "fednova"]
)
def test_what_does_not_learn_stays_and_does_not_travel(tmp_path: Path, strategy: str) -> None:
    run = run_of(tmp_path / "run", strategy=strategy, model=MLP)
    start = prepare(run.scenario).model
    state = run.model_state()
    numbers = 0
    for name, tensor in start.named_parameters():
        assert torch.equal(state[name], tensor) != tensor.requires_grad, name
        numbers += tensor.numel() * tensor.requires_grad
    history = run.history
    up = history[(history["metric"] == "bytes_up") & (history["round"] == 1)]["value"].sum()
    twice = 2 if strategy == "scaffold" else 1
    assert numbers == 192 * 2 + 2 * 12 + 12 * 2 + 2 * 10 + 10 * 4 + 4
    assert 0 <= up - 3 * 4 * numbers * twice <= 3 * 8  # three clients; FedNova sends a number more


def test_normalisation_stays_still_unless_it_is_to_learn(tmp_path: Path) -> None:
    still = prepare(scenario(model=CNN)).model.train()
    before = {name: tensor.clone() for name, tensor in still.named_buffers()}
    still(torch.randn(8, 3, 8, 8))
    assert all(torch.equal(tensor, before[name]) for name, tensor in still.named_buffers())
    with pytest.raises(InputError, match=r"do not change in training.*also_learn"):
        prepare(scenario(model=CNN, strategy="fedbn"))
    adapt = LORA | {"also_learn": ["1.*", "5.*", "9.*"]}
    run = run_of(tmp_path / "run", model=CNN | {"adapt": adapt}, strategy="fedbn")
    own = [run.model_state(client)["1.running_mean"] for client in range(2)]
    assert not torch.equal(*own)


# -------------------------------------------------------------------------- the same numbers


def test_a_round_is_that_of_plain_pytorch_on_factors(tmp_path: Path) -> None:
    training = {
        "batch_size": "full",
        "local_steps": 3,
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.5},
    }
    one = {"clients": 1, "domains": "mixed"}
    fields = {"rounds": 1, "partition": one, "model": MLP, "training": training}
    prepared = prepare(scenario(**fields))
    state = {name: tensor.detach() for name, tensor in prepared.model.state_dict().items()}
    learnt = {name: state[name].clone().requires_grad_() for name in learning(prepared.model)}

    def dense(x: Tensor, path: str) -> Tensor:
        weight = state[f"{path}.weight"] + 6 / 2 * (
            learnt[f"{path}.lora_b"] @ learnt[f"{path}.lora_a"]
        )
        return x @ weight.T + state[f"{path}.bias"]

    split = prepared.partition[0]
    images = torch.from_numpy(prepared.data.train.inputs[split.train])
    x = Preprocess(prepared.scenario.data, prepared.data).inputs(images).flatten(1)
    optimizer = torch.optim.SGD(learnt.values(), lr=0.1, momentum=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        hidden = relu(dense(relu(dense(x, "1")), "3"))
        outputs = hidden @ learnt["5.weight"].T + learnt["5.bias"]
        cross_entropy(outputs, torch.from_numpy(split.labels)).backward()
        optimizer.step()
    trained = run_of(tmp_path / "run", **fields).model_state()
    for name, tensor in learnt.items():
        torch.testing.assert_close(trained[name], tensor.detach(), rtol=1e-4, atol=1e-6)


def test_a_round_with_convolutions_is_that_of_plain_pytorch(tmp_path: Path) -> None:
    training = {"batch_size": "full", "local_steps": 2, "optimizer": {"lr": 0.1}}
    fields = {"rounds": 1, "model": CNN, "training": training}
    wanted = round_of_fedavg(scenario(**fields))
    trained = run_of(tmp_path / "run", **fields).model_state()
    assert trained.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", [MLP, CNN], ids=["mlp", "small_cnn"])
def test_many_clients_as_one_are_the_same(tmp_path: Path, model: dict[str, Any]) -> None:
    states = [
        run_of(tmp_path / way, model=model, engine={"execution": way}).model_state()
        for way in ("sequential", "vmap")
    ]
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-4, atol=1e-6)


def test_a_resumed_run_has_the_same_bytes(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    whole = run_of(tmp_path / "whole", model=MLP, rounds=3)
    with pytest.raises(KeyboardInterrupt):
        simulate(
            scenario(model=MLP, rounds=3),
            out=tmp_path / "cut",
            progress=False,
            callbacks=[At(2, stop)],
        )
    resume(tmp_path / "cut", progress=False)
    assert result(tmp_path / "cut") == result(whole.folder)


def test_with_a_fixed_the_mean_of_what_is_added_is_what_the_means_add() -> None:
    torch.manual_seed(0)
    a = torch.randn(2, 5)
    b = [torch.randn(4, 2) for _ in range(3)]
    torch.testing.assert_close(sum(each @ a for each in b) / 3, sum(b) / 3 @ a)
    other = [torch.randn(2, 5) for _ in range(3)]
    products = sum(x @ y for x, y in zip(b, other, strict=True)) / 3
    assert not torch.allclose(products, (sum(b) / 3) @ (sum(other) / 3), atol=0.1)
    models = [build(**CNN | {"adapt": LORA | {"freeze_a": True}}) for _ in range(2)]
    assert torch.equal(models[0].get_parameter("0.lora_a"), models[1].get_parameter("0.lora_a"))


def test_dropout_of_adapters_trains_one_by_one(tmp_path: Path) -> None:
    from fedlab.engine.execution.build_trainer import client_trainer_of

    dropping = scenario(model=MLP | {"adapt": LORA | {"dropout": 0.5}})
    trainer = client_trainer_of(dropping, prepare(dropping).model, 4)
    assert not trainer.supports_vmap
    assert isinstance(trainer.task, Task)


# ------------------------------------------------------------------------------------ merging


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(6, 5), (3, 6)),
        (nn.Linear(6, 5, bias=False), (3, 2, 6)),
        (nn.Conv2d(4, 5, 1), (2, 4, 6, 6)),
        (nn.Conv2d(4, 5, 3, stride=2, padding=1, bias=False), (2, 4, 7, 7)),
        (nn.Conv2d(4, 5, (3, 2), padding=2, dilation=2, padding_mode="circular"), (2, 4, 7, 7)),
    ],
)
def test_a_merged_layer_computes_the_same(layer: nn.Module, shape: tuple[int, ...]) -> None:
    inputs = torch.randn(shape)
    plain = layer(inputs)
    add_factors(layer, rank=2, alpha=3, drops=0)
    assert torch.equal(layer(inputs), plain)
    nn.init.normal_(layer.get_parameter("lora_b"))
    merged = merge(nn.Sequential(layer))[0]  # type: ignore[index]
    assert not torch.allclose(layer(inputs), plain)
    assert type(merged) in (nn.Linear, nn.Conv2d)
    torch.testing.assert_close(merged(inputs), layer(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.slow_except("safetensors")
@pytest.mark.parametrize("to", ["pt2", "onnx", "safetensors"])
def test_an_exported_model_is_merged(tmp_path: Path, to: str) -> None:
    run = run_of(tmp_path / "run", model=CNN)
    exported = export_run(run, to)  # compares with the unmerged network on test samples
    assert exported.comparison.same == 1
    has_adapters = any("lora" in name for name in run.model().state_dict())
    assert not has_adapters


class Transformer(nn.Module):
    """Whose layers, in tests, PyTorch computes by one fused function that reads their weights."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(24, 4, 16, dropout=0, batch_first=True)
        self.head = nn.Linear(24, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Rows of images are tokens."""
        return self.head(self.layer(images.transpose(1, 2).flatten(2)).mean(1))


def test_fused_layers_of_a_transformer_count_adapters(tmp_path: Path) -> None:
    model = build(name="test_adapters:Transformer", adapt={"name": "lora", "rank": 2})
    assert "layer.linear1.lora_a" in learning(model)
    images = torch.randn(2, 3, 8, 8)
    check_adapters(model, images)
    nn.init.normal_(model.get_parameter("layer.linear1.lora_b"))
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images), model.train()(images))


# ------------------------------------------------------------------------------------ refused


class Borrows(nn.Module):
    """Uses a layer's weight without calling the layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Linear(192, 8)
        self.head = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Not the layer, but its weight."""
        return self.head(relu(images.flatten(1) @ self.body.weight.T))


class Pruned(nn.Sequential):
    """Half of the body's weights are masked."""

    def __init__(self, classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(192, 8), nn.ReLU(), nn.Linear(8, classes))
        prune.l1_unstructured(self[1], "weight", 0.5)


def test_layers_of_one_tensor_have_adapters_each(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", model={"name": "helpers.odd_networks:Halves", "adapt": LORA})
    state, start = run.model_state(), prepare(run.scenario).model.state_dict()
    for name in ("m.weight", "d.weight"):
        assert torch.equal(state[name], start[name])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": {"name": "test_adapters:Pruned", "adapt": LORA}}, "'1' computes its weight"),
        ({"model": CNN | {"adapt": {"name": "lora", "rank": 9}}}, "adapt.rank: 9 is above 4"),
        (
            {"model": CNN | {"adapt": LORA | {"targets": ["fc1"]}}},
            r"'fc1' matches no dense layer.*has 0, 4, 8; name one of these$",
        ),
        ({"model": CNN | {"adapt": LORA | {"also_learn": ["x"]}}}, "also_learn: 'x' matches no"),
        ({"model": CNN | {"adapt": LORA | {"targets": ["14"]}}}, "besides the head"),
        ({"model": {"name": "linear", "adapt": LORA}}, "no dense layer or ungrouped"),
        ({"model": {"name": "test_adapters:Borrows", "adapt": LORA}}, "in another way than"),
        (
            {"model": CNN, "strategy": {"name": "fedwon", "gamma": 1.7}},
            "fedwon replaces the layer '0'",
        ),
    ],
)
def test_adapters_that_would_not_count_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(scenario(**fields))


def test_freezing_and_adapters_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="leave freeze out"):
        scenario(model=CNN | {"freeze": "backbone"})
