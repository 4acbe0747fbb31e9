"""Very many clients: nothing is made for those that do not take part, and memory has a bound."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, RecordDict

from fedlab.engine.client_states import ClientStates
from fedlab.engine.start import start_grid
from fedlab.engine.work_units import FIRST_NODE_ID
from fedlab.preparation import prepare
from fedlab.records import arrays_of, to_record
from fedlab.scenario import Scenario
from fedlab.server_app import build_strategy
from fedlab.simulation import simulate
from helpers import toy

COHORT = 20


def crowd(clients: int, **changes) -> Scenario:
    """A scenario in which a small cohort of a large population takes part."""
    fraction = COHORT / clients
    fields = {
        "data": {"sources": [{"name": "helpers.toy:Many", "train": clients}], "image_size": 4},
        "model": {"name": "mlp", "hidden": [4]},
        "partition": {"clients": clients},
        "participation": {"fraction": fraction},
        "evaluation": {"fraction": fraction, "domains": False},
    }
    return toy.scenario(**fields | changes)


def test_a_round_of_100_000_clients_costs_what_its_cohort_costs(tmp_path: Path) -> None:
    calls = {}
    for clients in (1_000, 100_000):
        prepared = prepare(crowd(clients))
        grid, _ = start_grid(prepared.scenario, prepared.data, prepared.partition)
        strategy = build_strategy(prepared.scenario, prepared.model)
        rounds: list[int] = []
        arrays = to_record(prepared.model.state_dict())
        for server_round in range(1, 6):
            counted = Counter[str]()
            sys.setprofile(lambda frame, event, argument: counted.update([event]))  # noqa: B023
            messages = list(strategy.configure_train(server_round, arrays, ConfigRecord(), grid))
            replies = list(grid.send_and_receive(messages))
            strategy.aggregate_train(server_round, replies)
            sys.setprofile(None)
            rounds.append(counted["call"] + counted["c_call"])
            assert len(replies) == COHORT
        calls[clients] = min(rounds)
    assert calls[100_000] < 1.1 * calls[1_000]


def test_a_run_of_100_000_clients_reaches_all_of_them(tmp_path: Path) -> None:
    data = {"sources": [{"name": "helpers.toy:Many", "train": 100_000}], "image_size": 8}
    chosen = crowd(100_000, strategy="fedbn", model="small_cnn", data=data)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    trained = run.history[run.history.split == "train"].client
    assert trained.nunique() > COHORT
    assert trained.max() > 50_000
    assert len(list((tmp_path / "run" / "checkpoints" / "clients").iterdir())) == trained.nunique()


def test_node_ids_stand_for_clients_without_being_made() -> None:
    prepared = prepare(toy.scenario())
    grid, _ = start_grid(prepared.scenario, prepared.data, prepared.partition)
    assert grid.get_node_ids() == range(FIRST_NODE_ID, FIRST_NODE_ID + 3)


def state_of(client: int, version: int) -> RecordDict:
    return RecordDict({"model": to_record({"w": torch.full((100,), 10.0 * client + version)})})


@pytest.mark.parametrize("budget", [400 * 3, 400 * 1000, 0])
def test_states_past_the_budget_come_back_from_disk(budget: int) -> None:
    states = ClientStates(lambda state: state, budget)
    generator = np.random.default_rng(0)
    newest = {}
    for version in range(60):
        client = int(generator.integers(8))
        newest[client] = version
        states.put(client, state_of(client, version), 400)
        for known in newest:
            tensor = arrays_of(states.get(known))["model"]["w"]
            assert tensor.tolist() == [10.0 * known + newest[known]] * 100
    assert states.get(8) is None
    assert states.records(range(20)).keys() == newest.keys()
    folder = states._folder
    assert (folder is None) == (budget == 400 * 1000)
    states.close()
    assert folder is None or not folder.exists()


def test_states_that_are_held_elsewhere_take_no_budget() -> None:
    states = ClientStates({n: state_of(n, 0) for n in range(5)}.__getitem__, budget=1)
    for client in range(5):
        states.put(client, client, 0)
    assert states._folder is None
    assert states.records([3])[3] == state_of(3, 0)


def test_a_run_whose_states_do_not_fit_into_memory_ends_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers.running import result

    chosen = toy.scenario(strategy="fedbn", rounds=3, participation={"fraction": 0.67})
    simulate(chosen, out=tmp_path / "memory", progress=False)
    monkeypatch.setattr(ClientStates.__init__, "__defaults__", (1,))
    simulate(chosen, out=tmp_path / "disk", progress=False)
    assert result(tmp_path / "memory") == result(tmp_path / "disk")
