"""CCST: styles and painted images by hand, what travels, and a client's round."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from fedlab import rng
from fedlab.clients.base import Received
from fedlab.clients.ccst import painted, style_of
from fedlab.engine.execution.batch_schedule import plan_round
from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.simulation import simulate
from helpers import toy
from helpers.cohorts import MODELS, runtime_of

STYLES = {
    "means": torch.tensor([[5.0], [0.0]]),
    "deviations": torch.tensor([[1.0], [3.0]]),
    "own": torch.tensor([False, True]),
}


def test_an_image_is_painted_by_hand() -> None:
    image = torch.tensor([0.0, 2.0]).view(1, 1, 1, 2)
    images = image.repeat(2, 1, 1, 1)
    found = painted(images, STYLES, torch.tensor([0, 1]))
    assert found[0].flatten().tolist() == pytest.approx([4.292893, 5.707107], abs=1e-6)
    assert torch.equal(found[1], image[0])  # the client's own style leaves it as it is
    flat = painted(torch.ones(1, 1, 2, 2), STYLES, torch.tensor([0]))
    assert flat.flatten().tolist() == [5.0] * 4


def test_a_style_is_of_all_pixels_of_all_images() -> None:
    images = torch.tensor([[[[0.0, 2.0]], [[1.0, 1.0]]], [[[4.0, 6.0]], [[1.0, 5.0]]]])
    style = style_of(images)
    assert style["means"].tolist() == [3.0, 2.0]
    assert style["deviations"].tolist() == pytest.approx([(20 / 3) ** 0.5, 2.0])


@pytest.mark.usefixtures("double")
def test_a_step_is_that_written_out() -> None:
    training = {"batch_size": "full", "optimizer": {"lr": 0.05}}
    runtime = runtime_of(
        strategy={"name": "ccst", "strength": 0.5}, model=MODELS["cnn-batch"], training=training
    )
    model = copy.deepcopy(runtime.trainer.task.model).train()
    down = {n: t.clone() for n, t in model.state_dict().items()}
    bank = {
        "clients": torch.tensor([0, 1, 2]),
        "means": torch.randn(3, 3),
        "deviations": torch.rand(3, 3),
    }
    kept = runtime.answer(1, "keep", Received({"styles": bank})).client_state
    assert kept["styles"]["own"].tolist() == [False, True, False]
    received = Received({"arrays": down}, {"server-round": 1, "rounds": 3})
    update, metrics = runtime.train(1, received, kept)

    data = runtime.client_data(1)
    keys: dict[str, Any] = {"seed": runtime.scenario.seed, "client": 1, "server_round": 1}
    ((rows,),) = plan_round(runtime.trainer, data, batch_size="full", **keys).phases
    images, labels = runtime.preprocess.inputs(data.inputs[rows]), data.labels[rows]
    with rng.seeded(runtime.scenario.seed, "dropout", 1, 1):
        drawn = torch.randint(3, (len(images),)).tolist()
    assert set(drawn) == {0, 1, 2}
    inputs = images.clone()
    for place, style in enumerate(drawn):
        for channel in range(3 if style != 1 else 0):
            pixels = images[place, channel]
            new = (pixels - pixels.mean()) / pixels.std() * bank["deviations"][style, channel]
            inputs[place, channel] = (pixels + new + bank["means"][style, channel]) / 2
    loss = cross_entropy(model(inputs), labels)
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.05).step()
    assert metrics["loss"] == pytest.approx(loss.item())
    torch.testing.assert_close(update.arrays["arrays"], dict(model.state_dict()))
    assert not runtime.trainer.supports_vmap


def test_styles_travel_once(tmp_path: Path) -> None:
    chosen = toy.scenario(strategy="ccst", model={"name": "mlp", "hidden": [6]})
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    history = run.history.query("split == 'round'").set_index(["round", "metric"]).value
    model, style = 4 * (192 * 6 + 6 + 6 * 4 + 4), 4 * 2 * 3
    assert history[1, "bytes_up"] == 3 * (model + style)
    assert history[1, "bytes_down"] == 3 * (2 * model + 3 * (style + 8))
    assert history[2, "bytes_up"] == 3 * model
    assert history[2, "bytes_down"] == 3 * 2 * model


def test_noise_blurs_what_is_sent() -> None:
    asked = Received({}, {"seed": 3})
    exact, blurred = (
        runtime_of(strategy={"name": "ccst", "noise": noise}).answer(0, "style", asked)
        for noise in (0.0, 0.5)
    )
    apart = blurred.arrays["style"]["means"] - exact.arrays["style"]["means"]
    assert 0.01 < apart.abs().max() < 3
    assert (blurred.arrays["style"]["deviations"] >= 0).all()


def test_features_are_refused() -> None:
    features = {"name": "warm_up"}
    data = {"sources": [{"name": "helpers.toy:Stripes"}], "image_size": 8, "features": features}
    with pytest.raises(InputError, match="ccst paints images"):
        prepare(toy.scenario(strategy="ccst", data=data, model="linear"))
