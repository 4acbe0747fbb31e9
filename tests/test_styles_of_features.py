"""Styles of features (CCST, PARDON): by hand and by NumPy, and a client's round."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fedlab import rng
from fedlab.clients.base import Received, Update
from fedlab.clients.ccst import painted
from fedlab.clients.families.styles import LEAST_OF_MAPS, restyled
from fedlab.clients.pardon import style_of
from fedlab.engine.execution.batch_schedule import plan_round
from fedlab.engine.execution.runtime import Runtime
from fedlab.models.anatomy import study
from fedlab.models.first_stage import find_first_stage
from helpers.cohorts import MODELS, assert_same, runtime_of
from helpers.pardon_by_hand import SETTINGS, pardon_loss

CNN = MODELS["cnn-group"]
STAGE = 4  # convolution, normalisation, ReLU, pooling
CHANNELS = 4


def block(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "styles": "features", **more}


def state_of(runtime: Runtime) -> dict[str, Tensor]:
    return {n: t.clone() for n, t in runtime.trainer.task.model.state_dict().items()}


def asked(runtime: Runtime, client: int, state: dict[str, Tensor]) -> Update:
    return runtime.answer(client, "style", Received({"arrays": state}, {"seed": 3}))


def test_maps_are_restyled_by_hand() -> None:
    """The convolution leaves images as they are, and the layer behind it sees (5 ± 1/√2)."""
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False))
    for layer in model:
        nn.init.ones_(layer.weight)  # type: ignore[arg-type]
    image = torch.tensor([0.0, 2.0]).view(1, 1, 1, 2)
    stage = find_first_stage(study(model, image.repeat(2, 1, 1, 1)))
    assert stage is not None
    bank = {"means": torch.tensor([[5.0]]), "deviations": torch.tensor([[1.0]])}
    styles = bank | {"own": torch.tensor([False])}
    with stage.changed(lambda maps: painted(maps, styles, torch.tensor([0]), LEAST_OF_MAPS)):
        assert model(image).flatten().tolist() == pytest.approx([4.292893, 5.707107], abs=1e-6)
    assert model(image).flatten().tolist() == [0.0, 2.0]


def test_flat_maps_have_finite_gradients() -> None:
    maps = torch.zeros(1, 2, 2, 2)
    maps[0, 1, 0, 0] = 1e-7  # a ReLU that only just lets something through
    maps.requires_grad_()
    restyled(maps, torch.ones(2), torch.ones(2), LEAST_OF_MAPS).square().sum().backward()
    assert maps.grad is not None
    assert maps.grad.abs().max() < 3000


@pytest.mark.parametrize("model", [CNN, MODELS["cnn-batch"]], ids=["group", "batch"])
def test_a_style_is_of_the_maps_of_the_received_model_over_all_images(model: Any) -> None:
    runtime = runtime_of(400, strategy=block("ccst"), model=model)
    down = state_of(runtime)
    for name, tensor in down.items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=rng.torch_generator(0, name)) + 0.1)
    style = asked(runtime, 1, down).arrays["style"]

    data = runtime.client_data(1)
    assert len(data.labels) > 200  # more than fit into one pass
    network = copy.deepcopy(runtime.trainer.task.model).eval()
    network.load_state_dict(down)
    with torch.no_grad():
        maps = network[:STAGE](runtime.preprocess.inputs(data.inputs))  # type: ignore[index]
    pixels = np.moveaxis(maps.double().numpy(), 1, 0).reshape(CHANNELS, -1)
    np.testing.assert_allclose(style["means"].numpy(), pixels.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(style["deviations"].numpy(), pixels.std(axis=1, ddof=1), rtol=1e-5)
    other = asked(runtime, 1, state_of(runtime)).arrays["style"]
    assert (other["means"] - style["means"]).abs().min() > 1e-3

    pardon = runtime_of(400, strategy=block("pardon"), model=model)
    found = asked(pardon, 1, down).arrays["style"]
    torch.testing.assert_close(found, style_of(maps), rtol=1e-4, atol=1e-5)


def test_noise_is_added_to_what_is_sent() -> None:
    exact, blurred = (
        asked(runtime, 0, state_of(runtime)).arrays["style"]
        for runtime in (
            runtime_of(strategy=block("ccst", noise=noise), model=CNN) for noise in (0.0, 0.5)
        )
    )
    assert 0.01 < (blurred["means"] - exact["means"]).abs().max() < 3
    assert (blurred["deviations"] >= 0).all()


# ------------------------------------------------------------------------------ a client's round


def adain(maps: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """The formula for one image, channel by channel."""
    return torch.stack(
        [
            (channel - channel.mean()) / channel.std() * s + m
            for channel, m, s in zip(maps, mean, deviation, strict=True)
        ]
    )


def batch_of(runtime: Runtime) -> tuple[Tensor, Tensor]:
    data = runtime.client_data(1)
    keys: dict[str, Any] = {"seed": runtime.scenario.seed, "client": 1, "server_round": 1}
    ((rows,),) = plan_round(runtime.trainer, data, batch_size="full", **keys).phases
    return runtime.preprocess.inputs(data.inputs[rows]), data.labels[rows]


FULL = {"batch_size": "full", "optimizer": {"lr": 0.05}}


@pytest.mark.usefixtures("double")
def test_a_step_of_ccst_is_that_written_out() -> None:
    runtime = runtime_of(
        strategy=block("ccst", strength=0.5), model=MODELS["cnn-batch"], training=FULL
    )
    model = copy.deepcopy(runtime.trainer.task.model).train()
    bank = {
        "clients": torch.tensor([0, 1, 2]),
        "means": torch.randn(3, CHANNELS),
        "deviations": torch.rand(3, CHANNELS),
    }
    kept = runtime.answer(1, "keep", Received({"styles": bank})).client_state
    received = Received({"arrays": state_of(runtime)}, {"server-round": 1, "rounds": 3})
    update, metrics = runtime.train(1, received, kept)

    images, labels = batch_of(runtime)
    with rng.seeded(runtime.scenario.seed, "dropout", 1, 1):
        drawn = torch.randint(3, (len(images),)).tolist()
    assert set(drawn) == {0, 1, 2}
    maps = model[:STAGE](images)  # type: ignore[index]
    rows = [
        one if k == 1 else (one + adain(one, bank["means"][k], bank["deviations"][k])) / 2
        for one, k in zip(maps, drawn, strict=True)
    ]
    loss = cross_entropy(model[STAGE:](torch.stack(rows)), labels)  # type: ignore[index]
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.05).step()
    assert metrics["loss"] == pytest.approx(loss.item())
    torch.testing.assert_close(update.arrays["arrays"], dict(model.state_dict()))


@pytest.mark.usefixtures("double")
def test_a_step_of_pardon_is_that_written_out() -> None:
    runtime = runtime_of(
        strategy=block("pardon", **SETTINGS), model=MODELS["cnn-batch"], training=FULL
    )
    model = copy.deepcopy(runtime.trainer.task.model).train()
    style = {"means": torch.randn(CHANNELS), "deviations": torch.rand(CHANNELS)}
    kept = runtime.answer(1, "keep", Received({"styles": style})).client_state
    received = Received({"arrays": state_of(runtime)}, {"server-round": 1, "rounds": 3})
    update, metrics = runtime.train(1, received, kept)

    images, labels = batch_of(runtime)
    *body, head = model.children()
    features = nn.Sequential(*body)(images)
    maps = nn.Sequential(*body[:STAGE])(images)
    mixed = [0.75 * one + 0.25 * adain(one, style["means"], style["deviations"]) for one in maps]
    others = nn.Sequential(*body[STAGE:])(torch.stack(mixed))
    loss = pardon_loss(head(features), features, others, labels, runtime.scenario.seed)
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.05).step()
    assert metrics["loss"] == pytest.approx(loss.item())
    torch.testing.assert_close(update.arrays["arrays"], dict(model.state_dict()))


@pytest.mark.parametrize("name", ["ccst", "pardon"])
def test_many_clients_train_as_each_by_itself(name: str) -> None:
    runtime = runtime_of(strategy=block(name), model=CNN)
    style = {"means": torch.rand(2, CHANNELS), "deviations": torch.rand(2, CHANNELS)}
    if name == "pardon":
        style = {part: value[0] for part, value in style.items()}
    else:
        style["clients"] = torch.tensor([0, 1])
    down, clients = Received({"styles": style}), range(len(runtime.partition))
    states = [runtime.answer(k, "keep", down).client_state for k in clients]
    received = Received({"arrays": state_of(runtime)}, {"server-round": 1, "rounds": 3})
    alone = [runtime.train(k, received, states[k]) for k in clients]
    assert_same(alone, runtime.train_many(list(clients), received, states), tolerance=0)
    plain, _ = runtime.train(0, received, {})  # a client that joined later has no styles
    assert any(
        (plain.arrays["arrays"][n] != t).any() for n, t in alone[0][0].arrays["arrays"].items()
    )


@pytest.mark.parametrize("name", ["ccst", "pardon"])
def test_half_precision_trains(name: str) -> None:
    training = FULL | {"precision": "bf16"}
    runtime = runtime_of(strategy=block(name), model=CNN, training=training)
    style = {"means": torch.zeros(CHANNELS), "deviations": torch.ones(CHANNELS)}
    if name == "ccst":
        style = {part: value[None] for part, value in style.items()}
        style["clients"] = torch.tensor([3])
    kept = runtime.answer(0, "keep", Received({"styles": style})).client_state
    received = Received({"arrays": state_of(runtime)}, {"server-round": 1, "rounds": 3})
    _, metrics = runtime.train(0, received, kept)
    assert np.isfinite(metrics["loss"])
    assert asked(runtime, 0, state_of(runtime)).arrays["style"]["means"].dtype == torch.float32
