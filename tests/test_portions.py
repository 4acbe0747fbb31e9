"""Updates that are added up where clients run: the same results, and every client still counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from flwr.app import ConfigRecord, Message, RecordDict

from fedlab.clients.base import Carry, Received, Update
from fedlab.clients.fedavg import FedAvg as FedAvgHalf
from fedlab.engine.ray.dispatch import Dispatch
from fedlab.engine.start import start_grid
from fedlab.engine.work_units import cut
from fedlab.federation.client_updates import ClientUpdate, decode
from fedlab.federation.preaggregation import PairwiseSum
from fedlab.preparation import prepare
from fedlab.records import to_record
from fedlab.scenario import Scenario
from fedlab.server_app import build_strategy
from fedlab.simulation import simulate
from fedlab.strategies.fedavg import FedAvg
from helpers import toy
from helpers.running import Failures, result, trained

NUMBERS = {"d0": 12, "d1": 11, "d2": 1}
"""Clients of each domain; the last one of them all is the one that misbehaves in `failing`."""


def many(resources: dict[str, Any], trainer: str = "fedavg", **changes: Any) -> Scenario:
    """Many clients of unequal sizes, several of which go to an actor at once."""
    domains = {"name": "one_per_client", "clients_per_domain": NUMBERS}
    data = {"sources": [{"name": "helpers.toy:Stripes", "train": 150}], "image_size": 8}
    fields: dict[str, Any] = {
        "rounds": 1,
        "data": data,
        "partition": {
            "clients": 24,
            "domains": domains,
            "quantity": {"name": "lognormal", "sigma": 0.5},
        },
        "strategy": {"name": "fedavg", "client": trainer},
        "model": {"name": "mlp", "hidden": [8]},
        "resources": resources,
        "participation": {"max_failed_share": 0.05},
    }
    return toy.scenario(**fields | changes)


LOCAL = {"backend": "local"}


def rays(*actors: int) -> list[dict[str, Any]]:
    return [{"backend": "ray", "actors": number} for number in actors]


WAYS = [
    {"execution": "sequential"},
    {"execution": "sequential", "linear": "low_rank"},
    {"execution": "vmap"},
]
"""How clients are executed; on low-rank layers their weights are formed only in sums."""


@pytest.mark.slow_except("{'execution': 'vmap'}-(1,)")
@pytest.mark.parametrize(  # actors of another number have to start, which takes seconds
    ("way", "actors"), [(WAYS[0], (2,)), (WAYS[1], (2, 1)), (WAYS[2], (1,))], ids=str
)
def test_neither_the_backend_nor_the_number_of_actors_changes_a_byte(
    way: dict, actors: tuple[int, ...], tmp_path: Path, ray_here: None
) -> None:
    engine = way | {"stack_size": 5}
    ends = []
    for number, resources in enumerate([LOCAL, *rays(*actors)]):
        chosen = many(resources, rounds=2, engine=engine)
        simulate(chosen, out=tmp_path / str(number), progress=False)
        ends.append(result(tmp_path / str(number)))
    assert all(end == ends[0] for end in ends)


def replies(chosen: Scenario, strategy: FedAvg | None = None) -> tuple[FedAvg, list[ClientUpdate]]:
    """A round's updates in this process."""
    prepared = prepare(chosen)
    strategy = strategy or build_strategy(chosen, prepared.model)  # type: ignore[assignment]
    grid, _ = start_grid(chosen, prepared.data, prepared.partition)
    arrays = to_record(prepared.model.state_dict())
    assert strategy is not None
    messages = list(strategy.configure_train(1, arrays, ConfigRecord(), grid))
    return strategy, decode(grid.send_and_receive(messages))


@pytest.mark.slow_except("{'execution': 'sequential'}-examples", "{'execution': 'vmap'}-uniform")
@pytest.mark.parametrize(
    ("way", "weighting"), [*((way, "examples") for way in WAYS), (WAYS[2], "uniform")], ids=str
)
def test_the_mean_of_sums_is_the_mean_of_updates(way: dict, weighting: str) -> None:
    strategy = {"name": "fedavg", "weighting": weighting}
    chosen = many(LOCAL, strategy=strategy, engine=way, model="small_cnn")
    linear, added = replies(chosen)
    alone, plain = replies(chosen, Looks(prepare(chosen).model, chosen.strategy))
    assert [update.client for update in added] == list(range(24))
    assert [update.metrics for update in added] == [update.metrics for update in plain]
    mean, expected = linear.weighted_mean(added, "arrays"), alone.weighted_mean(plain, "arrays")
    assert {name: tensor.dtype for name, tensor in mean.items()} == {
        name: tensor.dtype for name, tensor in expected.items()
    }
    torch.testing.assert_close(mean, expected, rtol=1e-6, atol=1e-7)


class Looks(FedAvg):
    """Looks at every update, and does not say whether it does."""

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        self.norms = [float(next(iter(u.arrays["arrays"].values())).norm()) for u in updates]
        super().aggregate(server_round, updates)


class Claims(Looks):
    """Looks at every update, and says that it does not."""

    needs_only_mean = True


