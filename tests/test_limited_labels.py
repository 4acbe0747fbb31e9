"""FedLabel, FixMatch and UDA: what is done with samples that have no label."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from fedlab.clients.base import Carry, ClientTrainer, Received
from fedlab.clients.fedlabel import FedLabel
from fedlab.clients.fixmatch import FixMatch
from fedlab.clients.uda import UDA
from fedlab.data.client_data import ClientData
from fedlab.engine.execution.batch_schedule import plan_round
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.losses.base import ClientStats
from fedlab.preparation import prepare
from fedlab.simulation import resume, simulate
from fedlab.strategies import fedlabel
from fedlab.strategies.fixmatch import FixMatchParameters
from fedlab.strategies.uda import UDAParameters
from fedlab.training.lists import copied
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec
from fedlab.training.task import Batch, Task
from helpers.cohorts import assert_same, both, ragged
from helpers.toy import scenario

CLASSES = 3
SWAPPED = torch.eye(CLASSES)[[1, 0, 2]]


def task() -> Task:
    """A network whose logits are its inputs times a matrix."""
    return Task(nn.Linear(CLASSES, CLASSES, bias=False), Optimizer(OptimizerSpec(lr=0.1)), CLASSES)


def begun(trainer: ClientTrainer, weight: Tensor, threshold: float = 0.5) -> tuple[Carry, Received]:
    received = Received({"arrays": {"weight": weight}}, {"threshold": threshold})
    return trainer.begin(received, {}, ClientStats(torch.ones(CLASSES), CLASSES)), received


def batch_of(inputs: Tensor, strong: Tensor, labelled: Tensor | None = None) -> Batch:
    rows = torch.arange(len(inputs))
    return Batch(inputs, torch.zeros(len(inputs)).long(), rows, labelled, strong)


def two_teachers(**parameters: Any) -> tuple[FedLabel, Carry]:
    """The received model tells class k from the k-th unit vector; the local one is twice as sure,
    and takes the first two classes for each other."""
    trainer = FedLabel(fedlabel.FedLabelParameters(**parameters), task())
    carry, _ = begun(trainer, torch.eye(CLASSES))
    carry.extra["local"]["weight"] = 2 * SWAPPED
    return trainer, carry


def test_the_surer_model_labels() -> None:
    trainer, carry = two_teachers()
    said = trainer.pseudo_labels(carry, batch_of(torch.eye(CLASSES), torch.eye(CLASSES)))
    assert said.labels.tolist() == [1, 0, 2]
    assert said.kept.all()
    assert torch.equal(said.other, torch.eye(CLASSES))
    # Variances of (1, 0, 0) and (2, 0, 0) are 2/9 and 8/9; the models agree on the third.
    torch.testing.assert_close(said.weights, torch.tensor([0.0, 0.0, 0.25]))


def test_of_two_that_are_as_sure_the_local_model_labels() -> None:
    trainer, carry = two_teachers()
    carry.extra["local"]["weight"] = SWAPPED.clone()
    # They say (1, -1, 0) and (-1, 1, 0), which have the same variance.
    inputs = torch.tensor([[1.0, -1, 0]])
    assert trainer.pseudo_labels(carry, batch_of(inputs, inputs)).labels.tolist() == [1]


@pytest.mark.parametrize(("labeller", "labels"), [("local", [1, 0, 2]), ("global", [0, 1, 2])])
def test_one_model_may_always_label(labeller: str, labels: list[int]) -> None:
    trainer, carry = two_teachers(labeller=labeller)
    said = trainer.pseudo_labels(carry, batch_of(torch.eye(CLASSES), torch.eye(CLASSES)))
    assert said.labels.tolist() == labels
    assert said.weights.max() <= 1


def test_only_sure_predictions_are_kept() -> None:
    trainer, carry = two_teachers()
    # softmax(2, 0, 0) has 0.787 at its best, and the threshold is 0.5; (0.4, 0, 0) has 0.427.
    inputs = torch.stack([torch.tensor([1.0, 0, 0]), torch.tensor([0.2, 0, 0])])
    assert trainer.pseudo_labels(carry, batch_of(inputs, inputs)).kept.tolist() == [True, False]


def test_sureness_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    trainer, _ = two_teachers()
    torch.testing.assert_close(trainer.confidence(logits), torch.tensor([8 / 9, 0.0]))
    trainer, _ = two_teachers(scores="probabilities")
    best = math.exp(2) / (math.exp(2) + 2)
    rest = (1 - best) / 2
    variance = ((best - 1 / 3) ** 2 + 2 * (rest - 1 / 3) ** 2) / 3
    torch.testing.assert_close(trainer.confidence(logits), torch.tensor([variance, 0.0]))
    trainer, _ = two_teachers(confidence="entropy")
    entropy = -best * math.log(best) - 2 * rest * math.log(rest)
    expected = torch.tensor([math.log(3) - entropy, 0.0])
    torch.testing.assert_close(trainer.confidence(logits), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("divergence", ["student_teacher", "teacher_student"])
def test_the_unlabelled_loss_is_a_mean_over_what_is_kept(divergence: str) -> None:
    trainer, carry = two_teachers(consistency=2.0, divergence=divergence)
    weight = torch.eye(CLASSES) + 0.3 * torch.arange(9.0).view(3, 3) / 9
    inputs = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0.1, 0, 0]])  # agreed, disputed, dropped
    strong = inputs.roll(1, dims=1)
    batch = batch_of(inputs, strong)
    said = trainer.pseudo_labels(carry, batch)
    loss, _ = trainer.unlabelled_loss({"weight": weight}, carry, batch, said)
    student = log_softmax(inputs[0] @ weight.T, dim=0)
    teacher = log_softmax(inputs[0], dim=0)
    first, second = (student, teacher) if divergence == "student_teacher" else (teacher, student)
    divergence_of_agreed = (first.exp() * (first - second)).sum()
    taught = cross_entropy(strong[:2] @ weight.T, torch.tensor([2, 1]), reduction="sum")
    torch.testing.assert_close(loss, (taught + 2.0 * 0.25 * divergence_of_agreed) / 2)


def test_the_temperature_softens_pseudo_labels_and_both_sides_of_consistency() -> None:
    trainer, carry = two_teachers(temperature=2.0)
    # Logits (2, 0, 0) over 2 have 0.576 at their best; those of the second sample 0.477.
    inputs = torch.stack([torch.tensor([0.0, 0, 1]), torch.tensor([0.6, 0, 0])])
    batch = batch_of(inputs, inputs)
    said = trainer.pseudo_labels(carry, batch)
    assert said.kept.tolist() == [True, False]
    torch.testing.assert_close(said.weights[0], torch.tensor(0.25))  # as without a temperature
    weight = torch.eye(CLASSES) * 3
    loss, _ = trainer.unlabelled_loss({"weight": weight}, carry, batch, said)
    student = log_softmax(inputs[0] @ weight.T / 2, dim=0)
    teacher = log_softmax(inputs[0] / 2, dim=0)
    apart = (student.exp() * (student - teacher)).sum()
    taught = cross_entropy(inputs[:1] @ weight.T, torch.tensor([2]))
    torch.testing.assert_close(loss, taught + 0.25 * apart)


def test_the_second_phase_may_be_held_near_the_received_model() -> None:
    weight = torch.eye(CLASSES) + torch.arange(9.0).view(3, 3) / 9
    losses = []
    for proximal in (0.0, 10.0):
        trainer, carry = two_teachers(proximal=proximal)
        batch = batch_of(torch.eye(CLASSES), torch.eye(CLASSES))
        said = trainer.pseudo_labels(carry, batch)
        losses.append(trainer.unlabelled_loss({"weight": weight}, carry, batch, said)[0])
    # The mean of the squares of 0, 1, ..., 8 over 81.
    torch.testing.assert_close(losses[1] - losses[0], torch.tensor(10 * 204 / 9 / 81))


def test_a_client_sends_what_both_phases_learnt_and_the_samples_they_used() -> None:
    trainer = FedLabel(fedlabel.FedLabelParameters(consistency=0.0), task())
    start = torch.eye(CLASSES)
    carry, received = begun(trainer, start)
    labelled, unlabelled = trainer.phases()
    inputs = torch.eye(CLASSES)
    carry, _ = trainer.step(carry, batch_of(inputs, inputs), labelled, 1)
    assert unlabelled.enter is not None
    carry = unlabelled.enter(carry)
    torch.testing.assert_close(carry.parameters["weight"], start)
    near = carry.extra["local"]["weight"]
    carry, _ = trainer.step(carry, batch_of(inputs, 2 * inputs), unlabelled, 1)
    update = trainer.finish(carry, received, 2)

    taught = start.clone().requires_grad_()
    cross_entropy(inputs @ taught.T, torch.zeros(3).long()).backward()
    assert taught.grad is not None
    torch.testing.assert_close(near, start - 0.1 * taught.grad)
    guessed = start.clone().requires_grad_()
    scores = torch.stack([inputs @ start.T, inputs @ near.T])
    surer = scores.var(dim=-1, correction=0).argmax(dim=0)
    chosen = scores[surer, torch.arange(3)]
    kept = chosen.softmax(dim=-1).amax(dim=-1) > 0.5
    losses = cross_entropy(2 * inputs @ guessed.T, chosen.argmax(dim=-1), reduction="none")
    losses[kept].mean().backward()
    assert guessed.grad is not None
    torch.testing.assert_close(
        update.arrays["arrays"]["weight"], start - 0.1 * taught.grad - 0.1 * guessed.grad
    )
    assert update.metrics["num-examples"] == 3 + kept.sum()
    assert update.metrics["pseudo-labels"] == kept.sum() > 0


def test_the_codes_aggregation_is_half_of_each_mean() -> None:
    parameters = fedlabel.FedLabelParameters(aggregation="flute")
    strategy = fedlabel.FedLabel(task().model, parameters)

    def update(client: int, labelled: float, unlabelled: float, count: int) -> ClientUpdate:
        arrays = {
            "arrays": {"weight": torch.full((1,), labelled)},
            "unlabelled": {"weight": torch.full((1,), unlabelled)},
        }
        return ClientUpdate(client, arrays, {"num-examples": 5, "pseudo-labels": count})

    strategy.aggregate(1, [update(0, 1.0, 10.0, 3), update(1, 3.0, 20.0, 0)])
    # Means: (1 + 3) / 2 = 2, and (3 * 10 + 1 * 20) / 4 = 12.5.
    assert strategy.state["arrays"]["weight"].item() == pytest.approx(7.25)


def test_fixmatch_by_hand() -> None:
    trainer = FixMatch(FixMatchParameters(threshold=0.7, weight=3.0), task())
    weight = 2 * torch.eye(CLASSES)
    carry, _ = begun(trainer, weight)
    inputs = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0.1, 0]])
    strong = inputs[2:].roll(1, dims=1)  # the first two have labels
    loss, outputs = trainer.objective({"weight": weight}, carry, batch_of(inputs, strong))
    supervised = cross_entropy(2 * inputs[:2], torch.zeros(2).long())
    sure = cross_entropy(2 * strong[[0]], torch.tensor([1]))  # the last one's best is 0.38
    torch.testing.assert_close(loss, supervised + 3.0 * sure / 2)
    torch.testing.assert_close(outputs, 2 * inputs)


@pytest.mark.parametrize("method", ["fixmatch", "uda"])
def test_a_step_reads_a_full_batch_of_labels_and_mu_times_as_many_others(method: str) -> None:
    """Ten labelled samples in batches of four, and thirty others, of which a step reads eight."""
    parameters = {"fixmatch": FixMatchParameters, "uda": UDAParameters}[method](ratio=2)
    trainer = {"fixmatch": FixMatch, "uda": UDA}[method](parameters, replace(task(), local_steps=5))
    known = torch.arange(40) % 4 == 0
    data = ClientData(torch.zeros(40, CLASSES), torch.zeros(40).long(), known)
    schedule = plan_round(trainer, data, batch_size=4, seed=0, client=0, server_round=1)
    (steps,) = schedule.phases
    labelled = [known[rows].tolist() for rows in steps]
    assert labelled == [[True] * count + [False] * 8 for count in (4, 4, 2, 4, 4)]
    first_pass = torch.cat([rows[known[rows]] for rows in steps[:3]])
    assert sorted(first_pass.tolist()) == known.nonzero().flatten().tolist()
    others = torch.cat([rows[~known[rows]] for rows in steps[:3]])
    assert len(set(others.tolist())) == 24  # of one pass
    assert schedule.examples == 40


def test_who_has_few_unlabelled_samples_reads_all_of_them_in_every_step() -> None:
    trainer = FixMatch(FixMatchParameters(), task())  # seven for each labelled one
    known = torch.arange(8) < 5
    data = ClientData(torch.zeros(8, CLASSES), torch.zeros(8).long(), known)
    (steps,) = plan_round(trainer, data, batch_size=4, seed=0, client=0, server_round=1).phases
    assert [sorted(rows[~known[rows]].tolist()) for rows in steps] == [[5, 6, 7]] * 2


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_batch_of_which_nothing_is_kept_moves_nothing(
    optimizer: Literal["sgd", "adam"], weight_decay: float
) -> None:
    """Neither weight decay nor momentum, nor the running statistics of what was looked at."""
    model = nn.Sequential(nn.BatchNorm1d(CLASSES), nn.Linear(CLASSES, CLASSES))
    momentum = 0.9 if optimizer == "sgd" else 0.0
    spec = OptimizerSpec(name=optimizer, lr=0.1, momentum=momentum, weight_decay=weight_decay)
    trainer = FedLabel(fedlabel.FedLabelParameters(), Task(model, Optimizer(spec), CLASSES))
    received = Received({"arrays": dict(model.state_dict())}, {"threshold": fedlabel.NEVER})
    carry = trainer.begin(received, {}, ClientStats(torch.ones(CLASSES), CLASSES))
    phase = trainer.phases()[1]
    batch = batch_of(torch.randn(6, CLASSES), torch.randn(6, CLASSES))

    def state() -> dict[str, Tensor]:
        slots = {f"{s} {n}": t for s, ts in carry.optimizer.items() for n, t in ts.items()}
        return copied({**carry.parameters, **carry.buffers, **slots})

    before = state()
    carry, _ = trainer.step(carry, batch, phase, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state().items())
    carry.extra["threshold"]["value"].fill_(0.0)
    carry, _ = trainer.step(carry, batch, phase, 1)
    assert not any(torch.equal(t, before[n]) for n, t in state().items())


def test_the_student_starts_the_second_stretch_with_a_fresh_optimiser() -> None:
    """No momentum of the labelled stretch moves it."""
    spec = OptimizerSpec(lr=0.1, momentum=0.9)
    trainer = FedLabel(fedlabel.FedLabelParameters(), replace(task(), optimizer=Optimizer(spec)))
    carry, _ = begun(trainer, torch.eye(CLASSES))
    labelled, unlabelled = trainer.phases()
    carry, _ = trainer.step(carry, batch_of(torch.eye(CLASSES), torch.eye(CLASSES)), labelled, 1)
    assert carry.optimizer["momentum"]["weight"].any()
    assert unlabelled.enter is not None
    assert not unlabelled.enter(carry).optimizer["momentum"]["weight"].any()


def test_teachers_read_running_statistics_each_its_own() -> None:
    """Statistics of the batch would give other labels, and so would those of the other teacher."""
    model = nn.Sequential(nn.BatchNorm1d(CLASSES, affine=False), nn.Identity())
    trainer = FedLabel(
        fedlabel.FedLabelParameters(), Task(model, Optimizer(OptimizerSpec()), CLASSES)
    )
    state = dict(model.state_dict())
    received = Received({"arrays": state}, {"threshold": 0.0})
    carry = trainer.begin(received, {}, ClientStats(torch.ones(CLASSES), CLASSES))
    carry.extra["global buffers"]["0.running_mean"] = torch.tensor([0.0, 1.0, 0.0])
    carry.extra["local buffers"]["0.running_mean"] = torch.tensor([0.0, 0.0, -4.0])
    model.train()
    inputs = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    said = trainer.pseudo_labels(carry, batch_of(inputs, inputs))
    # The local model says (1, 0, 4) and is surer than the other, which says (1, -1, 0).
    assert said.labels.tolist() == [2, 2]
    torch.testing.assert_close(said.other, torch.tensor([[1.0, -1, 0]] * 2), atol=1e-4, rtol=0)
    assert model.training


def test_the_local_teacher_has_the_statistics_of_the_labelled_stretch() -> None:
    model = nn.Sequential(nn.BatchNorm1d(CLASSES), nn.Linear(CLASSES, CLASSES))
    trainer = FedLabel(
        fedlabel.FedLabelParameters(), Task(model, Optimizer(OptimizerSpec()), CLASSES)
    )
    received = Received({"arrays": dict(model.state_dict())}, {"threshold": 0.0})
    carry = trainer.begin(received, {}, ClientStats(torch.ones(CLASSES), CLASSES))
    labelled, unlabelled = trainer.phases()
    model.train()
    inputs = 3 + torch.randn(8, CLASSES)
    carry, _ = trainer.step(carry, batch_of(inputs, inputs), labelled, 1)
    assert unlabelled.enter is not None
    carry = unlabelled.enter(carry)
    learnt = carry.extra["local buffers"]["0.running_mean"]
    torch.testing.assert_close(learnt, 0.1 * inputs.mean(dim=0))
    assert not carry.extra["global buffers"]["0.running_mean"].any()


def test_uda_by_hand() -> None:
    trainer = UDA(UDAParameters(threshold=0.7, temperature=0.5), task())
    weak, strong = torch.tensor([[2.0, 0, 0], [0.1, 0, 0]]), torch.tensor([[0.0, 1, 0], [1, 0, 0]])
    loss = trainer.consistency(weak, strong)
    target = (weak[0] / 0.5).softmax(dim=0)
    expected = kl_div(log_softmax(strong[0], dim=0), target, reduction="sum")
    torch.testing.assert_close(loss, torch.stack([expected, torch.tensor(0.0)]))


METHODS: dict[str, dict[str, Any]] = {
    "fedlabel": {"name": "fedlabel"},
    "fedlabel-flute": {"name": "fedlabel", "aggregation": "flute", "scores": "probabilities"},
    "fixmatch": {"name": "fixmatch", "threshold": 0.3},
    "uda": {"name": "uda", "threshold": 0.3},
}
BUDGET = {"clients": 3, "label_budget": {"share": 0.25}}


@pytest.mark.slow_except("fedlabel", "uda")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(method: str) -> None:
    changes: dict[str, Any] = {
        "strategy": METHODS[method],
        "model": {"name": "small_cnn", "widths": [4, 8, 8]},
        "training": {"batch_size": 8},
        "partition": BUDGET,
    }
    assert ragged(**changes).trainer.supports_vmap
    assert_same(*both(ragged(**changes), rounds=1), 1e-6)  # views are made in single precision


@pytest.mark.parametrize("method", METHODS)
def test_a_client_without_labels_teaches_what_it_can(method: str) -> None:
    """It has nothing to train a teacher of its own on, so that the received model alone labels."""
    runtime = ragged(strategy=METHODS[method] | {"threshold": 0.0}, partition=BUDGET)
    (bare,) = (k for k in range(len(runtime.partition)) if not runtime.partition[k].labelled.any())
    config = {"server-round": 1, "threshold": 0.0}
    down = Received({"arrays": dict(runtime.trainer.task.model.state_dict())}, config)
    update, metrics = runtime.train(bare, down, {})
    sent = update.arrays["arrays"]
    assert all(tensor.isfinite().all() for tensor in sent.values())
    assert metrics["num-examples"] == len(runtime.partition[bare].train)
    moved = update.arrays.get("unlabelled", sent)
    assert not torch.equal(moved["1.weight"], down.model["1.weight"])


@pytest.mark.usefixtures("ray_here")
@pytest.mark.slow
def test_ray_and_this_process_give_the_same_bytes(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"strategy": METHODS["fedlabel"], "partition": BUDGET}
    for place in ("local", "ray"):
        chosen = scenario(**fields, resources={"backend": place})
        assert simulate(chosen, out=tmp_path / place, progress=False).finished
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("local", "ray")]
    assert files[0] == files[1]


@pytest.mark.slow_except("fedlabel", "uda")
@pytest.mark.parametrize("method", METHODS)
def test_runs_count_what_they_used(tmp_path: Path, method: str) -> None:
    chosen = scenario(strategy=METHODS[method], partition=BUDGET)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    assert run.finished
    if method.startswith("fedlabel"):
        rows = run.history.query("metric == 'pseudo-labels'")
        assert 0 < rows.value.max() <= 30
    assert resume(tmp_path / "run", progress=False).finished


def test_nothing_is_pseudo_labelled_during_burn_in(tmp_path: Path) -> None:
    late = {"name": "fedlabel", "burn_in": 1}
    run = simulate(scenario(strategy=late, partition=BUDGET), out=tmp_path / "run", progress=False)
    by_round = run.history.query("metric == 'pseudo-labels'").groupby("round").value.sum()
    assert by_round[1] == 0
    assert by_round[2] > 0


@pytest.mark.parametrize("method", ["fedlabel", "fixmatch", "uda"])
def test_what_makes_no_sense_is_refused(method: str) -> None:
    with pytest.raises(InputError, match="which leaves none"):
        prepare(scenario(strategy=method))
    loss = {"training": {"loss": "cross_entropy", "batch_size": 16}}
    assert prepare(scenario(strategy=method, partition=BUDGET, **loss))


@pytest.mark.parametrize("name", ["fedlabel", "fixmatch", "uda"])
def test_samples_without_strong_views_are_refused_before_training(
    name: str, tmp_path: Path
) -> None:
    rows = [f"{number % 7},{number % 3},{'ab'[number % 2]}" for number in range(40)]
    (tmp_path / "north.csv").write_text("\n".join(["x,y,kind", *rows]))
    source = {"name": "csv", "files": {"north": "north.csv"}, "label": "kind"}
    table = scenario(
        data={"sources": [source], "root": str(tmp_path)},
        partition={"clients": 2, "label_budget": {"share": 0.5}},
        model={"name": "mlp", "hidden": [4], "norm": "none"},
        strategy=name,
    )
    with pytest.raises(InputError, match=f"strategy.name: {name} .* views of images, and the"):
        prepare(table)
