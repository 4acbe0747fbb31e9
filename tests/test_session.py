"""Runs that share one Ray and its actors."""

from __future__ import annotations

import os
import signal

import pytest
import ray

import fedlab
from fedlab.engine.ray import cluster
from fedlab.engine.ray import session as sessions
from fedlab.engine.ray.resources import Hardware
from fedlab.engine.start import start_grid
from fedlab.preparation import prepare
from helpers import toy
from helpers.processes import parent, wait_until
from helpers.running import on


def pids(**resources: int) -> set[int]:
    """The processes of a run's actors."""
    prepared = prepare(toy.scenario(resources=on("ray") | resources))
    grid, _ = start_grid(prepared.scenario, prepared.data, prepared.partition)
    with grid:
        return set(grid.actor_pids)  # type: ignore[attr-defined]


def gone(processes: set[int]) -> bool:
    return wait_until(lambda: not any(map(parent, processes)), 60)


@pytest.mark.slow
def test_actors_serve_the_next_run_unless_it_needs_others(ray_here: None) -> None:
    two = pids()
    assert len(two) == 2
    assert pids() == two
    assert pids(actors=1) < two
    large = pids(actors=1, cpus_per_actor=2)
    assert not large & two
    assert gone(two)
    with fedlab.session():  # within the one of all tests
        assert pids(actors=1, cpus_per_actor=2) == large
    assert parent(large.pop())


@pytest.mark.slow
def test_an_actor_that_died_between_two_runs_is_replaced(ray_here: None) -> None:
    (first,) = pids(actors=1)
    os.kill(first, signal.SIGKILL)
    assert gone({first})
    (second,) = pids(actors=1)
    assert second != first


@pytest.mark.slow
def test_without_a_session_no_actor_is_left(
    ray_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions.end_waiting_actors()
    monkeypatch.setattr(sessions, "_current", None)
    assert gone(pids(actors=1))


def test_a_session_keeps_one_cluster_and_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def init(*, address: str, **_: object) -> None:
        calls.append(address)

    def shutdown() -> None:
        calls.append("shutdown")

    monkeypatch.setattr(sessions, "_current", None)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", shutdown)
    monkeypatch.setattr(ray, "is_initialized", lambda: bool(calls) and calls[-1] != "shutdown")
    monkeypatch.setattr(cluster, "_hardware", lambda: Hardware(2, 0))
    monkeypatch.setattr(cluster, "refuse_unreachable", lambda address: None)
    with fedlab.session():
        for address in (None, None, "other:6379"):
            _, disconnect = cluster.connect(address)
            disconnect()
        assert calls == ["local", "shutdown", "other:6379"]
    assert calls[3:] == ["shutdown"]
    _, disconnect = cluster.connect(None)
    disconnect()
    assert calls[4:] == ["local", "shutdown"]
