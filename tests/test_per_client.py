"""Clients with different networks: each is trained, kept and tested with its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedlab.adaptation.trained import open_trained
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.engine.execution.mixed_runtime import MixedRuntime
from fedlab.engine.execution.round_workload import RoundWorkload, of_networks
from fedlab.engine.start import make_runtime
from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario, to_yaml
from fedlab.simulation import resume, simulate
from helpers import toy
from helpers.cohorts import assert_same
from helpers.running import At, on, result

CNN = {"name": "small_cnn", "widths": [4, 4, 12]}
MLP = {"name": "mlp", "hidden": [16, 12]}
SHAPES = ((), (), (2,), (2,), ())
"""What stands before the clients in the numbers of a `RoundWorkload`, with two phases."""
BOTH: dict[str, Any] = {"per_client": [CNN, MLP]}


def scenario(**changes: Any) -> Scenario:
    fields = {"strategy": "fedproto", "model": BOTH, "partition": {"clients": 4}, "rounds": 2}
    return toy.scenario(**fields | changes)


def tensors(run: Any, client: int) -> dict[str, torch.Tensor]:
    return run.model(client=client).state_dict()


def test_a_client_has_the_model_of_a_run_with_its_network(tmp_path: Path) -> None:
    """Where nothing is shared (λ = 0), other clients' networks make no difference."""
    alone = {"strategy": {"name": "fedproto", "lam": 0.0}}
    networks, places = [MLP | {"freeze": ["1.*"]}, CNN], [1, 1, 0, 1]
    model = {"per_client": networks, "clients": places}
    mixed = simulate(scenario(model=model, **alone), out=tmp_path / "mixed", progress=False)
    runs = [
        simulate(scenario(model=network, **alone), out=tmp_path / str(place), progress=False)
        for place, network in enumerate(networks)
    ]
    histories = [run.history.query("client >= 0 and split == 'test'") for run in (mixed, *runs)]
    for client, place in enumerate(places):
        torch.testing.assert_close(tensors(mixed, client), tensors(runs[place], client))
        own, other = (
            histories[k].query(f"client == {client}").value.tolist() for k in (0, 1 + place)
        )
        assert own == pytest.approx(other, abs=1e-5)


def test_prototypes_are_those_of_all_networks(tmp_path: Path) -> None:
    states: list[Any] = []

    class Watch(At):
        def on_end(self, strategy: Any) -> None:
            states.append(strategy.state)

    chosen = scenario(rounds=1)
    simulate(chosen, out=tmp_path / "run", callbacks=[Watch(9, lambda: None)], progress=False)
    prepared = prepare(chosen)
    runtime = make_runtime(prepared.scenario, "cpu", 1, prepared.data, prepared.partition)
    received = _received(1)
    sent = [runtime.train(client, received, {})[0].arrays["prototypes"] for client in range(4)]
    for label in range(toy.CLASSES):
        having = [(each["classes"] == label).nonzero().flatten() for each in sent]
        rows = [e["features"][k] for e, k in zip(sent, having, strict=True)]
        counts = torch.cat([e["counts"][k] for e, k in zip(sent, having, strict=True)]).float()
        mean = (counts[:, None] * torch.cat(rows)).sum(dim=0) / counts.sum()
        torch.testing.assert_close(states[0]["prototypes"]["features"][label], mean)


def _received(server_round: int) -> Any:
    from fedlab.clients.base import Received

    return Received({"arrays": {}}, {"server-round": server_round, "rounds": 2})


