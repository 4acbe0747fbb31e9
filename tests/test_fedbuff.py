"""FedBuff: a timeline worked out by hand, its step, and runs that repeat and resume to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.preparation import prepare
from fedlab.scenario import Scenario
from fedlab.simulation import resume, simulate
from fedlab.strategies.fedbuff import FedBuff, FedBuffParameters
from fedlab.virtual_time.async_clients import AsyncClients, BufferResult, End, InFlightUpdate
from fedlab.virtual_time.clock import VirtualClock
from helpers.fleets import MLP, SLOWER_AND_SLOWER, clients, fleet_of, on_devices, whole
from helpers.running import At, on, result


def flight_of(training: list[float], concurrency: int, **fleet: Any) -> AsyncClients:
    clock = VirtualClock(fleet_of(training, **fleet))
    return AsyncClients(clock, concurrency, np.array(training, dtype=float))


def arrivals(ended: BufferResult) -> list[tuple[float, int, int]]:
    return [(trip.due, trip.client, trip.version) for trip in ended.arrived]


# ---------------------------------------------------------------------- the timeline


def test_three_clients_of_one_two_and_four_seconds() -> None:
    flight = flight_of([1, 2, 4], concurrency=3)
    # All begin at 0. Client 0 arrives at 1 and waits, as its update does; client 1 arrives at 2.
    first = flight.until(2, version=0)
    assert arrivals(first) == [(1, 0, 0), (2, 1, 0)]
    assert (first.started, first.seconds) == (3, 2)
    # At 2 both begin again from version 1. Client 0 arrives at 3; clients 1 and 2 end at 4, and
    # the buffer has room for one of them.
    second = flight.until(2, version=1)
    assert arrivals(second) == [(3, 0, 1), (4, 1, 1)]
    assert (second.started, second.seconds) == (2, 2)
    # At 4 both begin from version 2, and at the same moment client 2 arrives, two steps stale.
    third = flight.until(2, version=2)
    assert arrivals(third) == [(4, 2, 0), (5, 0, 2)]
    assert (third.started, third.seconds) == (2, 1)


def test_equally_fast_clients_begin_from_the_new_model() -> None:
    flight = flight_of([2, 2, 2], concurrency=3)
    for version in range(3):
        ended = flight.until(3, version)
        assert arrivals(ended) == [(2 * version + 2, client, version) for client in range(3)]


def test_no_more_clients_are_at_work_than_may_be() -> None:
    generator = np.random.default_rng(0)
    flight = flight_of(generator.lognormal(size=30).tolist(), concurrency=7, dropout=0.1)
    seen = set()
    for version in range(40):
        ended = flight.until(5, version)
        assert len(flight.trips) <= 7
        assert len({trip.client for trip in flight.trips}) == len(flight.trips)
        assert len({trip.client for trip in ended.arrived}) == 5
        assert all(trip.version <= version for trip in ended.arrived)
        seen |= {trip.client for trip in ended.arrived}
    assert seen == set(range(30))


def test_a_vacancy_is_filled_when_a_client_becomes_available() -> None:
    flight = flight_of([10.0] * 4, concurrency=4, availability=0.3, period=1.0)
    flight.until(1, version=0)
    began = {trip.client: trip.began for trip in flight.trips}
    fleet = flight.clock.fleet
    assert began
    for client, moment in began.items():
        able = [time for time in range(int(moment) + 1) if fleet.available(time)[client]]
        assert able[0] == moment


def test_who_is_late_or_drops_out_leaves_a_vacancy() -> None:
    flight = flight_of([1, 5, 5], concurrency=2, deadline=3)
    ended = flight.until(1, version=0)
    while not ended.lost:
        ended = flight.until(1, version=0)
    assert all(trip.end is End.LATE and trip.due - trip.began == 3 for trip in ended.lost)
    flight = flight_of([1.0] * 4, concurrency=4, dropout=0.9)
    ended = flight.until(3, version=0)
    assert {trip.end for trip in ended.lost} == {End.DROPPED}
    assert ended.started == len(flight.trips) + len(ended.lost) + 3


def test_a_flight_goes_on_as_a_checkpoint_says() -> None:
    training = np.random.default_rng(1).lognormal(size=12).tolist()
    whole_way, cut = (flight_of(training, concurrency=5, dropout=0.2) for _ in range(2))
    for version in range(6):
        expected, ended = whole_way.until(3, version), cut.until(3, version)
        assert ended == expected
        clock = VirtualClock(cut.clock.fleet)
        clock.resume(cut.clock.state())
        after = AsyncClients(clock, 5, cut.seconds)
        after.resume(cut.state())
        assert after.trips == cut.trips
        cut = after


def test_a_buffer_that_cannot_be_filled_is_refused() -> None:
    with pytest.raises(ValueError, match="3 updates are needed and 2 clients can deliver one"):
        flight_of([1, 2, 4], concurrency=3, deadline=3).until(3, version=0)


# ---------------------------------------------------------------------- the step


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_a_step_is_the_mean_of_changes_that_fade(weighting: str, exponent: float) -> None:
    parameters = FedBuffParameters(
        server_lr=0.5, weighting=weighting, staleness_exponent=exponent, buffer_size=2
    )
    strategy = FedBuff(nn.Linear(1, 1, bias=False), parameters)
    strategy.initialise({"weight": torch.tensor([[10.0]])})
    # Client 3 began with the model of version 1 and two steps were made since; client 5 is fresh.
    strategy.state["version-000001"] = {"weight": torch.tensor([[4.0]])}
    old, fresh = InFlightUpdate(9, 3, 1, 0, End.ARRIVED), InFlightUpdate(9, 5, 3, 8, End.ARRIVED)
    strategy.ended = BufferResult([old, fresh], [], 2, 0, 1.0)
    strategy.state["in-flight"] = {"version": torch.tensor([3, 1])}
    updates = [
        ClientUpdate(client, {"arrays": {"weight": torch.tensor([[value]])}}, {"num-examples": n})
        for client, value, n in ((3, 7.0, 30), (5, 12.0, 10))
    ]
    strategy.aggregate(4, updates)
    p = (0.5, 0.5) if weighting == "uniform" else (0.75, 0.25)
    change = p[0] * 3**-exponent * (7 - 4) + p[1] * (12 - 10)
    assert strategy.state["arrays"]["weight"].item() == pytest.approx(10 + 0.5 * change)
    # The models of those still at work are kept, and no others.
    kept = {name: state for name, state in strategy.state.items() if name.startswith("version")}
    assert {name: state["weight"].item() for name, state in kept.items()} == {
        "version-000001": 4.0,
        "version-000003": 10.0,
    }


@pytest.mark.slow_except("model1")
@pytest.mark.parametrize("model", [MLP, {"name": "small_cnn", "widths": [4, 4, 4]}])
def test_with_a_buffer_for_all_it_is_fedavg(model: dict, tmp_path: Path) -> None:
    """Whatever the devices: everybody waits for the slowest, and no update is stale."""
    buffered = {"name": "fedbuff", "buffer_size": 3, "concurrency": 3, "weighting": "examples"}
    runs = [
        simulate(
            on_devices({}, strategy=method, model=model, rounds=3),
            out=tmp_path / str(number),
            progress=False,
        )
        for number, method in enumerate(("fedavg", buffered))
    ]
    torch.testing.assert_close(*(run.model_state() for run in runs), rtol=1e-6, atol=1e-7)
    assert [whole(run, "virtual_seconds") for run in runs] == [[4.0, 4.0, 4.0]] * 2
    for metric in ("bytes_up", "bytes_down", "clients"):
        assert whole(runs[0], metric) == whole(runs[1], metric)


# ---------------------------------------------------------------------- runs


def buffered(rounds: int = 6, devices: dict | None = None, **changes: Any) -> Scenario:
    """Nine clients of three speeds, five at a time, three to a step."""
    fields: dict[str, Any] = {
        "strategy": {"name": "fedbuff", "buffer_size": 3, "concurrency": 5},
        "partition": {"clients": 9, "quantity": {"name": "lognormal", "sigma": 0.5}},
        "rounds": rounds,
    }
    return on_devices({"dropout": 0.1} if devices is None else devices, **fields | changes)


@pytest.mark.slow
def test_the_slow_are_stale_and_their_bytes_are_counted(tmp_path: Path) -> None:
    chosen = buffered(rounds=12, devices={})
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    rows = run.history.query("split == 'device' and metric == 'staleness'")
    assert len(rows) == 12 * 3
    fleet = prepare(chosen).fleet
    assert fleet is not None
    by_profile = rows.groupby(fleet.profile[rows["client"]])["value"].mean()
    assert by_profile[0] < by_profile[1] < by_profile[2]
    size = sum(tensor.numel() * 4 for tensor in run.model_state().values())
    assert whole(run, "bytes_up") == [3.0 * size] * 12
    tested, began = 9 * size, np.array(whole(run, "clients"))
    assert began[0] >= 5
    assert whole(run, "bytes_down") == (tested + began * size).tolist()
    assert 12 * 3 <= began.sum() <= 12 * 3 + 5
    assert clients(run, "staleness") == clients(run, "loss", "train")


def test_an_interrupted_run_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    chosen = buffered()
    run = simulate(chosen, out=tmp_path / "whole", progress=False)
    assert run.history.query("metric == 'staleness'")["value"].max() >= 1
    assert sum(whole(run, "dropped")) >= 1
    with pytest.raises(KeyboardInterrupt):
        simulate(chosen, out=tmp_path / "cut", callbacks=[At(3, interrupt)], progress=False)
    resume(tmp_path / "cut", progress=False)
    assert result(tmp_path / "whole") == result(tmp_path / "cut")


@pytest.mark.slow
def test_ray_and_this_process_give_the_same_bytes(tmp_path: Path, ray_here: None) -> None:
    engine = {"execution": "vmap", "stack_size": 2}
    for backend in ("local", "ray"):
        chosen = buffered(rounds=4, resources=on(backend), engine=engine)
        simulate(chosen, out=tmp_path / backend, progress=False)
    assert result(tmp_path / "local") == result(tmp_path / "ray")


def test_it_learns(tmp_path: Path) -> None:
    chosen = buffered(rounds=25, training={"batch_size": 8, "optimizer": {"lr": 0.1}})
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    assert run.summary()["global_value"].mean() > 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"devices": {}}, "strategy.name: fedbuff takes updates in the order in which they arrive"),
        (
            {"devices": {"profiles": SLOWER_AND_SLOWER, "over_selection": 1.3}},
            "devices.over_selection: 1.3 is about the cohort of a round, and fedbuff has none",
        ),
        ({"participation": {"fraction": 0.5}}, "participation.fraction: 0.5 is about the cohort"),
        (
            {"strategy": {"name": "fedbuff"}},
            "strategy.buffer_size: 10 is more than the 9 clients that there are; use at most 9",
        ),
        (
            {"devices": {"profiles": SLOWER_AND_SLOWER, "deadline": 0.01}},
            "devices.deadline: 0.01 virtual seconds are too short: replies from 3 of 9 clients",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict, words: str, tmp_path: Path) -> None:
    fields = buffered().model_dump(mode="json") | changes
    with pytest.raises(InputError) as said:
        simulate(Scenario.model_validate(fields), out=tmp_path / "run", progress=False)
    assert words in str(said.value)
    assert not (tmp_path / "run").exists()


def test_without_a_clock_it_says_so() -> None:
    strategy = FedBuff(nn.Linear(1, 1), FedBuffParameters())
    with pytest.raises(InputError, match="virtual clock; give it devices"):
        strategy.start(_NoDevices(), _arrays(), num_rounds=1)  # type: ignore[arg-type]


class _NoDevices:
    def get_node_ids(self) -> list[int]:
        return [1]


def _arrays():
    from fedlab.records import to_record

    return to_record(nn.Linear(1, 1).state_dict())
