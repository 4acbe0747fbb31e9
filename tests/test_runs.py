import json
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_scenario import write_tiny

from fedlab.errors import InputError
from fedlab.runs import metrics
from fedlab.runs.finish import FinishWriter
from fedlab.runs.folder import RunFolder
from fedlab.runs.history import HistoryWriter, read_history
from fedlab.runs.run import load_run
from fedlab.scenario_file import load_scenario
from fedlab.strategies.callbacks import GLOBAL, RoundReport, Row

STRATEGY = SimpleNamespace(state={"arrays": {"weight": torch.arange(6.0).reshape(2, 3).T}})


@pytest.fixture
def scenario(tmp_path):
    return load_scenario(write_tiny(tmp_path))


@pytest.fixture
def folder(tmp_path, scenario):
    return RunFolder.create(tmp_path / "run", scenario)


def report(round, rows=(), **seconds):
    return RoundReport(round, 3, rows, seconds)


def a_round(number, accuracy=0.5):
    rows = [
        Row(number, 0, "", "train", "loss", 1 / 3, 30),
        Row(number, 0, "north", "test", "accuracy", accuracy, 10),
        Row(number, GLOBAL, "", "round", "bytes_up", 1000.0, 0),
    ]
    return report(number, rows, train=0.1 + number, evaluate=1e-7)


# ---------------------------------------------------------------------------- history


def test_history_reads_back_as_written(folder):
    values = [0.1, 1 / 3, 1e-300, 5e-324, float("inf"), float("nan"), -0.0, 2.0, np.float32(0.1)]
    rows = [Row(1, i, 'a,"b"', "test", "loss", value, 7) for i, value in enumerate(values)]
    writer = HistoryWriter(folder.path)
    writer.on_start(STRATEGY, 1, 3)
    writer.on_round(STRATEGY, report(1, rows))
    history = read_history(folder.path)
    assert np.array_equal(history["value"], np.array(values, dtype=float), equal_nan=True)
    assert np.signbit(history["value"][6])
    assert set(history["domain"]) == {'a,"b"'}
    assert list(history.dtypes.astype(str)[["round", "client", "examples"]]) == ["int64"] * 3


def test_an_empty_domain_stays_an_empty_text(folder):
    writer = HistoryWriter(folder.path)
    writer.on_start(STRATEGY, 1, 3)
    writer.on_round(STRATEGY, a_round(1))
    assert list(read_history(folder.path)["domain"]) == ["", "north", "", "", ""]


def test_seconds_are_rows_of_the_round_but_not_in_the_reproducible_file(folder):
    writer = HistoryWriter(folder.path)
    writer.on_start(STRATEGY, 1, 3)
    writer.on_round(STRATEGY, a_round(1))
    seconds = read_history(folder.path).query("metric.str.startswith('seconds')")
    assert list(seconds["metric"]) == ["seconds_train", "seconds_evaluate"]
    assert list(seconds["value"]) == [1.1, 1e-7]
    assert set(seconds["client"]) == {GLOBAL}
    assert "seconds" not in folder.history_file.read_text()


def test_equal_rounds_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        writer = HistoryWriter(tmp_path / name)
        writer.on_start(STRATEGY, 1, 3)
        writer.on_round(STRATEGY, a_round(1))
    one, two = ((tmp_path / name / "history.csv").read_bytes() for name in ("one", "two"))
    assert one == two
    assert one.splitlines()[0] == b"round,client,domain,split,metric,value,examples"
    assert b"\r" not in one


def test_a_lost_round_is_cut_off_and_written_again(folder):
    writer = HistoryWriter(folder.path)
    writer.on_start(STRATEGY, 1, 3)
    writer.on_round(STRATEGY, a_round(1))
    sizes = writer.sync()
    writer.on_round(STRATEGY, a_round(2))
    whole = folder.history_file.read_bytes()

    again = HistoryWriter(folder.path)
    again.truncate(sizes)
    assert again.sync() == sizes
    again.on_start(STRATEGY, 2, 3)
    again.on_round(STRATEGY, a_round(2))
    assert folder.history_file.read_bytes() == whole


