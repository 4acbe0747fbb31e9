"""FedDG-GA: weights by hand, losses before and after a mean, and what it needs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fedlab.clients.base import Received
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.preparation import prepare
from fedlab.simulation import resume, simulate
from fedlab.strategies.feddg_ga import FedDGGA, FedDGGAParameters
from helpers import toy
from helpers.cohorts import MODELS, runtime_of
from helpers.running import At, result

NETWORK = nn.Linear(1, 1, bias=False)
VALIDATED = {"validation": {"share": 0.25}}


def server(population: int = 2, rounds: int = 3, **parameters: Any) -> FedDGGA:
    strategy = FedDGGA(NETWORK, FedDGGAParameters(**parameters))
    strategy.initialise({"weight": torch.zeros(1, 1)})
    strategy.population, strategy.rounds = population, rounds
    return strategy


def sent(client: int, weight: float, received: Any, trained: Any, examples: int = 10):
    metrics: dict[str, Any] = {"num-examples": examples}
    if received is not None:
        metrics |= {"validation_received": received, "validation_trained": trained}
    return ClientUpdate(client, {"arrays": {"weight": torch.full((1, 1), weight)}}, metrics)


def test_weights_are_those_of_fl4health() -> None:
    strategy = server()
    found = strategy.adjusted(2, {0: 1 / 3, 1: 1 / 3}, {0: 0.3556 - 0.5467, 1: 0.7654 - 0.5432})
    assert list(found.values()) == pytest.approx([0.3, 0.7])


@pytest.mark.parametrize(
    ("centred", "expected"),
    [
        (True, [0.358333, 0.133333, 0.508333]),
        (False, [0.340426, 0.276596, 0.382979]),  # the authors' code
    ],
)
def test_gaps_of_three_clients_by_hand(centred: bool, expected: list[float]) -> None:
    strategy = server(population=3, centred=centred)
    found = strategy.adjusted(1, dict.fromkeys(range(3), 1 / 3), {0: 0.1, 1: -0.2, 2: 0.3})
    assert list(found.values()) == pytest.approx(expected, abs=1e-6)


def test_equal_gaps_change_nothing_and_weights_stay_between_0_and_1() -> None:
    strategy = server()
    assert strategy.adjusted(1, {0: 0.4, 1: 0.6}, {0: 0.3, 1: 0.3}) == {0: 0.4, 1: 0.6}
    assert strategy.adjusted(1, {0: 0.1, 1: 0.9}, {0: -1.0, 1: 1.0}) == {0: 0.0, 1: 1.0}


def test_where_all_weights_would_vanish_none_changes() -> None:
    """Without centring, all gaps may be negative, and a large step takes more than there is."""
    strategy = server(centred=False, step=3.0)
    assert strategy.adjusted(1, {0: 0.5, 1: 0.5}, {0: -0.2, 1: -0.2}) == {0: 0.5, 1: 0.5}


def test_a_rounds_gap_counts_in_the_next_mean() -> None:
    strategy = server(rounds=10)
    strategy.aggregate(1, [sent(0, 1.0, 9.0, 0.5, examples=90), sent(1, 5.0, 9.0, 0.2)])
    assert strategy.state["arrays"]["weight"].item() == pytest.approx(3.0)  # equal for all sizes
    # The first mean was worse than the own model by 0.1 and by 0.5: from -0.2 and 0.2 about 0.3.
    strategy.aggregate(2, [sent(0, 1.0, 0.6, 0.4), sent(1, 5.0, 0.7, 0.1)])
    weights = strategy.state["adjustment"]["weights"]
    assert weights.tolist() == pytest.approx([0.3, 0.7])
    assert strategy.state["arrays"]["weight"].item() == pytest.approx(0.3 * 1 + 0.7 * 5)
    # Client 1 has no validation samples any more, and keeps its weight; client 2 has joined.
    strategy.aggregate(
        3, [sent(0, 1.0, 0.9, 0.4), sent(1, 5.0, None, None), sent(2, 1.0, 1.0, 1.0)]
    )
    assert strategy.state["adjustment"]["clients"].tolist() == [0, 1, 2]
    total = 0.3 + 0.7 + 0.5
    expected = [0.3 / total, 0.7 / total, 0.5 / total]
    assert strategy.state["adjustment"]["weights"].tolist() == pytest.approx(expected)


def test_both_losses_are_on_validation_samples() -> None:
    runtime = runtime_of(
        strategy="feddg_ga", model=MODELS["cnn-batch"], evaluation=VALIDATED, train=80
    )
    model = copy.deepcopy(runtime.trainer.task.model)
    down = {n: t.clone() for n, t in model.state_dict().items()}
    received = Received({"arrays": down}, {"server-round": 1, "rounds": 3})
    update, metrics = runtime.train(1, received, {})
    ((_, together),) = runtime.train_many([1], received, [{}])

    rows = runtime.partition[1].validation
    assert len(rows)
    images = runtime.preprocess.inputs(torch.from_numpy(runtime.data.train.inputs[rows]))
    labels = torch.from_numpy(runtime.data.train.labels[rows])
    for name, state in (("received", down), ("trained", update.arrays["arrays"])):
        model.load_state_dict(state)
        loss = cross_entropy(model.eval()(images), labels).item()
        assert metrics[f"validation_{name}"] == pytest.approx(loss, rel=1e-5)
        assert together[f"validation_{name}"] == pytest.approx(loss, rel=1e-4)
    plain = runtime_of(strategy="fedavg", model=MODELS["cnn-batch"], evaluation=VALIDATED, train=80)
    assert "validation_trained" not in plain.train(1, received, {})[1]


@pytest.mark.slow
def test_a_run_resumes_and_sends_the_model_alone(tmp_path: Path) -> None:
    chosen = toy.scenario(strategy="feddg_ga", model="mlp", rounds=4, evaluation=VALIDATED)
    run = simulate(chosen, out=tmp_path / "whole", progress=False)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(chosen, out=tmp_path / "cut", callbacks=[At(2, interrupt)], progress=False)
    assert resume(tmp_path / "cut", progress=False).finished
    assert result(tmp_path / "whole") == result(tmp_path / "cut")
    rows = run.history.query("split == 'round' and metric == 'bytes_up'").value
    size = sum(4 * p.numel() for p in prepare(chosen).model.parameters())
    assert rows.tolist() == [3 * size] * 4
    rows = run.history.query("metric == 'validation_trained'")
    assert len(rows) == 12


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "add evaluation.validation=0.2"),
        ({"evaluation": VALIDATED, "participation": {"fraction": 0.5}}, "participation.fraction"),
        ({"evaluation": VALIDATED, "updates": {"rule": "median"}}, "updates.rule: median has no"),
    ],
)
def test_what_it_needs_is_asked_for(changes: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        prepare(toy.scenario(strategy="feddg_ga", **changes))


def test_another_weighting_is_refused() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        FedDGGAParameters(weighting="uniform")
