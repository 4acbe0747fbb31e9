"""Devices and the virtual clock: who is in time, what a round takes, and what it costs."""

from __future__ import annotations

import io
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from fedlab.comparison.comparison import Comparison
from fedlab.config import registry
from fedlab.data.client_data import ClientData
from fedlab.engine.execution.batch_schedule import plan_round
from fedlab.engine.execution.build_trainer import build_client_trainer
from fedlab.engine.execution.round_workload import work_per_round
from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.report.html.cost import cost
from fedlab.report.terminal.summary_table import print_closing_table
from fedlab.runs import metrics
from fedlab.runs.curves import virtual_seconds_reaching
from fedlab.runs.run import load_run
from fedlab.simulation import resume, simulate
from fedlab.virtual_time.clock import VirtualClock
from fedlab.virtual_time.device_population import make_population
from fedlab.virtual_time.round_plan import first_replies
from fedlab.virtual_time.spec import DevicesSpec
from helpers import toy
from helpers.fleets import AT_ONCE, MLP, SLOWER_AND_SLOWER, clients, fleet_of, on_devices, whole
from helpers.pairs import pairs_first
from helpers.running import ELSEWHERE, At, every, result

FEW_LABELS = ("fedlabel", "fixmatch", "uda")


def spec(*profiles: dict[str, Any], **fields: Any) -> DevicesSpec:
    return DevicesSpec.model_validate({"profiles": profiles, **fields})


# ---------------------------------------------------------------------- devices


def test_a_round_is_receiving_training_and_sending() -> None:
    device = {"samples_per_second": 50, "download_mbps": 8, "upload_mbps": 4}
    fleet = make_population(spec(device), 0, np.array([100, 25]), ["a", "a"], ["a"])
    # A megabyte is 8 megabits: 1 s down and 2 s up.
    assert fleet.seconds(1_000_000, 1_000_000).tolist() == [1 + 2 + 2, 1 + 0.5 + 2]
    some = fleet.seconds(np.array([2_000_000]), np.array([0]), np.array([1]))
    assert some.tolist() == [2 + 0.5]


def test_profiles_have_their_shares_and_their_domains() -> None:
    rates = {"samples_per_second": 1, **AT_ONCE}
    profiles = [
        {"name": "phone", "share": 3, **rates},
        {"name": "board", "share": 1, **rates},
        {"name": "scanner", "domains": ["c"], **rates},
    ]
    domains = ["a", "b"] * 20 + ["c"] * 7
    fleet = make_population(spec(*profiles), 5, np.ones(47), domains, ["a", "b", "c"])
    assert sorted(Counter(fleet.profile[:40].tolist()).items()) == [(0, 30), (1, 10)]
    assert fleet.profile[40:].tolist() == [2] * 7
    again = make_population(spec(*profiles), 5, np.ones(47), domains, ["a", "b", "c"])
    other = make_population(spec(*profiles), 6, np.ones(47), domains, ["a", "b", "c"])
    assert (fleet.profile == again.profile).all()
    assert (fleet.profile != other.profile).any()


def test_devices_of_a_kind_differ_by_sigma() -> None:
    device = {"samples_per_second": 10, "download_mbps": 8, "upload_mbps": 8, "sigma": 0.5}
    fleet = make_population(spec(device), 0, np.full(4000, 10.0), ["a"] * 4000, ["a"])
    for rates in (fleet.training, fleet.down * 1e6, fleet.up * 1e6):
        logarithms = np.log(rates)
        assert abs(logarithms.mean()) < 0.03
        assert abs(logarithms.std() - 0.5) < 0.03
    assert abs(np.corrcoef(fleet.training, fleet.down)[0, 1]) < 0.05


def test_availability_holds_for_a_period_and_has_its_share() -> None:
    fleet = fleet_of([1.0] * 2000, availability=0.3, period=0.7)
    moments, now = [], 0.0
    for _ in range(40):
        moments.append(fleet.available(now))
        assert (fleet.available(now + 0.69) == moments[-1]).all()
        now = fleet.next_period(now)
    assert now == pytest.approx(28.0)
    assert abs(np.mean(moments) - 0.3) < 0.01
    assert all((one != two).any() for one, two in pairwise(moments))