def test_without_a_checkpoint_the_files_start_anew(folder):
    writer = HistoryWriter(folder.path)
    writer.truncate({})
    writer.on_start(STRATEGY, 1, 3)
    header = folder.history_file.read_bytes()
    writer.on_round(STRATEGY, a_round(1))
    writer.truncate({})
    writer.on_start(STRATEGY, 1, 3)
    assert folder.history_file.read_bytes() == header
    assert len(read_history(folder.path)) == 0


def test_a_torn_last_line_is_left_out(folder):
    writer = HistoryWriter(folder.path)
    writer.on_start(STRATEGY, 1, 3)
    writer.on_round(STRATEGY, a_round(1))
    rows = len(read_history(folder.path))
    with folder.history_file.open("a") as file:
        file.write("2,0,north,te")
    assert len(read_history(folder.path)) == rows


def test_a_run_without_any_round_has_an_empty_history(folder):
    history = read_history(folder.path)
    assert list(history.columns) == [
        "round",
        "client",
        "domain",
        "split",
        "metric",
        "value",
        "examples",
    ]
    assert len(history) == 0


# ---------------------------------------------------------------------------- folder


def test_a_new_folder_says_what_is_run_and_where(folder, scenario):
    assert load_scenario(folder.scenario_file) == scenario
    environment = json.loads(folder.environment_file.read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    assert environment["cpu_count"] >= 1
    assert not folder.finished


def test_a_folder_that_is_not_empty_is_not_overwritten(folder, scenario, tmp_path):
    before = folder.scenario_file.stat().st_mtime_ns
    unfinished = r"holds a run that has not finished; go on with `fedlab resume .*run`, delete it"
    with pytest.raises(InputError, match=unfinished):
        RunFolder.create(folder.path, scenario)
    folder.finished_file.write_text('{"rounds": 2}')
    with pytest.raises(InputError, match="holds a finished run; delete it, or choose another"):
        RunFolder.create(folder.path, scenario)
    assert folder.scenario_file.stat().st_mtime_ns == before

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="mine' is not empty; choose another with --out"):
        RunFolder.create(tmp_path / "mine", scenario)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path, scenario):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be made: .*; choose another with --out"):
        RunFolder.create(tmp_path / "file" / "run", scenario)


@pytest.mark.parametrize(("name", "what"), [("absent", "is not there"), ("empty", "holds no run")])
def test_only_runs_can_be_opened(tmp_path, name, what):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"{name}' {what}.*; name a folder that `fedlab simulate`"):
        load_run(tmp_path / name)


def test_a_second_writer_is_refused_as_long_as_the_first_lives(folder):
    other = RunFolder.open(folder.path)
    said = rf"is being written by another process \(id {os.getpid()}\)"
    with other, pytest.raises(InputError, match=said), folder:
        pass
    with folder:
        pass
    with folder:  # and the lock can be taken again
        pass


# ---------------------------------------------------------------------------- run


def test_a_finished_run_has_a_model_and_a_mark(folder, scenario):
    history, finish = HistoryWriter(folder.path), FinishWriter(folder)
    for callback in (history, finish):
        callback.on_start(STRATEGY, 1, 2)
        callback.on_round(STRATEGY, a_round(1))
    run = load_run(folder.path)
    assert (run.finished, run.rounds) == (False, 1)
    with pytest.raises(InputError, match="has not finished; go on with `fedlab resume"):
        run.model_state()

    finish.on_end(STRATEGY)
    run = load_run(folder.path)
    assert (run.finished, run.rounds, run.scenario) == (True, 1, scenario)
    assert torch.equal(run.model_state()["weight"], STRATEGY.state["arrays"]["weight"])
    with pytest.raises(InputError, match="no client 4; clients go from 0 to 3"):
        run.model_state(4)
    assert run.summary().loc["north", "clients_value"] == 0.5
    assert "tiny" in run._repr_html_()
    assert repr(run) == f"Run('{folder.path}': tiny, fedprox, seed 0, 1 of 2 rounds, finished)"
    assert "north" in run._repr_html_()