def test_clients_with_the_same_network_train_as_one() -> None:
    prepared = prepare(scenario())
    runtime = make_runtime(prepared.scenario, "cpu", 1, prepared.data, prepared.partition)
    assert isinstance(runtime, MixedRuntime)
    clients = [3, 0, 2, 1]
    alone = [runtime.train(client, _received(1), {}) for client in clients]
    together = runtime.train_many(clients, _received(1), [{} for _ in clients])
    assert_same(alone, together)
    states = [update.client_state for update, _ in alone]
    scores = runtime.evaluate_many(clients, _received(1), states)
    for client, state, score in zip(clients, states, scores, strict=True):
        assert score == runtime.evaluate(client, _received(1), state)
    assert "0.weight" in states[1]["model"]  # a convolution of client 0
    assert "1.weight" in states[0]["model"]  # a dense layer of client 3
    assert all(part.client_data is runtime.client_data for part in runtime.parts)


def test_work_is_that_of_a_clients_own_network() -> None:
    def work(value: int) -> RoundWorkload:
        return RoundWorkload(*(value + np.arange(4) * np.ones((*phases, 1)) for phases in SHAPES))

    found = of_networks(scenario(), [work(10), work(20)])
    for numbers, phases in zip(found, SHAPES, strict=True):
        assert numbers.shape == (*phases, 4)
        assert np.array_equal(numbers, np.broadcast_to([10, 21, 12, 23], numbers.shape))


@pytest.mark.slow
def test_a_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    chosen = scenario(rounds=3, participation={"fraction": 0.5})
    simulate(chosen, out=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        simulate(chosen, out=tmp_path / "cut", callbacks=[At(2, interrupt)], progress=False)
    assert resume(tmp_path / "cut", progress=False).finished
    assert result(tmp_path / "whole") == result(tmp_path / "cut")


@pytest.mark.slow
def test_actors_and_one_process_give_the_same_bytes(tmp_path: Path, ray_here: None) -> None:
    """Each actor builds all networks; clients of a stack have the same one."""
    for backend in ("local", "ray"):
        chosen = scenario(resources=on(backend), partition={"clients": 6})
        simulate(chosen, out=tmp_path / backend, progress=False)
    assert result(tmp_path / "local") == result(tmp_path / "ray")


def test_a_run_shows_what_its_networks_have_in_common(tmp_path: Path) -> None:
    wide = {"name": "mlp", "hidden": [8]}
    chosen = scenario(strategy="local_only", model={"per_client": [MLP, wide]}, rounds=1)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    assert run.trained_parameters is None
    assert run.workload["forward"] > 0
    assert json.loads((run.folder / "workload.json").read_text())["parameters"] == "differ"
    with pytest.raises(InputError, match="no global model, as its clients have different networks"):
        run.model()
    with pytest.raises(InputError, match="export the model of a client"):
        open_trained(run)
    again = load_scenario(run.folder / "scenario.yaml")
    assert again.model == run.scenario.model
    assert "per_client" in to_yaml(again)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strategy": "fedavg"}, "model.per_client: fedavg sends models"),
        ({"strategy": {"name": "fedheal", "base": "fedprox"}}, "fedheal sends models"),
        ({"model": {"per_client": [CNN, {"name": "mlp", "hidden": [8]}]}}, r"\[12, 8\] numbers"),
        ({"model": {"per_client": [MLP, "linear"]}}, "the model 'linear' has none"),
        ({"model": BOTH | {"clients": [0, 1, 0]}}, "names the networks of 3 clients, and there"),
        ({"model": {"per_client": [CNN, MLP, MLP, CNN, MLP]}}, "5 networks for 4 clients"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        prepare(scenario(**changes))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"per_client": [MLP]}, "at least 2"),
        (BOTH | {"norm": "group"}, "norm is said of each network"),
        (BOTH | {"clients": [0, 0, 0, 0]}, "1 is named by no client"),
        (BOTH | {"clients": [0, 1, 2, 0]}, "2 is the place of no network"),
        ({"per_client": [BOTH, MLP]}, "all networks in one list"),
    ],
    ids=str,
)
def test_what_says_nothing_is_refused(model: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        scenario(model=model)


def test_devices_have_one_network() -> None:
    with pytest.raises(InputError, match="all devices build the one network"):
        setup_of(scenario())
