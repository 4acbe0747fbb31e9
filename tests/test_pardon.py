"""PARDON: styles, their median and the triplets by hand, what travels, and a client's round."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fedlab import rng
from fedlab.clients.base import Received
from fedlab.clients.pardon import contrast, style_of
from fedlab.engine.execution.batch_schedule import plan_round
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.preparation import prepare
from fedlab.simulation import simulate
from fedlab.strategies.pardon import PARDON
from helpers import toy
from helpers.cohorts import MODELS, runtime_of
from helpers.pardon_by_hand import SETTINGS, pardon_loss


def test_clusters_of_images_count_the_same_in_a_style() -> None:
    """Two clusters by cosine: three images along (1, 1), two along (1, -1)."""
    rows = [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [2.0, -2.0], [4.0, -4.0]]
    style = style_of(torch.tensor(rows).view(5, 1, 1, 2))
    mean = (2.0 + 0.0) / 2
    square = (14 / 3 + 10.0) / 2
    assert style["means"].tolist() == pytest.approx([mean])
    assert style["deviations"].tolist() == pytest.approx([(square - mean**2) ** 0.5], abs=1e-4)
    alike = style_of(torch.ones(4, 2, 3, 3))
    assert alike["means"].tolist() == [1.0, 1.0]
    assert alike["deviations"].tolist() == pytest.approx([1e-5**0.5] * 2, rel=1e-3)


def test_the_style_is_the_median_of_the_first_partitions_clusters() -> None:
    strategy = PARDON(nn.Linear(2, 2))
    # Pairs of clients nearest to one another by cosine: clusters with means 1, 2 and 9.
    means = torch.tensor([[0.9], [1.1], [2.0], [2.0], [8.0], [10.0]])
    deviations = torch.tensor([[0.9], [1.1], [0.2], [0.2], [0.08], [0.1]])
    answers = [ClientUpdate(client, {}) for client in range(6)]
    made = strategy.made_of({"means": means, "deviations": deviations}, answers)
    assert made["means"].tolist() == pytest.approx([2.0])
    assert made["deviations"].tolist() == pytest.approx([0.2])
    # A fourth pair. The next partition has two clusters: it is not taken.
    means, deviations = (
        torch.cat([t, t.new_full((2, 1), v)]) for t, v in ((means, 0.3), (deviations, 1.0))
    )
    made = strategy.made_of({"means": means, "deviations": deviations}, answers)
    assert made["means"].tolist() == pytest.approx([1.5])  # between 1 and 2
    assert made["deviations"].tolist() == pytest.approx([0.6])
    made = strategy.made_of({"means": means[:1], "deviations": deviations[:1]}, answers[:1])
    assert made["means"].tolist() == pytest.approx([0.9])


def test_triplets_by_hand() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 3.0], [0.0, 1.0]])
    painted = torch.tensor([[0.0, 5.0], [0.0, 2.0], [4.0, 0.0]])
    labels = torch.tensor([0, 1, 1])
    with rng.torch_seed(0, "test"):
        drawn = [contrast(features, painted, labels, 0.3).item() for _ in range(40)]
    # Of length 1. Image 0 is √2 from its painted one, and √2 or 0 from those of class 1. For the
    # others, image 0's is the only one of another class, at 0; from their own they are at 0 and √2.
    far = 2**0.5
    likely = {(each + 0.3 + (far + 0.3)) / 3 for each in (0.3, far + 0.3)}
    assert {round(each, 4) for each in drawn} == {round(each, 4) for each in likely}
    assert contrast(features, painted, torch.tensor([1, 1, 1]), 0.3) == 0


@pytest.mark.usefixtures("double")
def test_a_step_is_that_written_out() -> None:
    training = {"batch_size": "full", "optimizer": {"lr": 0.05}}
    runtime = runtime_of(
        strategy={"name": "pardon", **SETTINGS}, model=MODELS["cnn-batch"], training=training
    )
    model = copy.deepcopy(runtime.trainer.task.model).train()
    down = {n: t.clone() for n, t in model.state_dict().items()}
    style = {"means": torch.randn(3), "deviations": torch.rand(3)}
    kept = runtime.answer(1, "keep", Received({"styles": style})).client_state
    received = Received({"arrays": down}, {"server-round": 1, "rounds": 3})
    update, metrics = runtime.train(1, received, kept)

    data = runtime.client_data(1)
    keys: dict[str, Any] = {"seed": runtime.scenario.seed, "client": 1, "server_round": 1}
    ((rows,),) = plan_round(runtime.trainer, data, batch_size="full", **keys).phases
    images, labels = runtime.preprocess.inputs(data.inputs[rows]), data.labels[rows]
    painted = images.clone()
    for image in painted:
        for channel, pixels in enumerate(image):
            plain = (pixels - pixels.mean()) / pixels.std()
            new = plain * style["deviations"][channel] + style["means"][channel]
            pixels.copy_(0.75 * pixels + 0.25 * new)
    *body, head = model.children()
    features = nn.Sequential(*body)(images)
    others = nn.Sequential(*body)(painted)
    loss = pardon_loss(head(features), features, others, labels, runtime.scenario.seed)
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.05).step()
    assert metrics["loss"] == pytest.approx(loss.item())
    torch.testing.assert_close(update.arrays["arrays"], dict(model.state_dict()))
    assert not runtime.trainer.supports_vmap


def test_one_style_travels_once(tmp_path: Path) -> None:
    chosen = toy.scenario(strategy="pardon", model={"name": "mlp", "hidden": [6]})
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    history = run.history.query("split == 'round'").set_index(["round", "metric"]).value
    model, style = 4 * (192 * 6 + 6 + 6 * 4 + 4), 4 * 2 * 3
    assert history[1, "bytes_up"] == 3 * (model + style)
    assert history[1, "bytes_down"] == 3 * (2 * model + style)
    assert history[2, "bytes_up"] == 3 * model
    assert history[2, "bytes_down"] == 3 * 2 * model


def test_noise_blurs_what_is_sent() -> None:
    exact, blurred = (
        runtime_of(strategy={"name": "pardon", "noise": noise}).answer(
            0, "style", Received({}, {"seed": 3})
        )
        for noise in (0.0, 0.5)
    )
    apart = blurred.arrays["style"]["means"] - exact.arrays["style"]["means"]
    assert 0.01 < apart.abs().max() < 3


def test_what_makes_no_sense_is_refused() -> None:
    data = {"sources": [{"name": "helpers.toy:Stripes"}], "image_size": 8}
    with pytest.raises(InputError, match="pardon needs features"):
        prepare(toy.scenario(strategy="pardon", data=data, model="linear"))
    warm = data | {"features": {"name": "warm_up"}}
    with pytest.raises(InputError, match="pardon paints images"):
        prepare(toy.scenario(strategy="pardon", data=warm, model="mlp"))
