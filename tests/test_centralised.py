"""Centralised training: the partition of the clients, pooled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fedlab.preparation import prepare
from fedlab.report.terminal.partition_view import render
from fedlab.simulation import simulate
from helpers import toy
from helpers.running import result

CNN = {"name": "small_cnn", "widths": [4, 8, 8]}
MIXED = {"clients": 5, "domains": "mixed", "labels": {"name": "dirichlet", "alpha": 0.5}}


def test_centralised_owns_what_the_clients_would_have_owned() -> None:
    partition = MIXED | {
        "quantity": {"name": "lognormal", "sigma": 1.0},
        "label_budget": {"share": 0.5},
        "label_noise": {"name": "symmetric", "rate": 0.3},
    }
    apart = prepare(toy.scenario(partition=partition)).partition
    pooled = prepare(toy.scenario(partition=partition, strategy="centralised")).partition
    assert (len(apart), len(pooled)) == (5, 1)
    for name in ("train", "labels", "labelled", "test"):
        parts_ = np.concatenate([getattr(apart[client], name) for client in range(5)])
        assert np.array_equal(getattr(pooled[0], name), parts_)
    assert not pooled[0].labelled.all()


def test_centralised_is_fedavg_with_one_client(tmp_path: Path) -> None:
    one = {"clients": 1, "domains": "mixed"}
    chosen = toy.scenario(strategy="centralised", model=CNN, rounds=3)
    assert (prepare(chosen).partition.train == np.arange(120)).all()
    simulate(chosen, out=tmp_path / "a", progress=False)
    simulate(toy.scenario(partition=one, model=CNN, rounds=3), out=tmp_path / "b", progress=False)
    assert result(tmp_path / "a") == result(tmp_path / "b")


@pytest.mark.slow_except("0.2")
@pytest.mark.parametrize("fraction", [0.2, 0.0])
def test_the_one_client_takes_part_and_every_domain_is_tested(
    fraction: float, tmp_path: Path
) -> None:
    chosen = toy.scenario(
        strategy="centralised",
        partition=MIXED,
        participation={"fraction": 0.2},
        evaluation={"fraction": fraction},
    )
    history = simulate(chosen, out=tmp_path / "run", progress=False).history
    assert list(history.query("metric == 'clients'").value) == [1, 1]
    tested = history.query("split == 'test' and metric == 'accuracy' and round == 2")
    assert set(tested[tested.client == -1].domain) == {"d0", "d1", "d2"}
    assert set(tested.client) == ({-1, 0} if fraction else {-1})


def test_the_partition_of_centralised_training_is_shown_as_it_is() -> None:
    prepared = prepare(toy.scenario(strategy="centralised", partition=MIXED))
    console = Console(width=120)
    with console.capture() as shown:
        render(prepared.partition, prepared.data, console)
    assert "1 client · 120 training samples · 60 test samples" in shown.get()
