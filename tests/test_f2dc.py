"""F2DC: the mask, the terms and the weights by hand, and a step in plain PyTorch."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, cosine_similarity, cross_entropy

from fedlab import rng
from fedlab.clients.base import Received
from fedlab.clients.f2dc import largest_wrong
from fedlab.engine.execution.batch_schedule import plan_round
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.models.feature_split import FeatureSplit, find_split
from fedlab.preparation import prepare
from fedlab.server_app import build_strategy
from fedlab.strategies.f2dc import F2DC, F2DCParameters
from helpers import toy
from helpers.cohorts import runtime_of

CNN = {"name": "small_cnn", "widths": [4, 4, 6]}
METHOD = {"name": "f2dc", "width": 5}


def split_with_scores(value: float) -> FeatureSplit:
    split = FeatureSplit(nn.AdaptiveAvgPool2d(1), 2, 3, 0.1, classes=2, size=2)
    for part in (split.scores, split.calibration):
        for parameter in part.parameters():
            nn.init.zeros_(parameter)
    split.scores.append(Constant(value))
    return split


class Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return torch.full_like(maps, self.value)


def parts_of(split: FeatureSplit, maps: torch.Tensor) -> torch.Tensor:
    heard: list[torch.Tensor] = []
    split.parts.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    split(maps)
    return heard[0]


def test_the_mask_by_hand() -> None:
    split = split_with_scores(math.log(0.6 / 0.4)).eval()
    robust, rest, restored = parts_of(split, torch.ones(3, 2, 4, 4))
    assert robust.flatten().tolist() == pytest.approx([0.982954] * 6, abs=1e-6)
    torch.testing.assert_close(rest, 1 - robust)
    torch.testing.assert_close(restored, rest)  # calibration is zero
    split.calibration.append(Constant(2.0))
    *_, restored = parts_of(split, torch.ones(3, 2, 4, 4))
    torch.testing.assert_close(restored, 3 * rest)


def test_noise_is_gumbels_in_training_and_none_in_tests() -> None:
    """P(M > 1/2) is s, as that of the larger of two Gumbel variables with these scores."""
    split = split_with_scores(math.log(0.6 / 0.4)).train()
    split.pool = nn.Identity()
    with rng.torch_seed(0, "test"):
        robust = parts_of(split, torch.ones(50, 2, 20, 20))[0]
    assert (robust > 0.5).float().mean() == pytest.approx(0.6, abs=0.01)
    split.eval()
    maps = torch.rand(2, 2, 3, 3)
    assert torch.equal(split(maps), split(maps))


def test_the_wrong_class_with_the_largest_output() -> None:
    outputs = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, -1.0, 5.0]])
    assert largest_wrong(outputs, torch.tensor([0, 1, 2])).tolist() == [1, 0, 0]


def test_weights_for_domains_by_hand() -> None:
    network = FeatureSplit(nn.AdaptiveAvgPool2d(1), 2, 3, 0.1, classes=10, size=2)
    strategy = F2DC(network, F2DCParameters(domains=2))
    updates = [
        ClientUpdate(k, {"arrays": {"a": torch.tensor(float(k))}}, {"num-examples": n})
        for k, n in enumerate((80, 20, 0))
    ]
    weights = strategy.domain_weights(updates)
    assert weights == pytest.approx([0.629873, 0.482925, 0.0], abs=1e-6)
    share = weights[1] / sum(weights)
    assert share == pytest.approx(0.433973, abs=1e-6)
    assert strategy.weighted_mean(updates, "arrays")["a"].item() == pytest.approx(share)
    plain = F2DC(network, F2DCParameters())
    assert plain.weighted_mean(updates, "arrays")["a"].item() == pytest.approx(0.2)


# ---------------------------------------------------------------------- the client trainer


def received(runtime: Runtime, server_round: int = 1) -> Received:
    state = runtime.trainer.task.model.state_dict()
    down = {n: state[n].clone() for n in runtime.trainer.shared}
    return Received({"arrays": down}, {"server-round": server_round, "rounds": 5})


@pytest.mark.usefixtures("double")
def test_a_step_is_that_written_out() -> None:
    training = {"batch_size": "full", "optimizer": {"lr": 0.05}}
    block = METHOD | {"split": 0.7, "calibration": 0.4, "tau": 0.3, "sigma": 0.5}
    runtime = runtime_of(strategy=block, model=CNN, training=training)
    model = copy.deepcopy(runtime.trainer.task.model).train()
    update, metrics = runtime.train(0, received(runtime), {})

    data = runtime.client_data(0)
    keys: dict[str, Any] = {"seed": runtime.scenario.seed, "client": 0, "server_round": 1}
    ((rows,),) = plan_round(runtime.trainer, data, batch_size="full", **keys).phases
    images, labels = runtime.preprocess.inputs(data.inputs[rows]), data.labels[rows]
    found = find_split(model)
    assert found is not None
    path, split = found
    layers = list(model.children())
    body, head = nn.Sequential(*layers[: int(path)]), layers[-1]
    with rng.seeded(runtime.scenario.seed, "dropout", 0, 1):
        maps = body(images)
        scores = split.scores(maps)
        first, second = (-(-torch.rand_like(scores).log()).log() for _ in range(2))
    s = torch.sigmoid(scores)
    a, b = ((s.log() + first) / 0.5).exp(), (((1 - s).log() + second) / 0.5).exp()
    mask = a / (a + b)
    plus, minus = mask * maps, (1 - mask) * maps
    star = minus + (1 - mask) * split.calibration(minus)

    def pooled(each: torch.Tensor) -> torch.Tensor:
        return adaptive_avg_pool2d(each, 1).flatten(1)

    logits = head(pooled(plus + star))
    wrong = [
        max(set(range(4)) - {int(label)}, key=row.__getitem__)
        for row, label in zip(logits, labels, strict=True)
    ]
    divided = (
        cross_entropy(split.auxiliary(pooled(plus)), labels)
        + cross_entropy(split.auxiliary(pooled(minus)), torch.tensor(wrong))
        + cosine_similarity(pooled(plus), pooled(minus)).mean() / 0.3
    )
    last = cross_entropy(split.auxiliary(pooled(star)), labels)
    loss = cross_entropy(logits, labels) + 0.7 * divided + 0.4 * last
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.05).step()
    assert metrics["loss"] == pytest.approx(loss.item())
    torch.testing.assert_close(
        {**update.arrays["arrays"], **update.client_state["model"]}, dict(model.state_dict())
    )


def test_the_modules_stay_unless_they_are_shared() -> None:
    local = runtime_of(strategy=METHOD, model=CNN)
    update, _ = local.train(0, received(local), {})
    kept = update.client_state["model"]
    assert not kept.keys() & update.arrays["arrays"].keys()
    assert {name.split(".")[1] for name in kept} == {"scores", "calibration", "auxiliary"}
    again, _ = local.train(0, received(local, 2), update.client_state)
    assert any((again.client_state["model"][n] != t).any() for n, t in kept.items())
    strategy = build_strategy(local.scenario, local.trainer.task.model)
    assert not strategy.has_global_model

    shared = runtime_of(strategy=METHOD | {"modules": "shared"}, model=CNN)
    update, _ = shared.train(0, received(shared), {})
    assert update.arrays["arrays"].keys() == shared.trainer.task.model.state_dict().keys()
    assert update.client_state == {}


@pytest.mark.slow
def test_clients_train_one_after_the_other() -> None:
    assert not runtime_of(strategy=METHOD, model=CNN).trainer.supports_vmap


@pytest.mark.slow_except("model1")
@pytest.mark.parametrize("model", ["resnet20", CNN, "resnet10"])
def test_networks_that_pool_before_the_head_can_be_divided(model: Any) -> None:
    prepared = prepare(toy.scenario(strategy=METHOD, model=model))
    images = torch.zeros(2, *prepared.data.input_shape)
    assert prepared.model.eval()(images).shape == (2, toy.CLASSES)
    assert find_split(prepared.model) is not None


@pytest.mark.slow_for("mobilenet_v2")
@pytest.mark.parametrize("model", ["mlp", "mobilenet_v2", "digits_cnn"])
def test_other_networks_are_refused(model: str) -> None:
    with pytest.raises(InputError, match="f2dc divides the feature map"):
        prepare(toy.scenario(strategy=METHOD, model=model))


def test_two_ways_to_count_clients_are_refused() -> None:
    with pytest.raises(ValueError, match="leave one of them out"):
        F2DCParameters(domains=4, weighting="uniform")
