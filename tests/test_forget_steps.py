"""What forgetting does to a model, step by step in plain PyTorch."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from fedlab import rng
from fedlab.clients.base import Received
from fedlab.runs.checkpoint import load_checkpoint
from fedlab.runs.run import Run
from fedlab.training import lists
from fedlab.unlearning import label_agnostic, projected_ascent
from fedlab.unlearning.feature_autoencoder import FeatureAutoencoder
from fedlab.unlearning.reference_model import reference_model
from fedlab.unlearning.request import changeable, request
from helpers.adapting import finished
from helpers.forgetting import striped

pytestmark = pytest.mark.xdist_group("forget_steps")  # what is made for all of them is made once


@pytest.fixture(scope="module")
def stripes(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return striped(tmp_path_factory.mktemp("runs") / "stripes")


def test_the_reference_is_the_mean_of_the_others_last_models(stripes: Run) -> None:
    asked = request(stripes, 1)
    checkpoint = changeable(asked)
    found = reference_model(asked, checkpoint)
    assert found.exact
    assert found.steps == 0
    before = load_checkpoint(stripes.folder / "checkpoints", 2).server
    received = Received(before, {"server-round": 3, "rounds": 3})
    runtime = asked.trained.runtime
    locals_ = {each: runtime.train(each, received, {}) for each in (0, 2)}
    sizes = {each: metrics["num-examples"] for each, (_, metrics) in locals_.items()}
    total = sum(sizes.values())
    for name in runtime.trainer.task.anatomy.learning:
        expected = sum(
            sizes[each] / total * update.arrays["arrays"][name]
            for each, (update, _) in locals_.items()
        )
        torch.testing.assert_close(found.model[name], expected, rtol=1e-4, atol=1e-5)


def test_without_its_last_model_a_client_trains_once_more(stripes: Run, tmp_path: Path) -> None:
    again = finished(
        tmp_path / "run",
        rounds=2,
        output={"checkpoint_every": 2},
        model={"name": "small_cnn", "widths": [4, 4, 8]},
    )
    asked = request(again, 0)
    checkpoint = changeable(asked)
    found = reference_model(asked, checkpoint)
    assert not found.exact
    assert found.steps > 0
    state = checkpoint.server["arrays"]
    update, _ = asked.trained.runtime.train(
        0, Received(checkpoint.server, {"server-round": 3, "rounds": 2}), {}
    )
    for name in asked.trained.runtime.trainer.task.anatomy.learning:
        expected = (3 * state[name] - update.arrays["arrays"][name]) / 2  # three equal clients
        torch.testing.assert_close(found.model[name], expected, rtol=1e-4, atol=1e-5)
    still = set(state) - set(asked.trained.runtime.trainer.task.anatomy.learning)
    assert still
    assert all(torch.equal(found.model[name], state[name]) for name in still)


@pytest.mark.slow_except("0.5")
@pytest.mark.parametrize("clip", [5.0, 0.5])
def test_ascent_is_sgd_up_the_loss_and_back_onto_the_ball(stripes: Run, clip: float) -> None:
    asked = request(stripes, 1)
    reference = reference_model(asked, changeable(asked))
    options = projected_ascent.Options(epochs=4, lr=0.3, clip=clip, radius_share=0.01)
    found = projected_ascent.ascend(asked, reference, options, seed=0)
    assert found.steps == 4
    assert found.distance == pytest.approx(found.radius, rel=1e-4)

    task = asked.trained.runtime.trainer.task
    model = copy.deepcopy(task.model).eval()
    model.load_state_dict({**model.state_dict(), **reference.model})
    data = asked.trained.runtime.client_data(1)
    inputs = asked.trained.runtime.preprocess.inputs(data.inputs)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        (-cross_entropy(model(inputs), data.labels)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        with torch.no_grad():
            away = {n: p - reference.model[n] for n, p in model.named_parameters()}
            distance = torch.cat([each.flatten() for each in away.values()]).norm()
            if distance > found.radius:
                for name, parameter in model.named_parameters():
                    parameter.copy_(reference.model[name] + found.radius / distance * away[name])
    for name, value in model.state_dict().items():
        if name in found.model:
            torch.testing.assert_close(found.model[name], value, rtol=1e-3, atol=1e-4)


def test_the_radius_is_the_root_of_a_share_of_squared_distances(
    stripes: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(stripes, 1)
    network = asked.trained.runtime.trainer.task.model
    still = {name: value.detach() for name, value in network.named_parameters()}
    monkeypatch.setattr(projected_ascent, "initial_model", lambda *rest: network)
    centre = {name: value + 2 for name, value in still.items()}
    count = sum(value.numel() for value in still.values())
    found = projected_ascent.ball_radius(asked, centre, 1 / 3, seed=0)
    assert found == pytest.approx((4 * count / 3) ** 0.5)


@pytest.mark.slow
def test_ascent_ends_at_a_distance_from_the_local_model(stripes: Run) -> None:
    asked = request(stripes, 1)
    reference = reference_model(asked, changeable(asked))
    options = projected_ascent.Options(epochs=6, lr=0.05)
    whole = projected_ascent.ascend(asked, reference, options, seed=0)
    learnt = asked.trained.runtime.trainer.task.anatomy.learning
    away = lists.less({name: whole.model[name] for name in learnt}, reference.local)
    most = float(lists.square_sum(away))
    ended = projected_ascent.ascend(
        asked, reference, options._replace(stop_distance=0.3 * most), seed=0
    )
    assert 0 < ended.steps < 6


def test_the_head_and_statistics_stay_as_they_are(stripes: Run) -> None:
    asked = request(stripes, 1)
    state = changeable(asked).server["arrays"]
    options = label_agnostic.Options(epochs=3, autoencoder_rounds=1, autoencoder_epochs=1)
    found = label_agnostic.forget_features(asked, state, options, seed=0)
    assert found.steps == 6  # a batch each, and two steps
    assert found.cost.steps == 12
    assert {name for name in state if torch.equal(state[name], found.model[name])} == {
        *asked.trained.runtime.trainer.task.head.names,
        *asked.trained.runtime.trainer.task.anatomy.buffers,
    } & set(state)


def test_features_change_by_two_steps_of_adam_for_each_pair(
    stripes: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("fit", "fit_together"):
        monkeypatch.setattr(label_agnostic, name, lambda *rest, **more: None)
    own = request(stripes, 1).trained.runtime.partition[1].train
    asked = request(stripes, 1, ",".join(map(str, own[:5])))
    state = changeable(asked).server["arrays"]
    options = label_agnostic.Options(epochs=3, extraction_lr=2e-3, alignment_lr=1e-3)
    found = label_agnostic.forget_features(asked, state, options, seed=4)

    runtime = asked.trained.runtime
    model = copy.deepcopy(runtime.trainer.task.model).eval()
    model.load_state_dict({**model.state_dict(), **state})
    old = copy.deepcopy(model)
    *body, head = model.children()
    assert isinstance(head, torch.nn.Linear)
    inputs = runtime.preprocess.inputs(runtime.client_data(1).inputs)
    with rng.torch_seed(4, "forget", "autoencoders"):
        of_rest, of_own = (FeatureAutoencoder(head.in_features, 8) for _ in range(2))
    learning = [each for layer in body for each in layer.parameters()]
    extraction = torch.optim.Adam(learning, lr=2e-3)
    alignment = torch.optim.Adam(learning, lr=1e-3)

    def features(network: torch.nn.Module, rows: slice) -> torch.Tensor:
        return torch.nn.Sequential(*list(network.children())[:-1])(inputs[rows])

    gone, rest = slice(0, 5), slice(5, None)
    for _ in range(3):
        loss = torch.zeros(())
        for rows, coder, sign in ((rest, of_rest, 1), (gone, of_own, -1)):
            made = features(model, rows)
            far = (coder(made) - made).square().sum(dim=1)
            loss = loss + sign * (far / (far + 1)).exp().sum()
        extraction.zero_grad()
        loss.backward()
        extraction.step()
        turned = {
            part: 1 - torch.cosine_similarity(features(model, rows), features(old, rows).detach())
            for part, rows in (("rest", rest), ("gone", gone))
        }
        bottom = (turned["gone"] / 5).exp().sum()
        alignment.zero_grad()
        (turned["rest"].exp() / bottom).log().sum().backward()
        alignment.step()
    for name, value in model.named_parameters():
        torch.testing.assert_close(found.model[name], value, rtol=1e-3, atol=1e-4)
    assert found.cost.steps == 2 * 6


def test_ascent_is_on_the_chosen_samples_alone(stripes: Run) -> None:
    own = request(stripes, 1).trained.runtime.partition[1].train
    some = request(stripes, 1, ",".join(map(str, own[:5])))
    reference = reference_model(some, changeable(some))
    options = projected_ascent.Options(epochs=1, lr=0.1, clip=100.0, radius_share=100.0)
    found = projected_ascent.ascend(some, reference, options, seed=0)
    task, runtime = some.trained.runtime.trainer.task, some.trained.runtime
    model = copy.deepcopy(task.model).eval()
    model.load_state_dict({**model.state_dict(), **reference.model})
    data = runtime.client_data(1)
    loss = cross_entropy(model(runtime.preprocess.inputs(data.inputs[:5])), data.labels[:5])
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        expected = reference.model[name] + 0.1 * parameter.grad
        torch.testing.assert_close(found.model[name], expected, rtol=1e-4, atol=1e-5)


def test_a_head_that_never_travels_stays_as_it_was_initialised(tmp_path: Path) -> None:
    """FedBABU: the body ascends, and its distance is measured without the head."""
    run = finished(
        tmp_path / "run", strategy="fedbabu", rounds=2, model={"name": "mlp", "hidden": [8]}
    )
    asked = request(run, 1)
    reference = reference_model(asked, changeable(asked))
    found = projected_ascent.ascend(asked, reference, projected_ascent.Options(epochs=1), 0)
    body = set(found.model)
    assert body == set(reference.model) == set(asked.trained.runtime.trainer.shared)
    away = torch.stack([(found.model[name] - reference.model[name]).norm() for name in body])
    assert found.distance == pytest.approx(float(away.norm()), rel=1e-5)
    assert 0 < found.distance <= found.radius