@pytest.mark.parametrize(
    ("network", "batch_size", "length", "method", "remainder"),
    pairs_first(
        ["mlp", "cnn"],
        [7, "full"],
        ["local_epochs", "local_steps"],
        ["fedavg", "fedrep", "fedlabel", "fixmatch", "qfedavg"],
        ["keep", "drop", "merge"],
    ),
)
def test_the_work_of_a_round_is_known_beforehand(
    network: str, batch_size: int | str, length: str, method: str, remainder: str
) -> None:
    budget = {"share": 0.5}
    chosen = toy.scenario(
        model=MLP if network == "mlp" else {"name": "small_cnn", "widths": [4, 4, 4]},
        strategy=method,
        partition={"clients": 8, "quantity": {"name": "lognormal", "sigma": 1.0}}
        | ({"label_budget": budget} if method in ("fedlabel", "fixmatch") else {}),
        training={
            "batch_size": batch_size,
            **({} if batch_size == "full" else {"remainder": remainder}),
            length: {"local_epochs": 3, "local_steps": 8}[length],
        },
    )
    prepared = prepare(chosen)
    trainer = build_client_trainer(chosen, prepared.data, torch.device("cpu"))
    inputs = torch.from_numpy(prepared.data.train.inputs)
    work = work_per_round(trainer, prepared.partition, chosen.training.batch_size, inputs)
    for client in range(8):
        split = prepared.partition[client]
        data = ClientData(
            inputs[torch.from_numpy(split.train)],
            torch.from_numpy(split.labels),
            torch.from_numpy(split.labelled),
        )
        schedule = plan_round(
            trainer,
            data,
            batch_size=chosen.training.batch_size,
            seed=0,
            client=client,
            server_round=1,
        )
        assert work.samples[client] == schedule.seen
        assert work.steps[client] == schedule.steps


# ---------------------------------------------------------------------- the first replies


@pytest.mark.parametrize(
    ("due", "dropped", "goal", "deadline", "accepted", "late", "seconds"),
    [
        ([3, 1, 2], [], 3, None, [0, 1, 2], [], 3),  # everybody is waited for
        ([3, 1, 2], [], 2, None, [1, 2], [0], 2),  # over-selection: two are enough
        ([3, 1, 2], [], 3, 2.5, [1, 2], [0], 2.5),  # the deadline cuts one off
        ([3, 1, 2], [], 1, 2.5, [1], [0, 2], 1),  # enough before the deadline
        ([3, 1, 2], [], 3, 3, [0, 1, 2], [], 3),  # a reply at the deadline is in time
        ([3, 1, 2], [1], 2, None, [0, 2], [], 3),  # a spare one stands in for one that drops out
        ([3, 1, 2], [0], 3, None, [1, 2], [], 3),  # who drops out is missed when it was due
        ([3, 1, 2], [0], 3, 9, [1, 2], [], 9),  # and is waited for until the deadline
        ([2, 2, 2], [], 2, None, [0, 1], [2], 2),  # of equal ones the first
        ([3, 1, 2], [0, 1, 2], 3, 9, [], [], 9),  # no device replies
        ([3, 4, 5], [], 2, 2, [], [0, 1, 2], 2),  # no device is in time
    ],
)
def test_who_is_in_time(
    due: list[float],
    dropped: list[int],
    goal: int,
    deadline: float | None,
    accepted: list[int],
    late: list[int],
    seconds: float,
) -> None:
    gone = np.isin(np.arange(len(due)), dropped)
    outcome = first_replies(np.array(due, dtype=float), gone, goal, deadline)
    assert np.flatnonzero(outcome.accepted).tolist() == accepted
    assert np.flatnonzero(outcome.late).tolist() == late
    assert outcome.seconds == seconds


def test_more_are_asked_than_are_needed_but_only_who_is_available() -> None:
    nodes = list(range(100, 120))
    clock = VirtualClock(fleet_of([1.0] * 20, over_selection=1.1))
    assert clock.invite(nodes, 10) == (nodes, 11)
    clock = VirtualClock(fleet_of([1.0] * 20, over_selection=1.3))
    assert clock.invite(nodes, 9)[1] == 12
    fleet = fleet_of([1.0] * 20, availability=0.4, over_selection=2)
    clock = VirtualClock(fleet)
    able, asked = clock.invite(nodes, 20)
    assert able == [nodes[index] for index in np.flatnonzero(fleet.available(0.0))]
    assert asked == len(able) < 20
    assert clock.unavailable == 20 - len(able)


