"""MOON: its contrastive term, its projection head, and the model that clients remember."""

from __future__ import annotations

import copy
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy

from fedlab.clients.base import Received
from fedlab.clients.moon import contrast
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.simulation import resume, simulate
from helpers import toy
from helpers.cohorts import MODELS, assert_same, both, ragged, runtime_of
from helpers.running import At, on, result

MOON = {"name": "moon", "mu": 5.0, "projection": 6}
FULL = {"batch_size": "full", "optimizer": {"lr": 0.1}}


def initial(runtime: Runtime, shift: float = 0.0) -> Tensors:
    """The initial model, or one whose weights were all moved."""
    state = runtime.trainer.task.model.state_dict()
    return {n: t + shift if t.is_floating_point() else t.clone() for n, t in state.items()}


def received(model: Tensors, server_round: int = 1) -> Received:
    return Received({"arrays": model}, {"server-round": server_round, "rounds": 5})


def test_the_term_by_hand() -> None:
    own = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    near = torch.tensor([[0.0, 3.0], [0.0, 5.0]])
    far = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    # Cosines 0 and 1, then 1 and -1; divided by 0.5.
    expected = (log(1 + exp(2)) + log(1 + exp(-4))) / 2
    assert contrast(own, near, far, tau=0.5).item() == pytest.approx(expected)


def test_the_projection_head_comes_before_the_last_layer() -> None:
    model = prepare(toy.scenario(strategy=MOON, model=MODELS["mlp"])).model
    dense = [module for module in model.modules() if isinstance(module, nn.Linear)]
    shapes = [(layer.in_features, layer.out_features) for layer in dense]
    assert shapes == [(192, 16), (16, 16), (16, 6), (6, 4)]
    plain = prepare(toy.scenario(strategy=MOON | {"projection": None}, model=MODELS["mlp"])).model
    assert len([module for module in plain.modules() if isinstance(module, nn.Linear)]) == 2


@pytest.mark.slow_except("linear")
@pytest.mark.parametrize("model", ["resnet20", "mobilenet_v2", "linear"])
def test_every_network_can_be_given_one(model: str) -> None:
    prepared = prepare(toy.scenario(strategy=MOON, model={"name": model}))
    images = torch.zeros(1, *prepared.data.input_shape)
    assert prepared.model.eval()(images).shape == (1, toy.CLASSES)


def test_a_network_without_representations_is_refused() -> None:
    with pytest.raises(InputError, match="projection=256"):
        prepare(toy.scenario(strategy=MOON | {"projection": None}, model={"name": "linear"}))


@pytest.mark.usefixtures("double")
def test_two_rounds_are_those_of_plain_pytorch() -> None:
    runtime = runtime_of(strategy=MOON, model=MODELS["cnn-batch"], training=FULL)
    first, second = initial(runtime), initial(runtime, shift=0.01)
    update, _ = runtime.train(0, received(first), {})
    last = update.arrays["arrays"]
    update, metrics = runtime.train(0, received(second, 2), update.client_state)

    def network(state: Tensors) -> nn.Module:
        model = copy.deepcopy(runtime.trainer.task.model)
        model.load_state_dict(state)
        return model

    learner, near, far = network(second).train(), network(second).eval(), network(last).eval()
    data = runtime.client_data(0)
    images = runtime.preprocess.inputs(data.inputs)
    heard: list[torch.Tensor] = []
    for model in (learner, near, far):
        runtime_head = model.get_submodule(runtime.trainer.task.head.path)
        runtime_head.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    outputs, _, _ = learner(images), near(images), far(images)
    cosines = torch.stack([cosine_similarity(heard[0], other) for other in heard[1:]], dim=1)
    towards = torch.zeros(len(images), dtype=torch.int64)
    loss = cross_entropy(outputs, data.labels) + 5.0 * cross_entropy(cosines / 0.5, towards)
    loss.backward()
    torch.optim.SGD(learner.parameters(), lr=0.1).step()
    assert metrics["loss"] == pytest.approx(loss.item())
    torch.testing.assert_close(update.arrays["arrays"], learner.state_dict())


def test_a_client_without_a_last_model_trains_as_in_fedavg() -> None:
    updates = []
    for mu in (5.0, 0.0):
        runtime = runtime_of(strategy=MOON | {"mu": mu}, training=FULL)
        updates.append(runtime.train(0, received(initial(runtime)), {}))
    (with_term, metrics), (without, plain) = updates
    assert metrics["loss"] == pytest.approx(plain["loss"] + 5.0 * log(2), rel=1e-5)
    torch.testing.assert_close(with_term.arrays, without.arrays)


def test_only_the_model_goes_up_and_the_same_model_stays() -> None:
    runtime = runtime_of(strategy=MOON, model=MODELS["cnn-batch"])
    down = initial(runtime)
    update, _ = runtime.train(0, received(down), {})
    assert update.arrays.keys() == {"arrays"}
    assert update.client_state.keys() == {"previous"}
    for sent in (update.arrays["arrays"], update.client_state["previous"]):
        assert {name: tensor.shape for name, tensor in sent.items()} == {
            name: tensor.shape for name, tensor in down.items()
        }
    torch.testing.assert_close(update.client_state["previous"], update.arrays["arrays"])


@pytest.mark.slow_except("mlp")
@pytest.mark.parametrize("model", ["mlp", "cnn-batch"])
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(model: str) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.01}}
    runtime = ragged(strategy=MOON, model=MODELS[model], training=training)
    assert runtime.trainer.supports_vmap
    assert_same(*both(runtime), 1e-9)
    assert all(module.training for module in runtime.trainer.task.model.modules())


def scenario(**changes: Any) -> Any:
    fields = {"strategy": MOON, "model": {"name": "small_cnn", "widths": [4, 4, 4]}, "rounds": 4}
    return toy.scenario(**fields | changes)


@pytest.mark.slow  # test_engine interrupts every method; this is with its own parameters
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    simulate(scenario(), out=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        simulate(scenario(), out=tmp_path / "cut", callbacks=[At(2, interrupt)], progress=False)
    resume(tmp_path / "cut", progress=False)
    assert result(tmp_path / "whole") == result(tmp_path / "cut")


@pytest.mark.slow  # test_control_variates has a method on Ray whose clients keep tensors
@pytest.mark.usefixtures("ray_here")
def test_ray_and_one_process_end_in_the_same_bytes(tmp_path: Path) -> None:
    for backend in ("local", "ray"):
        chosen = scenario(rounds=2, resources=on(backend))
        simulate(chosen, out=tmp_path / backend, progress=False)
    assert result(tmp_path / "local") == result(tmp_path / "ray")
