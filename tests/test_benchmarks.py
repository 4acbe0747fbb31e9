"""The benchmarks' statistics, and that what they compare is the same work."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import compare, dense_forms, gpu, harness
from benchmarks.environments import UnavailableError, last_line, python_with
from benchmarks.fedlab_work import network, prepare, scenario
from benchmarks.flops import of_round
from benchmarks.networks import build
from benchmarks.reading_distance import Distance, Trace, measure, table
from benchmarks.running import Runner, last_line_of_json, run
from benchmarks.statistics import ratio, timing
from benchmarks.works import WORKS, Work, make_samples, smaller
from fedlab import rng
from fedlab.simulation import prepare as prepare_scenario

ROW = {"title": "A", "failure": None}


def answers(*repeats: list[float]) -> list[dict]:
    """What a runner answered in each repeat."""
    notes = {"max_rss_mb": 1}
    return [{"seconds": s, "cpu": 0.5, "loss": 1.0, "norm": 2.0, "notes": notes} for s in repeats]


def test_a_timing_is_the_median_of_all_rounds_with_the_spread_of_the_repeats() -> None:
    spent = timing([[1.0, 2.0, 9.0], [3.0, 4.0, 5.0]])
    assert (spent.median, spent.low, spent.high, spent.rounds) == (3.5, 2.0, 4.0, 6)


def test_a_ratio_compares_what_ran_in_the_same_repeat() -> None:
    # The machine was three times slower in the second repeat, for both.
    assert ratio([[2.0], [6.0], [2.0]], [[1.0], [3.0], [1.0]]) == 2.0


@pytest.mark.parametrize("repeats", [[], [[]], [[1.0], []]])
def test_there_is_no_timing_of_nothing(repeats: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="round"):
        timing(repeats)


def test_a_table_sorts_by_time_and_keeps_who_failed() -> None:
    rows = {
        "flower": {**ROW, "title": "Flower", "answers": answers([3.0], [5.0])},
        "fedlab-ray": {**ROW, "title": "fedlab", "answers": answers([1.0], [1.0])},
        "pfl": {**ROW, "title": "pfl", "answers": [], "failure": "cannot be | installed"},
    }
    lines = compare.table(WORKS["lr"], rows).splitlines()[2:]
    assert lines[0].startswith("| **fedlab** | 1.0000 | 1.0000 - 1.0000 | 50 | 1.00 |")
    assert lines[1].startswith("| Flower | 4.0000 | 3.0000 - 5.0000 | 12 | 4.00 |")
    assert lines[2].startswith("| pfl | cannot be / installed |")


def test_the_answer_is_found_among_other_output() -> None:
    answer = json.dumps({"seconds": [1.0]})
    assert last_line_of_json(f"INFO round 1\n{answer}\nbye\n") == answer
    with pytest.raises(ValueError, match="no answer"):
        last_line_of_json("Traceback")
    assert last_line("Traceback\n  File x\nKeyError: 'y'\n\n") == "KeyError: 'y'"


def test_a_platform_that_cannot_be_installed_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where there is no uv
    with pytest.raises(UnavailableError, match="uv"):
        python_with(["pfl"])


def test_a_stopwatch_leaves_out_the_rounds_that_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 10.0, 20.0, 21.0, 23.0, 99.0])
    monkeypatch.setattr(harness.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(harness, "cpu_seconds", iter([5.0, 9.0]).__next__)
    watch = harness.Stopwatch(rounds=2)
    for _ in range(6):
        watch.mark()
    assert watch.seconds == [1.0, 2.0]
    assert watch.cpu == 2.0


def test_a_work_survives_being_written_down() -> None:
    work = replace(WORKS["cnn"], cohort=7)
    assert Work.parse(work.to_json()) == work
    assert Work.parse("lr") is WORKS["lr"]


@pytest.mark.parametrize(
    "name",
    ["lr", "mlp", "cnn", "digits", pytest.param("resnet18", marks=pytest.mark.slow)],
)
def test_networks_have_the_tensors_of_fedlabs(name: str) -> None:
    ours = network(WORKS[name]).state_dict()
    with torch.device("meta"):
        by_hand = build(WORKS[name]).state_dict()
    assert {n: t.shape for n, t in by_hand.items()} == {n: t.shape for n, t in ours.items()}


@pytest.mark.parametrize("name", ["mlp", "cnn", "femnist"])
def test_fedlabs_samples_have_the_shape_of_the_works(tmp_path: Path, name: str) -> None:
    work = smaller(WORKS[name])
    prepared = prepare_scenario(scenario(work, prepare(work, tmp_path), rounds=1))
    assert prepared.data.input_shape == work.input_shape
    first, *_ = prepared.model.parameters()
    by_hand, *_ = build(work).parameters()
    assert first.shape == by_hand.shape


def test_flops_of_a_linear_layer() -> None:
    work = smaller(WORKS["lr"], samples=20)
    # Forward and weight gradient, a multiplication and an addition each; inputs need no gradient.
    assert of_round(work, build(work)) == 4 * 20 * 784 * 62 * work.cohort


@pytest.mark.parametrize("spread", [0.0, 0.8])
def test_fedlabs_clients_own_the_samples_that_other_runners_give_them(
    tmp_path: Path, spread: float
) -> None:
    work = replace(smaller(WORKS["mlp"]), spread=spread)
    prepared = prepare_scenario(scenario(work, prepare(work, tmp_path), rounds=1))
    inputs, labels = make_samples(work)
    for client in range(work.clients):
        rows = prepared.partition[client].train
        start = work.sizes[:client].sum()
        mine = slice(start, start + work.sizes[client])
        assert np.array_equal(prepared.data.train.inputs[rows], inputs[mine])
        assert np.array_equal(prepared.data.train.labels[rows], labels[mine])


@pytest.mark.parametrize("spread", [0.0, 0.8])
def test_fedlab_and_a_loop_by_hand_learn_the_same(tmp_path: Path, spread: float) -> None:
    # One batch a client, so that the order of its samples does not matter.
    work = replace(smaller(WORKS["mlp"]), batch=100, spread=spread)
    assert (len(set(work.sizes)) > 1) == (spread > 0)
    data = prepare(work, tmp_path)
    ours = run(Runner("", "fedlab", ("--set", "resources.backend=local")), work, data, 3, here=True)
    lean = run(Runner("", "lean"), work, data, 3, here=True)
    assert len(ours.seconds) == len(lean.seconds) == 3
    assert ours.loss is not None
    assert ours.loss == pytest.approx(lean.loss, abs=1e-5)
    assert ours.norm == pytest.approx(lean.norm, abs=1e-5)
    assert ours.loss < np.log(work.classes)  # they learnt something


def test_the_gpu_benchmark_runs_on_a_cpu(tmp_path: Path) -> None:
    gpu.main(["--smoke", "--works", "mlp", "--out", str(tmp_path)])
    (path,) = tmp_path.glob("smoke-*.json")
    results = json.loads(path.read_text())
    rows = results["works"]["mlp"]
    assert rows.keys() == {f"fedlab, {execution}" for execution in gpu.EXECUTIONS}
    assert all(row["tflops"] > 0 for row in rows.values())
    assert results["peaks"]["float32"] > 0
    assert "| fedlab, vmap |" in path.with_suffix(".md").read_text()


def test_every_form_of_dense_layers_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    dense_forms.main(["--works", "mlp", "cnn", "--samples", "10", "--repeats", "1"])
    written = capsys.readouterr().out
    rows = [line.strip("|").split("|") for line in written.splitlines() if line.startswith("| `")]
    assert [(row[0].strip(), int(row[1])) for row in rows] == [("`mlp`", 10), ("`cnn`", 10)]
    assert all(float(cell) > 0 for row in rows for cell in row[2:])


def test_a_reading_distance_counts_functions_of_fedlab_once_and_their_lines() -> None:
    trace = Trace()
    with trace.on():
        for key in range(3):
            rng.torch_generator(0, "a", key)
        np.random.default_rng(0).normal()
    rng.seed_of(0, "a")  # no check any more
    found = Distance.of(trace)
    called = (rng.torch_generator, rng.seed_of)
    lines = [len(inspect.getsourcelines(function)[0]) for function in called]
    assert {*found.lines} == {"rng.py"}
    assert (found.functions, found.total) == ({"rng.py": 2}, sum(lines))
    assert 4 <= found.code < found.total
    assert {code.co_name: calls for code, calls in trace.calls.items()} == {
        "torch_generator": 3,
        "seed_of": 3,
    }
    assert found.changes == 1


@pytest.mark.slow
def test_a_round_is_a_part_of_a_run() -> None:
    single, whole = measure()
    assert {"federation/rounds.py", "clients/base.py", "preparation.py"} <= {*whole.lines}
    assert {"federation/rounds.py", "engine/local_grid.py"} <= {*single.lines} <= {*whole.lines}
    assert "preparation.py" not in single.lines
    assert f"| a round | {len(single.lines)} |" in table({"a round": single})