def test_a_round_waits_until_a_client_is_available() -> None:
    fleet = fleet_of([1.0] * 3, availability=0.05, period=60)
    clock = VirtualClock(fleet)
    able, _ = clock.invite([7, 8, 9], 3)
    assert able
    periods = int(clock.now // 60)
    assert periods > 0
    assert clock.now == 60 * periods
    assert not any(fleet.available(60.0 * earlier).any() for earlier in range(periods))


# ---------------------------------------------------------------------- rounds


def test_virtual_time_changes_its_own_numbers_alone(tmp_path: Path) -> None:
    """Without a deadline everybody is waited for; the clock only looks on."""
    timed = simulate(on_devices({}), out=tmp_path / "timed", progress=False)
    plain = simulate(toy.scenario(model=MLP), out=tmp_path / "plain", progress=False)
    assert whole(timed, "virtual_seconds") == [4.0, 4.0]
    assert (tmp_path / "timed" / "model.safetensors").read_bytes() == (
        tmp_path / "plain" / "model.safetensors"
    ).read_bytes()
    measures = ("virtual_seconds", "late", "dropped", "unavailable")
    for run in (timed, plain):
        assert not clients(run, "late")
    kept = timed.history[~timed.history["metric"].isin(measures)].reset_index(drop=True)
    same = ~kept["metric"].str.startswith("seconds")
    pd.testing.assert_frame_equal(kept[same], plain.history[same])


def test_the_deadline_leaves_the_slow_client_out(tmp_path: Path) -> None:
    run = simulate(on_devices({"deadline": 3}), out=tmp_path / "run", progress=False)
    everybody = simulate(on_devices({}), out=tmp_path / "all", progress=False)
    assert whole(run, "virtual_seconds") == [3.0, 3.0]
    assert whole(run, "late") == [1, 1]
    assert clients(run, "late") == {1: [2], 2: [2]}
    assert clients(run, "loss", "train") == {1: [0, 1], 2: [0, 1]}
    waited = run.history.query("split == 'device' and metric == 'virtual_seconds' and round == 1")
    assert dict(zip(waited["client"], waited["value"], strict=True)) == {0: 1.0, 1: 2.0, 2: 4.0}
    for metric in ("bytes_up", "bytes_down", "clients"):  # the late one costs as if it counted
        assert whole(run, metric) == whole(everybody, metric)
    assert metrics.virtual_time(run.history).to_dict() == {1: 3.0, 2: 6.0}
    console = Console(width=120, record=True, file=io.StringIO())
    print_closing_table(run, console)
    assert "6.0 s (6 times asked: 2 late, 0 dropped out)" in console.export_text()


@pytest.mark.parametrize("method", ["fedavg", "flwr:FedAvg", "scaffold"])
def test_over_selection_takes_the_first(method: str, tmp_path: Path) -> None:
    chosen = on_devices({"over_selection": 1.5}, strategy=method, participation={"fraction": 0.67})
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    assert whole(run, "clients") == [3, 3]
    assert whole(run, "virtual_seconds") == [2.0, 2.0]
    assert clients(run, "late") == {1: [2], 2: [2]}
    assert clients(run, "loss", "train") == {1: [0, 1], 2: [0, 1]}


def test_sums_hold_those_in_time_alone(tmp_path: Path) -> None:
    """The mean that workers add up is that of a strategy that looks at single updates."""
    ends = []
    for method in ("fedavg", "flwr:FedAvg"):
        chosen = on_devices({"deadline": 3}, strategy=method)
        run = simulate(chosen, out=tmp_path / method[:4], progress=False)
        ends.append(run.model_state())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-5, atol=1e-6)


def test_a_late_client_keeps_what_it_had(tmp_path: Path) -> None:
    """A reply that is not taken has no effect: not on the server, nor on what the client keeps."""
    cnn = {"name": "small_cnn", "widths": [4, 4, 4]}
    chosen = on_devices({"deadline": 3}, strategy="fedbn", model=cnn, rounds=1)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    kept = {path.name[:6] for path in (tmp_path / "run" / "checkpoints" / "clients").iterdir()}
    assert kept == {"000000", "000001"}
    shared = run.model_state()
    assert run.model_state(2).keys() == shared.keys() < run.model_state(0).keys()
    tested = run.history.query("split == 'test' and metric == 'accuracy' and client == 2")
    assert len(tested) == 1  # it is tested all the same


