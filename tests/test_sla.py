"""Self-supervised label augmentation: views, pairs of class and view, and what is left in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from fedlab.clients.base import ClientTrainer, Phase
from fedlab.clients.sla import distillation
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.execution.sequential import client_stats_of
from fedlab.errors import InputError
from fedlab.export.original import Original
from fedlab.losses.base import ClientStats
from fedlab.models.copies import copy_of
from fedlab.models.views import ViewHead, Views, aggregated, find_view_head
from fedlab.preparation import prepare
from fedlab.simulation import simulate
from fedlab.training.task import Batch
from helpers import targets as tables
from helpers import toy
from helpers.cohorts import assert_same, both, received, runtime_of

CNN = {"name": "small_cnn", "widths": [4, 4, 4]}


# ---------------------------------------------------------------------- views and pairs


def test_views_are_rotations_with_permutations_of_colours() -> None:
    image = torch.arange(12.0).reshape(1, 3, 2, 2)
    turned = Views(4, 1).of(image)
    assert torch.equal(turned[0], image[0])
    assert turned[1, 0].tolist() == [[1, 3], [0, 2]]  # against the clock
    assert turned[2, 0].tolist() == [[3, 2], [1, 0]]
    assert turned[3, 0].tolist() == [[2, 0], [3, 1]]
    assert torch.equal(Views(2, 1).of(image), turned[[0, 2]])
    firsts = [tuple(int(channel[0, 0]) // 4 for channel in view) for view in Views(1, 6).of(image)]
    assert firsts == [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    cyclic = Views(1, 3).of(image)
    assert torch.equal(cyclic, Views(1, 6).of(image)[[0, 3, 4]])
    both = Views(2, 3)
    assert len(both) == 6
    assert torch.equal(both.of(image)[3:], Views(1, 3).of(turned[2:3]))
    two = torch.cat([image, -image])
    assert torch.equal(both.of(two)[6:], both.of(-image))  # those of one image together


def test_the_mean_reads_the_column_of_each_view() -> None:
    joint = torch.zeros(4, 10, 4)  # one image, four views of it, ten classes
    flat = joint.view(4, 40)
    for view, value in enumerate((1.0, 2.0, 3.0, 6.0)):
        flat[view, 3 * 4 + view] = value  # class 3 reads columns 12, 13, 14, 15
        flat[view, 3 * 4 + (view + 1) % 4] = 100.0  # what another view would read
    assert aggregated(joint)[0, 3] == 3.0
    assert aggregated(joint).sum() == 3.0


def test_distillation_is_pytorchs() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 5, 4, generator=generator, dtype=torch.float64)
    wanted = softmax(teacher / 2, dim=1)
    expected = 4 * kl_div(log_softmax(student / 2, dim=1), wanted, reduction="batchmean")
    torch.testing.assert_close(distillation(teacher, student, 2.0), expected)


# ---------------------------------------------------------------------- the objective


def joint_layer(head: ViewHead, views: int) -> nn.Linear:
    """One dense layer for all pairs, in the order class * M + view."""
    weight, bias = head.pairs.weight.detach(), head.pairs.bias.detach()
    classes = head.plain.out_features
    if head.predict != "distilled":
        plain, others = head.plain, views - 1
        weight = torch.stack(
            [
                plain.weight[c] if j == 0 else head.pairs.weight[c * others + j - 1]
                for c in range(classes)
                for j in range(views)
            ]
        ).detach()
        bias = torch.stack(
            [
                plain.bias[c] if j == 0 else head.pairs.bias[c * others + j - 1]
                for c in range(classes)
                for j in range(views)
            ]
        ).detach()
    layer = nn.Linear(weight.shape[1], len(weight))
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
    return layer


@pytest.mark.slow_for("single")
@pytest.mark.parametrize(
    "block",
    [
        {"predict": "distilled", "temperature": 2.0},
        {"predict": "single", "rotations": 2, "colours": 3},
        {"predict": "aggregated", "sum_of_views": True},
    ],
    ids=lambda block: str(block["predict"]),
)
def test_the_objective_is_that_of_plain_pytorch(block: dict[str, Any]) -> None:
    runtime = runtime_of(model=CNN | {"norm": "group"}, strategy={"name": "sla", **block})
    trainer = runtime.trainer
    carry = trainer.begin(received(runtime), {}, toy_stats(runtime))
    images, labels = images_of(runtime, 5), torch.tensor([0, 3, 1, 3, 2])
    batch = Batch(images, labels, torch.arange(5))
    grads, metrics = trainer.gradients(carry, batch, trainer.phases()[0])

    model = copy_of(trainer.task.model).train()
    found = find_view_head(model)
    assert found is not None
    head = found[1]
    own = trainer.sla
    views = len(own.views)
    joint = joint_layer(head, views)
    heard: list[Tensor] = []
    head.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    plain = model(own.views.of(images))
    preds = joint(heard[0])
    joint_labels = torch.stack([labels * views + j for j in range(views)], 1).view(-1)
    loss = cross_entropy(preds, joint_labels)
    if own.sum_of_views:
        loss = loss * views
    agg = torch.stack([preds[j::views, j::views] for j in range(views)]).mean(dim=0)
    outputs = agg if own.predict == "aggregated" else preds[::views, ::views]
    if own.predict == "distilled":
        outputs, t = plain[::views], own.temperature
        loss = loss + cross_entropy(outputs, labels)
        wanted = softmax(agg.detach() / t, dim=1)
        given = log_softmax(outputs / t, dim=1)
        loss = loss + t**2 * kl_div(given, wanted, reduction="batchmean")
    assert float(metrics["loss"]) == pytest.approx(float(loss.detach()), rel=1e-5)
    right = (outputs.argmax(dim=1) == labels).float().mean()
    assert float(metrics["accuracy"]) == float(right)

    loss.backward()
    first = next(name for name in grads if name.endswith("weight"))
    torch.testing.assert_close(grads[first], model.get_parameter(first).grad, rtol=1e-4, atol=1e-6)
    assert joint.weight.grad is not None
    pairs = joint.weight.grad.unflatten(0, (-1, views))
    if own.predict != "distilled":
        torch.testing.assert_close(
            grads[f"{found[0]}.plain.weight"], pairs[:, 0], rtol=1e-4, atol=1e-6
        )
        pairs = pairs[:, 1:]
    torch.testing.assert_close(
        grads[f"{found[0]}.pairs.weight"], pairs.flatten(end_dim=1), rtol=1e-4, atol=1e-6
    )


def toy_stats(runtime: Runtime) -> ClientStats:
    return client_stats_of(runtime.trainer, runtime.client_data(0))


def images_of(runtime: Runtime, count: int) -> Tensor:
    return runtime.preprocess.inputs(runtime.client_data(0).inputs[:count])


def test_class_three_turned_by_half_is_label_fourteen() -> None:
    """If the output of label 14 alone is 40, that view has no loss, and each other one has 40."""
    runtime = runtime_of(model=CNN, strategy={"name": "sla", "predict": "distilled"})
    trainer = runtime.trainer
    carry = trainer.begin(received(runtime), {}, toy_stats(runtime))
    parameters = {name: torch.zeros_like(tensor) for name, tensor in carry.parameters.items()}
    bias = next(name for name in parameters if name.endswith("pairs.bias"))
    parameters[bias][14] = 40.0
    batch = Batch(images_of(runtime, 1), torch.tensor([3]), torch.arange(1))
    loss, outputs = trainer.objective(parameters, carry, batch)
    assert outputs.tolist() == [[0.0] * 4]
    # The plain head is even, log 4; so is its distance from a mean of (0, 0, 0, 40 / 4).
    mean = torch.tensor([0.0, 0, 0, 10], dtype=torch.float64)
    apart = float((mean.softmax(0) * (mean.log_softmax(0) + torch.tensor(4.0).log())).sum())
    assert float(loss) == pytest.approx(30 + float(torch.tensor(4.0).log()) + apart, rel=1e-5)


# ---------------------------------------------------------------------- ways of running


@pytest.mark.slow_except("{'predict': 'distilled'}")
@pytest.mark.parametrize(
    "block",
    [
        {"predict": "distilled"},
        {"predict": "aggregated", "base": {"name": "fedprox", "mu": 0.5}},
        {"predict": "single", "rotations": 1, "colours": 3, "base": "fedbn"},
        {"base": "fedsam"},
    ],
    ids=str,
)
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(block: dict[str, Any]) -> None:
    runtime = runtime_of(model=CNN, strategy={"name": "sla", **block}, train=20)
    assert runtime.trainer.supports_vmap
    assert_same(*both(runtime), 1e-9)


@pytest.mark.slow_except("aggregated")
@pytest.mark.parametrize("predict", ["distilled", "single", "aggregated"])
def test_what_is_tested_is_exported_without_outputs_for_views(predict: str, tmp_path: Path) -> None:
    data = {"sources": [{"name": "helpers.toy:Stripes", "train": 24}], "image_size": 8}
    strategy = {"name": "sla", "predict": predict}
    chosen = toy.scenario(data=data, model=CNN, strategy=strategy, rounds=1)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    original = Original.of(run, None)
    program, samples = original.program(whole=True)
    stored = torch.from_numpy(samples.test.inputs[:6])
    torch.testing.assert_close(program(stored), original(stored))
    plain = prepare(toy.scenario(data=data, model=CNN, strategy="fedavg")).model
    names = set(program.network.state_dict())
    assert (names == set(plain.state_dict())) == (predict != "aggregated")

    network = copy_of(original.runtime.trainer.task.model).eval()
    network.load_state_dict(run.model_state())
    found = find_view_head(network)
    assert found is not None
    heard: list[Tensor] = []
    found[1].register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    images = original.runtime.preprocess.inputs(stored)
    outputs = network(images)
    if predict == "aggregated":
        layer = joint_layer(found[1], 4)
        shown = [layer(features) for features in heard[0].unflatten(0, (-1, 4)).unbind(dim=1)]
        expected = torch.stack([each[:, j::4] for j, each in enumerate(shown)]).mean(dim=0)
    else:
        expected = found[1].plain(heard[0])
    torch.testing.assert_close(outputs, expected)
    torch.testing.assert_close(original(stored), expected)


class Plain(ClientTrainer):
    """Trains the head alone, as it does not know of outputs beside it."""

    def phases(self) -> list[Phase]:
        """One phase."""
        return [Phase(trained=self.task.head.names)]


@pytest.mark.slow_except("fedrep", "fedbabu")
@pytest.mark.parametrize("base", ["fedper", "fedrep", "lg_fedavg", "fedbabu"])
def test_outputs_for_views_are_a_part_of_the_head(base: str) -> None:
    runtime = runtime_of(model=CNN, strategy={"name": "sla", "base": base}, train=8)
    stays = {name for name in runtime.trainer.local if "plain" in name or "pairs" in name}
    assert len(stays) == (4 if base in ("fedper", "fedrep", "fedbabu") else 0)
    if base == "lg_fedavg":
        assert all("plain" in name or "pairs" in name for name in runtime.trainer.shared)


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"strategy": {"rotations": 1}}, r"rotations and colours are both 1"),
        ({"strategy": {"predict": "single", "temperature": 2}}, r"temperature 2 is that of"),
        ({"strategy": {"weighting": "uniform"}}, r"write strategy\.base\.weighting"),
        ({"strategy": {"base": "moon"}}, r"strategy\.base: 'moon' decides itself what"),
        ({"strategy": {"base": "fedetf"}}, r"strategy\.(name|base): "),
        (
            {"strategy": {"base": {"name": "fedavg", "client": "test_sla:Plain"}}},
            r"head apart from",
        ),
        ({"strategy": {"base": "fedheal"}}, r"one method can stand before another, not two"),
        ({"training": {"loss": "label_smoothing"}}, r"to which training\.loss 'label_smoothing'"),
        ({"data": {"channels": 1}, "strategy": {"colours": 3}}, r"permutes three channels, and"),
        (
            {"data": {"features": "warm_up"}, "model": "linear"},
            r"\(96,\) are no images; leave data\.features",
        ),
        ({"model": "helpers.odd_networks:ConvolutionalHead"}, r"has no single dense layer"),
    ],
    ids=lambda each: str(each),
)
def test_what_has_no_views_or_another_loss_is_refused(changes: dict[str, Any], words: str) -> None:
    data = {"sources": [{"name": "helpers.toy:Stripes", "train": 24}], "image_size": 8}
    fields: dict[str, Any] = {"model": CNN} | changes
    fields["data"] = data | changes.get("data", {})
    fields["strategy"] = {"name": "sla"} | changes.get("strategy", {})
    with pytest.raises((InputError, ValueError), match=words) as caught:
        prepare(toy.scenario(**fields))
    assert "\n" not in str(caught.value) or not isinstance(caught.value, InputError)


def test_tables_are_no_images() -> None:
    with pytest.raises(InputError, match=r"samples of shape \(5,\) are no images; leave"):
        prepare(tables.scenario("class", strategy="sla"))


def test_images_that_are_not_square_turn_by_half() -> None:
    with pytest.raises(InputError, match=r"these have 4 x 6 pixels; use strategy\.rotations=2"):
        Views(4, 1).check((3, 4, 6))
    Views(2, 6).check((3, 4, 6))
