"""FedNTD, FedSAM and FixBN, held against plain PyTorch and values computed by hand."""

from __future__ import annotations

import copy
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from fedlab.clients.base import Phase, Received
from fedlab.clients.fedntd import not_true_distance
from fedlab.clients.fedsam import FedSAM
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.execution.sequential import client_stats_of
from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.runs.run import load_run
from fedlab.scenario import EngineSpec, Scenario
from fedlab.simulation import resume, simulate
from fedlab.strategies.fixbn import FixBNParameters
from fedlab.training.task import Batch
from helpers import toy
from helpers.cohorts import MODELS, assert_same, both, ragged, runtime_of
from helpers.quadratic import CLIENTS, ZERO, Bed, samples, system
from helpers.running import At, result

METHODS: dict[str, dict[str, Any]] = {
    "fedntd": {"name": "fedntd", "beta": 0.7, "tau": 2.0},
    "fedsam": {"name": "fedsam", "rho": 0.1},
    "fixbn": {"name": "fixbn", "share": 0.5},
}
FULL = {"batch_size": "full", "local_epochs": 2, "optimizer": {"lr": 0.1}}


def initial(runtime: Runtime) -> Tensors:
    return {
        name: tensor.clone() for name, tensor in runtime.trainer.task.model.state_dict().items()
    }


def received(runtime: Runtime, server_round: int = 1) -> Received:
    config = {"server-round": server_round, "rounds": 4}
    return Received({"arrays": initial(runtime)}, config)


def runtime_for(method: str, **training: Any) -> Runtime:
    changes = {"strategy": METHODS[method], "model": MODELS["cnn-batch"]}
    return runtime_of(**changes, training=FULL | training)