@pytest.mark.slow_except(
    "fedavg", "fedbn", "ditto", "fednova", "feddyn", "silobn", "scaffold", "fedproto"
)
@pytest.mark.parametrize(
    "method", every([name for name in registry.BUILTIN["strategies"] if name not in ELSEWHERE])
)
def test_every_method_goes_on_without_the_late(method: str, tmp_path: Path) -> None:
    budget = {"label_budget": {"share": 0.5}} if method in FEW_LABELS else {}
    chosen = on_devices(
        {"deadline": 20.0, "dropout": 0.2, "over_selection": 1.3},
        strategy=method,
        model={"name": "small_cnn", "widths": [4, 4, 4]},
        partition={"clients": 6, **budget},
        participation={"fraction": 0.67},
        training={"batch_size": 20, "optimizer": {"lr": 0.01}},
        evaluation={"every": 2},
    )
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    in_time = sum(whole(run, "clients")) - sum(whole(run, "late")) - sum(whole(run, "dropped"))
    trained = run.history.query("split == 'train' and metric == 'steps'")
    assert len(trained) == in_time
    assert all(seconds > 0 for seconds in whole(run, "virtual_seconds"))
    assert run.finished


def test_clients_drop_out_by_chance(tmp_path: Path) -> None:
    fleet = fleet_of([1.0] * 1000, dropout=0.25)
    rounds = np.array([fleet.drop_out(number) for number in range(1, 21)])
    assert abs(rounds.mean() - 0.25) < 0.01
    assert (rounds[0] != rounds[1]).any()

    chosen = on_devices({"dropout": 0.5}, partition={"clients": 9}, rounds=4)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    prepared = prepare(chosen)
    assert prepared.fleet is not None
    up = 0.0
    for number in range(1, 5):
        gone = np.flatnonzero(prepared.fleet.drop_out(number)).tolist()
        assert clients(run, "dropped").get(number, []) == gone
        assert clients(run, "loss", "train")[number] == [c for c in range(9) if c not in gone]
        up += 9 - len(gone)
    down = sum(whole(run, "bytes_down")) / 2  # as much goes down to be trained as to be tested
    assert sum(whole(run, "bytes_up")) / down == pytest.approx(up / 36)
    assert sum(whole(run, "dropped")) == 36 - up


def test_a_round_without_a_reply_changes_nothing(tmp_path: Path) -> None:
    chosen = on_devices({"dropout": 0.999999, "deadline": 5})
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    assert whole(run, "virtual_seconds") == [5.0, 5.0]
    assert whole(run, "dropped") == [3, 3]
    start = prepare(chosen).model.state_dict()
    assert all(torch.equal(run.model_state()[name], value) for name, value in start.items())


def test_only_available_clients_are_asked(tmp_path: Path) -> None:
    profile = {"samples_per_second": 10, "availability": 0.5, **AT_ONCE}
    devices = {"profiles": [profile], "period": 1.0}
    chosen = toy.scenario(model=MLP, partition={"clients": 6}, rounds=5, devices=devices)
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    fleet = prepare(chosen).fleet
    assert fleet is not None
    began = 0.0
    for number, seconds in enumerate(whole(run, "virtual_seconds"), start=1):
        able = np.flatnonzero(fleet.available(began)).tolist()
        if able:
            assert clients(run, "virtual_seconds")[number] == able
            assert whole(run, "unavailable")[number - 1] == 6 - len(able)
        began += seconds