def test_a_strategy_that_looks_at_single_updates_gets_them_unless_it_says_otherwise(
    tmp_path: Path,
) -> None:
    strategy = {"name": "test_portions:Looks", "client": "fedavg"}
    looked = simulate(many(LOCAL, strategy=strategy), out=tmp_path / "run", progress=False)
    assert looked.finished
    strategy = {"name": "test_portions:Claims", "client": "fedavg"}
    with pytest.raises(ValueError, match="needs_only_mean = False"):
        simulate(many(LOCAL, strategy=strategy), out=tmp_path / "claims", progress=False)


class TwoRecordsHalf(FedAvgHalf):
    """Sends how far it went, too."""

    def finish(self, carry: Carry, received: Received, steps: int) -> Update:
        update = super().finish(carry, received, steps)
        drift = {n: t - received.model[n] for n, t in update.arrays["arrays"].items()}
        return update._replace(arrays=update.arrays | {"drift": drift})


class TwoRecords(FedAvg):
    """Keeps the mean of both records."""

    needs_only_mean = True

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        before = self.state["arrays"]
        self.state["drift"] = self.weighted_mean(updates, "drift")
        super().aggregate(server_round, updates)
        moved = {name: tensor - before[name] for name, tensor in self.state["arrays"].items()}
        torch.testing.assert_close(self.state["drift"], moved, rtol=1e-4, atol=1e-6)


def test_every_record_is_summed_and_counted(tmp_path: Path) -> None:
    strategy = {"name": "test_portions:TwoRecords", "client": "test_portions:TwoRecordsHalf"}
    run = simulate(many(LOCAL, strategy=strategy), out=tmp_path / "run", progress=False)
    traffic = run.history.set_index("metric").value
    assert traffic["bytes_up"] == 2 * traffic["bytes_down"] / 2  # models go down twice: tests


@pytest.mark.parametrize("resources", [LOCAL, *rays(1)], ids=["local", "ray"])
def test_a_client_that_raises_is_named_and_not_in_the_sum(
    resources: dict[str, Any], tmp_path: Path, ray_here: None
) -> None:
    failures = Failures()
    chosen = many(resources, "helpers.failing:Raises", rounds=2)
    run = simulate(chosen, out=tmp_path / "run", callbacks=[failures], progress=False)
    assert list(failures.rounds[1]) == list(failures.rounds[2]) == ["client 23"]
    assert trained(run, 1) == list(range(23))
    size = sum(t.numel() * t.element_size() for t in run.model_state().values())
    up = run.history[run.history.metric == "bytes_up"].value.tolist()
    assert up == [23 * size, 23 * size]
    simulate(
        many(LOCAL, "helpers.failing:Raises", rounds=2), out=tmp_path / "again", progress=False
    )
    assert result(tmp_path / "run") == result(tmp_path / "again")


DIES_ONCE = """\
import os
from pathlib import Path
from fedlab.clients.fedavg import FedAvg
CALLS = []
class DiesOnce(FedAvg):
    def gradients(self, carry, batch, phase):
        CALLS.append(1)
        mark = Path({mark!r})
        if len(CALLS) == 7 and not mark.exists():
            mark.touch()
            os._exit(1)
        return super().gradients(carry, batch, phase)
"""


@pytest.mark.slow_except("sequential")
@pytest.mark.parametrize("execution", ["sequential", "vmap"])
def test_an_actor_that_dies_within_a_portion_changes_nothing(
    execution: str, tmp_path: Path, ray_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark, module = tmp_path / "died", f"dies_{execution}"
    (tmp_path / f"{module}.py").write_text(DIES_ONCE.format(mark=str(mark)))
    monkeypatch.syspath_prepend(str(tmp_path))
    engine = {"execution": execution, "stack_size": 5}
    chosen = many({"backend": "ray", "actors": 1}, f"{module}:DiesOnce", engine=engine)
    failures = Failures()
    simulate(chosen, out=tmp_path / "run", callbacks=[failures], progress=False)
    assert mark.exists()
    assert failures.rounds[1] == {}
    again = many(LOCAL, f"{module}:DiesOnce", engine=engine)  # the mark is there: no process dies
    simulate(again, out=tmp_path / "local", progress=False)
    assert result(tmp_path / "run") == result(tmp_path / "local")


def test_a_stack_is_sent_again_whole_and_then_client_by_client_and_every_death_counts() -> None:
    messages = [Message(RecordDict(), dst_node_id=1000 + k, message_type="train") for k in range(3)]
    sums = PairwiseSum()
    (stack,) = cut(messages, [1] * 3, 8, 1, 1)
    stack.sums, content = sums, cast(Any, None)
    work = Dispatch(stack, content)
    assert work.again() == [work]
    pieces = work.again()
    assert [piece.unit.where for piece in pieces] == [(0, 1), (1, 1), (2, 1)]
    assert [piece.again() for piece in pieces] == [[], [], []]
    assert [piece.died for piece in pieces] == [3, 3, 3]
    (alone,) = cut(messages[:1], [1], 1, 1, 1)
    (again,) = Dispatch(alone, content).again()
    assert again.again() == []
    assert again.died == 2


def test_what_an_actor_warns_of_is_in_the_log_of_the_run(
    tmp_path: Path, ray_here: None, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = many(
        {"backend": "ray", "actors": 1},
        "helpers.failing:FailsInAStack",
        engine={"execution": "vmap"},
    )
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    assert trained(run, 1) == list(range(23))
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert any("going on one by one after" in record.getMessage() for record in warnings)