def assert_resumes(chosen: Scenario, folder: Path) -> None:
    """An interrupted run ends in the bytes of an uninterrupted one."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    simulate(chosen, out=folder / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        simulate(chosen, out=folder / "cut", callbacks=[At(2, interrupt)], progress=False)
    resume(folder / "cut", progress=False)
    assert result(folder / "whole") == result(folder / "cut")


# ---------------------------------------------------------------------- FedNTD


def test_not_true_distance_by_hand() -> None:
    student = torch.tensor([[9.0, 0.0, 2.0], [0.0, 5.0, 0.0]])
    teacher = torch.tensor([[-4.0, 2.0, 0.0], [0.0, 1.0, 0.0]])
    # The first sample at temperature 2: logits (0, 1) against (1, 0); the second one agrees.
    sure = exp(1) / (exp(1) + 1)
    expected = 4 * (sure * log(sure / (1 - sure)) + (1 - sure) * log((1 - sure) / sure)) / 2
    found = not_true_distance(student, teacher, torch.tensor([0, 1]), tau=2.0)
    assert found.item() == pytest.approx(expected)


def test_not_true_distance_does_not_move_the_true_class() -> None:
    student, teacher = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 3, 0])
    student.requires_grad_()
    (grad,) = torch.autograd.grad(not_true_distance(student, teacher, labels, 1.0), student)
    assert grad.gather(1, labels[:, None]).abs().max() == 0
    assert (grad.abs() > 0).sum() == 5 * 3
    torch.testing.assert_close(grad.sum(dim=1), torch.zeros(5))


@pytest.mark.usefixtures("double")
def test_fedntd_is_that_of_plain_pytorch() -> None:
    runtime = runtime_for("fedntd")
    update, _ = runtime.train(0, received(runtime), {})
    data = runtime.client_data(0)
    images = runtime.preprocess.inputs(data.inputs)
    model = copy.deepcopy(runtime.trainer.task.model).train()
    teacher = copy.deepcopy(model).eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    others = torch.ones(len(images), 4, dtype=torch.bool).scatter(1, data.labels[:, None], False)
    for _ in range(2):
        outputs = model(images)
        student, taught = (
            log_softmax(logits[others].view(-1, 3) / 2, dim=1)
            for logits in (outputs, teacher(images).detach())
        )
        distilled = 4 * kl_div(student, taught, reduction="batchmean", log_target=True)
        optimizer.zero_grad()
        (cross_entropy(outputs, data.labels) + 0.7 * distilled).backward()
        optimizer.step()
    torch.testing.assert_close(update.arrays["arrays"], model.state_dict())


def test_fedntd_refuses_two_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "CLASSES", 2)
    with pytest.raises(InputError, match="the data have 2 classes"):
        prepare(toy.scenario(strategy="fedntd"))


# ---------------------------------------------------------------------- FedSAM


def test_the_point_uphill_by_hand() -> None:
    trainer = runtime_for("fedsam").trainer
    assert isinstance(trainer, FedSAM)
    grads = {"a": torch.tensor([3.0]), "b": torch.tensor([0.0, 4.0])}
    start = {"a": torch.tensor([1.0]), "b": torch.tensor([1.0, 1.0]), "resting": torch.ones(2)}
    uphill = trainer.uphill(start, grads)
    torch.testing.assert_close(uphill["a"], torch.tensor([1.06]))
    torch.testing.assert_close(uphill["b"], torch.tensor([1.0, 1.08]))
    assert torch.equal(uphill["resting"], start["resting"])
    still = {name: torch.zeros_like(tensor) for name, tensor in grads.items()}
    assert torch.equal(trainer.uphill(start, still)["b"], start["b"])


@pytest.mark.usefixtures("double")
def test_fedsam_is_that_of_plain_pytorch_and_statistics_follow_one_pass() -> None:
    runtime = runtime_for("fedsam")
    update, metrics = runtime.train(0, received(runtime), {})
    data = runtime.client_data(0)
    images = runtime.preprocess.inputs(data.inputs)
    model = copy.deepcopy(runtime.trainer.task.model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(2):
        loss = cross_entropy(model(images), data.labels)
        losses.append(loss.item())
        grads = torch.autograd.grad(loss, list(model.parameters()))
        norm = torch.cat([grad.flatten() for grad in grads]).norm()
        uphill = copy.deepcopy(model)  # its statistics are thrown away
        with torch.no_grad():
            for weight, grad in zip(uphill.parameters(), grads, strict=True):
                weight.add_(grad, alpha=float(0.1 / norm))
        cross_entropy(uphill(images), data.labels).backward()
        for weight, other in zip(model.parameters(), uphill.parameters(), strict=True):
            weight.grad = other.grad
        optimizer.step()
    torch.testing.assert_close(update.arrays["arrays"], model.state_dict())
    assert metrics["loss"] == pytest.approx(sum(losses) / 2)


def test_fedsam_leaves_what_a_loss_keeps_to_the_first_pass() -> None:
    kept = []
    for strategy in (METHODS["fedsam"], {"name": "fedavg"}):
        runtime = runtime_of(strategy=strategy, training={"loss": "aldr_kl"})
        trainer, data = runtime.trainer, runtime.client_data(0)
        carry = trainer.begin(received(runtime), {}, client_stats_of(trainer, data))
        rows = torch.arange(8)
        batch = Batch(runtime.preprocess.inputs(data.inputs[rows]), data.labels[rows], rows)
        trainer.gradients(carry, batch, Phase())
        kept.append(carry.extra["loss"]["temperatures"])
    assert torch.equal(*kept)
    assert (kept[0] < 1).sum() == 8


@pytest.mark.parametrize("fraction", [1.0, 0.67])
def test_mofedsam_is_that_of_the_formulas(fraction: float) -> None:
    rho, own_share, lr, decay, steps = 0.1, 0.3, 0.1, 0.9, (2, 3, 5)
    method = {"name": "fedsam", "rho": rho, "own_share": own_share, "weighting": "uniform"}
    bed = Bed(method, steps=steps, fraction=fraction, lr=lr, lr_decay=decay)
    model = bed.run(5)
    systems = [system(samples(client)) for client in range(CLIENTS)]

    def grad(client: int, x: torch.Tensor) -> torch.Tensor:
        a, b = systems[client]
        return a @ x - b

    w, mean = ZERO, ZERO
    for server_round, cohort in enumerate(bed.cohorts):
        ends = []
        for client in cohort:
            theta = w
            for _ in range(steps[client]):
                here = grad(client, theta)
                uphill = grad(client, theta + rho * here / here.norm())
                own = own_share * uphill + (1 - own_share) * mean
                theta = theta - lr * decay**server_round * own
            ends.append(theta)
        change = torch.stack(ends).mean(dim=0) - w
        length = lr * decay**server_round * sum(steps[client] for client in cohort) / len(cohort)
        w, mean = w + change, -change / length
    torch.testing.assert_close(model, w, rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_mofedsam_resumes_trains_many_as_one_and_refuses_momentum(tmp_path: Path) -> None:
    strategy = {"name": "fedsam", "own_share": 0.5}
    chosen = toy.scenario(strategy=strategy, model=MODELS["cnn-batch"], rounds=3)
    assert_resumes(chosen, tmp_path)
    vectorised = chosen.model_copy(update={"engine": EngineSpec(execution="vmap")})
    run = simulate(vectorised, out=tmp_path / "stacked", progress=False)
    whole = load_run(tmp_path / "whole").model_state()
    torch.testing.assert_close(run.model_state(), whole, rtol=1e-4, atol=1e-5)
    traffic = run.history.query("split == 'round' and round == 1").set_index("metric").value
    network = run.model_state().values()
    model = sum(tensor.nbytes for tensor in network)
    step = sum(tensor.nbytes for tensor in prepare(chosen).model.parameters())
    assert traffic["bytes_up"] == 3 * model
    assert traffic["bytes_down"] == 3 * (model + step + model)  # to train, and to test
    momentum = {"training": {"optimizer": {"momentum": 0.9}}}
    with pytest.raises(InputError, match="does not go with fedsam"):
        prepare(toy.scenario(strategy=strategy, **momentum))


# ---------------------------------------------------------------------- FixBN


def test_fixbn_fixes_statistics_in_later_rounds_only() -> None:
    runtime = runtime_for("fixbn")
    norms = {name for name, _ in runtime.trainer.task.model.named_buffers()}
    for server_round in (1, 2, 3, 4):
        down = received(runtime, server_round)
        update, _ = runtime.train(0, down, {})
        after = update.arrays["arrays"]
        moved = {name for name in after if not torch.equal(after[name], down.model[name])}
        assert moved & norms == (norms if server_round <= 2 else set())
        assert moved >= after.keys() - norms, "scales and shifts go on learning"


@pytest.mark.usefixtures("double")
def test_a_fixed_round_is_plain_pytorch_in_evaluation_mode() -> None:
    runtime = runtime_for("fixbn")
    update, _ = runtime.train(0, received(runtime, 3), {})
    data = runtime.client_data(0)
    model = copy.deepcopy(runtime.trainer.task.model).eval()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        outputs = model(runtime.preprocess.inputs(data.inputs))
        cross_entropy(outputs, data.labels).backward()
        optimizer.step()
    torch.testing.assert_close(update.arrays["arrays"], model.state_dict())


@pytest.mark.usefixtures("double")
def test_fixbn_may_keep_momentum_from_round_to_round() -> None:
    strategy = {"name": "fixbn", "keep_momentum": True}
    training = FULL | {"optimizer": {"lr": 0.1, "momentum": 0.9}}
    runtime = runtime_of(strategy=strategy, model=MODELS["cnn-batch"], training=training)
    first, _ = runtime.train(0, received(runtime, 1), {})
    second, _ = runtime.train(0, received(runtime, 2), first.client_state)
    data, start = runtime.client_data(0), initial(runtime)
    model = copy.deepcopy(runtime.trainer.task.model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        model.load_state_dict(start)
        for _ in range(2):
            optimizer.zero_grad()
            cross_entropy(model(runtime.preprocess.inputs(data.inputs)), data.labels).backward()
            optimizer.step()
    torch.testing.assert_close(second.arrays["arrays"], model.state_dict())


def test_fixbn_starts_each_round_without_momentum_unless_it_is_kept() -> None:
    optimizer = {"lr": 0.1, "momentum": 0.9}
    runtime = runtime_for("fixbn", optimizer=optimizer)
    first, _ = runtime.train(0, received(runtime, 1), {})
    assert first.client_state == {}
    again, _ = runtime.train(0, received(runtime, 1), first.client_state)
    torch.testing.assert_close(again.arrays, first.arrays)


@pytest.mark.parametrize(
    ("share", "rounds", "first"), [(0.5, 4, 3), (0.5, 5, 3), (0.9, 10, 10), (0.25, 4, 2)]
)
def test_the_round_from_which_statistics_are_fixed(share: float, rounds: int, first: int) -> None:
    parameters = FixBNParameters(share=share)
    fixed = [parameters.fixed(number, rounds) for number in range(1, rounds + 1)]
    assert fixed.index(True) == first - 1
    assert all(fixed[first - 1 :])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": MODELS["cnn-group"]}, "has none"),
        ({"model": MODELS["mlp"]}, "has none"),
        ({"rounds": 1}, "raise rounds or strategy.share"),
        (
            {"strategy": {"name": "fixbn", "keep_momentum": True}},
            "have no momentum that they could",
        ),
    ],
)
def test_fixbn_refuses_what_it_cannot_fix(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        prepare(toy.scenario(**{"strategy": "fixbn", "model": MODELS["cnn-batch"]} | changes))


# ---------------------------------------------------------------------- all of them


@pytest.mark.parametrize("method", METHODS)
def test_only_the_model_goes_up_and_nothing_stays(method: str) -> None:
    runtime = runtime_for(method)
    down = received(runtime)
    update, _ = runtime.train(0, down, {})
    assert update.arrays.keys() == {"arrays"}
    sent = {name: (t.shape, t.dtype) for name, t in update.arrays["arrays"].items()}
    assert sent == {name: (t.shape, t.dtype) for name, t in down.model.items()}
    assert update.client_state == {}


@pytest.mark.slow_except("fixbn", "fedntd-optimizer1", "fedsam-optimizer0")
@pytest.mark.parametrize("optimizer", [{"lr": 0.01}, {"name": "adam", "clip_norm": 0.05}])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(method: str, optimizer: dict) -> None:
    training = {"batch_size": 8, "optimizer": optimizer}
    runtime = ragged(strategy=METHODS[method], model=MODELS["cnn-batch"], training=training)
    assert runtime.trainer.supports_vmap
    assert_same(*both(runtime), 1e-9)


@pytest.mark.parametrize("parameter", [{"beta": -1.0}, {"tau": 0.0}, {"rho": 0.0}, {"share": 1.0}])
def test_parameters_have_ranges(parameter: dict) -> None:
    (key,) = parameter
    name = next(name for name, block in METHODS.items() if key in block)
    with pytest.raises(ValidationError, match=key):
        toy.scenario(strategy={"name": name} | parameter)


@pytest.mark.slow  # test_engine interrupts every method; this is with their own parameters
@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path, method: str) -> None:
    model = MODELS["cnn-batch"]
    assert_resumes(toy.scenario(strategy=METHODS[method], model=model, rounds=4), tmp_path)


@pytest.mark.slow_for("resnet20")
@pytest.mark.parametrize("model", ["mlp", "resnet20", "cnn-group"])
@pytest.mark.parametrize("method", ["fedntd", "fedsam"])
def test_any_network_will_do(method: str, model: str) -> None:
    runtime = runtime_of(train=16, strategy=METHODS[method], model=MODELS[model])
    _, metrics = runtime.train(0, received(runtime), {})
    assert torch.tensor(metrics["loss"]).isfinite()