@pytest.mark.slow_except("fedavg")
@pytest.mark.parametrize("method", ["fedavg", "flwr:FedAdam", "scaffold"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(method: str, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    profile = {"samples_per_second": 10, "availability": 0.6, "sigma": 1.0, **AT_ONCE}
    devices = {"profiles": [profile], "period": 1.0, "dropout": 0.2, "over_selection": 1.5}
    chosen = toy.scenario(
        strategy=method,
        model=MLP,
        partition={"clients": 6},
        participation={"fraction": 0.5},
        rounds=4,
        devices=devices,
    )
    simulate(chosen, out=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        simulate(chosen, out=tmp_path / "cut", callbacks=[At(2, interrupt)], progress=False)
    resume(tmp_path / "cut", progress=False)
    assert result(tmp_path / "whole") == result(tmp_path / "cut")


def test_a_question_takes_as_long_as_the_slowest_that_it_reaches() -> None:
    from types import SimpleNamespace

    from flwr.app import Message, RecordDict

    from fedlab.flower_compat import assume_identity
    from fedlab.records import to_record

    assume_identity()
    device = {"samples_per_second": 1, "download_mbps": 8, "upload_mbps": 4}
    slow = {**device, "name": "slow", "domains": ["b"], "download_mbps": 0.008}
    devices = make_population(spec(device, slow), 0, np.ones(3), ["a", "b", "a"], ["a", "b"])
    clock, grid = VirtualClock(devices), SimpleNamespace(get_node_ids=lambda: [7, 5, 6])
    question = RecordDict({"arrays": to_record({"x": torch.zeros(250_000)})})
    asked = [Message(question, dst_node_id=n, message_type="query") for n in (5, 7)]
    answers = [
        Message(RecordDict({"arrays": to_record({"x": torch.zeros(size)})}), reply_to=message)
        for size, message in zip((10, 125_000), asked, strict=True)
    ]
    clock.exchanged(asked, answers, grid)  # type: ignore[arg-type]
    assert clock.now == pytest.approx(1.0 + 1.0)  # a megabyte down, half of one up at half the rate


def test_the_time_to_an_accuracy_is_virtual() -> None:
    accuracies = [(2, 0, 0.4), (2, 1, 0.6), (4, 0, 0.7), (4, 1, 0.9), (6, 0, 0.6), (6, 1, 0.8)]
    rows = [
        *((number, c, f"d{c}", "test", "accuracy", value) for number, c, value in accuracies),
        *((n, -1, "", "round", "virtual_seconds", 10.0 * n) for n in range(1, 7)),
    ]
    names = ["round", "client", "domain", "split", "metric", "value"]
    history = pd.DataFrame(rows, columns=names).assign(examples=5)
    assert virtual_seconds_reaching(history, 0.49) == 10 + 20
    assert virtual_seconds_reaching(history, 0.51) == 10 + 20 + 30 + 40
    assert virtual_seconds_reaching(history, 0.81) is None
    untimed = history[history["split"] == "test"]
    assert virtual_seconds_reaching(untimed, 0.49) is None


@pytest.mark.slow
def test_a_comparison_shows_virtual_time(tmp_path: Path) -> None:
    for number, deadline in enumerate((3, None)):
        devices = {"deadline": deadline} if deadline else {}
        simulate(on_devices(devices), out=tmp_path / str(number), progress=False)
    compared = Comparison.of(
        [load_run(tmp_path / str(number)) for number in range(2)], target=0.001, mixed=True
    )
    table = compared.table()
    assert table["virtual seconds", "mean"].tolist() == [6.0, 8.0]
    assert table["virtual seconds to target", "mean"].tolist() == [3.0, 4.0]
    assert "6.0 s" in compared.to_markdown()
    assert [figure.title for figure in cost(compared).figures][2:] == [
        "Accuracy against virtual time"
    ]


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ({"deadline": 3}, "devices: deadline without profiles changes nothing; say what"),
        ({"over_selection": 0.5}, "devices.over_selection: 0.5: must be greater than or equal to"),
        ({"profiles": [{"samples_per_second": 1}]}, "devices.profiles.0.download_mbps: is missing"),
        (
            {"profiles": [{"samples_per_second": 1, **AT_ONCE}] * 2},
            "devices: two profiles have the name 'device'; give each its own name",
        ),
    ],
)
def test_devices_that_make_no_sense_are_refused(devices: dict, words: str) -> None:
    from fedlab.scenario_file import load_scenario

    values = toy.scenario(model=MLP).model_dump(mode="json") | {"devices": devices}
    with pytest.raises(InputError) as raised:
        load_scenario(values)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (
            {"deadline": 0.5},
            "devices.deadline: 0.5 virtual seconds are too short: replies from 1 of 3 clients "
            "take 1,",
        ),
        (
            {"profiles": [{**SLOWER_AND_SLOWER[0], "domains": ["d9"]}]},
            "devices.profiles: there is no domain 'd9'; choose from d0, d1, d2",
        ),
        (
            {"profiles": SLOWER_AND_SLOWER[:2]},
            "devices.profiles: no profile is for client 2, of the domain 'd2'; name the domain",
        ),
    ],
)
def test_devices_that_do_not_fit_are_refused_before_anything_starts(
    devices: dict, words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as raised:
        simulate(on_devices(devices), out=tmp_path / "run", progress=False)
    assert words in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_real_devices_have_a_time_of_their_own() -> None:
    from fedlab.deploy.server.serve_setup import setup_of

    with pytest.raises(InputError, match=r"devices\.profiles: they simulate the speed of devices"):
        setup_of(on_devices({}), ["a", "b", "c", "d"])