def test_a_run_that_was_not_evaluated_has_no_summary(folder):
    run = load_run(folder.path)
    with pytest.raises(InputError, match="has no evaluated round yet"):
        run.summary()
    assert "0 of 2 rounds, not finished" in run._repr_html_()


# ---------------------------------------------------------------------------- metrics


@pytest.fixture
def history():
    """Client 0 sees north and south, client 1 north, client 2 south; worked out by hand below."""
    rows = [
        Row(1, 0, "north", "test", "accuracy", 0.9, 10),
        Row(2, 0, "north", "test", "accuracy", 0.5, 10),
        Row(2, 0, "south", "test", "accuracy", 1.0, 30),
        Row(2, 0, "north", "test", "loss", 7.0, 10),
        Row(2, 1, "north", "test", "accuracy", 0.25, 20),
        Row(2, 2, "south", "test", "accuracy", 0.5, 40),
        Row(2, GLOBAL, "north", "test", "accuracy", 0.6, 30),
        Row(2, GLOBAL, "west", "test", "accuracy", 0.1, 99),
        Row(2, 1, "", "train", "loss", 3.0, 80),
        Row(1, GLOBAL, "", "round", "bytes_up", 100.0, 0),
        Row(3, GLOBAL, "", "round", "bytes_up", 20.0, 0),
        Row(3, GLOBAL, "", "round", "bytes_down", 7.0, 0),
        Row(1, GLOBAL, "", "round", "seconds_train", 2.0, 0),
        Row(2, GLOBAL, "", "round", "seconds_evaluate", 1.0, 0),
    ]
    return pd.DataFrame(rows)


def test_the_last_evaluated_round_is_the_last_with_test_rows(history):
    assert metrics.last_evaluated_round(history) == 2
    assert metrics.last_evaluated_round(history[history["split"] == "round"]) is None


def test_a_clients_accuracy_is_over_all_its_examples(history):
    clients = metrics.by_client(history, 2)
    assert list(clients["value"]) == [(0.5 * 10 + 1.0 * 30) / 40, 0.25, 0.5]
    assert list(clients["examples"]) == [40, 20, 40]
    assert list(clients["domain"]) == ["north+south", "north", "south"]
    assert list(metrics.by_client(history, 2, "loss", "train")["value"]) == [3.0]


def test_the_spread_over_clients(history):
    spread = metrics.spread(metrics.by_client(history, 2))  # 0.875, 0.25, 0.5
    assert spread.clients == 3
    assert spread.mean_over_clients == pytest.approx(1.625 / 3)
    assert spread.mean_over_examples == pytest.approx((0.875 * 40 + 0.25 * 20 + 0.5 * 40) / 100)
    assert (spread.worst, spread.worst_client, spread.worst_domain) == (0.25, 1, "north")
    assert spread.deviation == pytest.approx(np.std([0.875, 0.25, 0.5]))


def test_no_client_tested_no_spread(history):
    assert metrics.spread(metrics.by_client(history, 3)) is None


def test_domains_have_the_clients_models_and_the_global_one(history):
    domains = metrics.by_domain(history, 2)
    assert list(domains.index) == ["north", "south", "west"]
    assert list(domains["clients"]) == [2, 2, 0]
    assert list(domains["examples"]) == [30, 70, 0]
    assert domains["clients_value"]["north"] == pytest.approx((0.5 * 10 + 0.25 * 20) / 30)
    assert domains["clients_value"]["south"] == pytest.approx((1.0 * 30 + 0.5 * 40) / 70)
    assert np.array_equal(domains["global_value"], [0.6, np.nan, 0.1], equal_nan=True)
    assert np.isnan(domains["clients_value"]["west"])


def test_totals_over_rounds(history):
    assert metrics.round_total(history, "bytes_up") == 120
    assert metrics.round_total(history, "seconds_") == 3
    assert metrics.round_total(history, "failed") == 0
