import json
import logging
import os
import subprocess
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

import fedlab
from fedlab.errors import InputError
from fedlab.federation.callbacks import RoundReport
from fedlab.report.terminal.summary_table import print_closing_table
from fedlab.row import GLOBAL, Row
from fedlab.runs import metrics
from fedlab.runs.environment import describe_environment
from fedlab.runs.final_model import FinishWriter
from fedlab.runs.history import HistoryWriter, read_history
from fedlab.runs.run import load_run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario_file import load_scenario
from helpers.made_up import make_run
from helpers.tiny_scenario import write_tiny

ARRAYS = {"weight": torch.arange(6.0).reshape(2, 3).T}
ANATOMY = SimpleNamespace(aliases={})
STRATEGY = SimpleNamespace(state={"arrays": ARRAYS}, saved=lambda: ARRAYS, anatomy=ANATOMY)


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


def test_a_run_notes_the_commit_and_whether_files_have_changed(tmp_path, monkeypatch):
    def git(*words):
        name = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(["git", *name, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def noted():
        return describe_environment()["git_commit"]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert noted() is None
    git("init")
    assert noted() is None
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    (tmp_path / "other").touch()
    commit = git("rev-parse", "HEAD")
    assert noted() == commit
    (tmp_path / "file").write_text("2")
    assert noted() == f"{commit}+"


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


def test_a_folder_that_cannot_be_made_is_reported(tmp_path, scenario):
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


@pytest.fixture
def partly_trained():
    """Clients 0, 2 and 3 first train in rounds 1, 2 and 3; all four are tested in each of them."""
    tested = {0: ("north", 0.9), 1: ("north", 0.1), 2: ("south", 0.5), 3: ("south", 0.3)}
    rows = []
    for number in (1, 2, 3):
        rows += [
            Row(number, c, domain, "test", "accuracy", value, 10)
            for c, (domain, value) in tested.items()
        ]
    for number, client, steps in ((1, 0, 4), (2, 2, 6), (3, 3, 8)):
        rows.append(Row(number, client, "", "train", "loss", 1.0, 10 * client))
        rows.append(Row(number, client, "", "train", "steps", steps, 10 * client))
        rows.append(Row(number, GLOBAL, "", "round", "clients", 1, 0))
        rows.append(Row(number, GLOBAL, "", "round", "bytes_up", 500.0, 0))
        rows.append(Row(number, GLOBAL, "", "round", "bytes_down", 2000.0, 0))
    return pd.DataFrame(rows)


def test_clients_that_have_never_trained_are_reported_separately(partly_trained):
    assert metrics.trained_clients(partly_trained, 2) == {0, 2}
    second = metrics.spread_in(partly_trained, 2)
    assert (second.clients, second.untrained) == (4, 2)
    assert second.mean_over_clients == pytest.approx(0.45)
    assert (second.worst, second.worst_client) == (0.1, 1)
    of_trained = second.of_trained
    assert (of_trained.clients, of_trained.untrained) == (2, 0)
    assert of_trained.mean_over_clients == pytest.approx(0.7)
    assert (of_trained.worst, of_trained.worst_client, of_trained.worst_domain) == (0.5, 2, "south")
    assert of_trained.deviation == pytest.approx(0.2)
    assert metrics.spread_in(partly_trained, 3).of_trained.worst == 0.3


def test_where_all_or_no_clients_have_trained_there_is_no_second_spread(partly_trained):
    everybody = partly_trained[partly_trained["client"] != 1]
    third = metrics.spread_in(everybody, 3)
    assert (third.untrained, third.of_trained) == (0, None)
    untrained_only = metrics.spread(metrics.by_client(partly_trained, 3), trained=())
    assert (untrained_only.untrained, untrained_only.of_trained) == (4, None)


def test_a_history_without_training_rows_leaves_no_client_out(partly_trained):
    tests = partly_trained[partly_trained["split"] == "test"]
    assert metrics.trained_clients(tests, 3) is None
    assert metrics.spread_in(tests, 3).untrained == 0
    assert "untrained" not in metrics.by_domain_and_training(tests, 3)


def test_domains_without_those_that_have_never_trained(partly_trained):
    domains = metrics.by_domain_and_training(partly_trained, 1)
    assert domains["untrained"].to_dict() == {"north": 1, "south": 2}
    assert domains["trained_value"]["north"] == 0.9
    assert np.isnan(domains["trained_value"]["south"])
    assert domains["clients_value"].to_dict() == pytest.approx({"north": 0.5, "south": 0.4})


def test_what_a_round_asks_of_a_client(partly_trained):
    assert metrics.mean_steps(partly_trained) == 6
    assert metrics.bytes_per_client(partly_trained, "up") == 500
    assert metrics.bytes_per_client(partly_trained, "down") == 2000
    assert metrics.unequal_clients(partly_trained)
    assert not metrics.unequal_clients(partly_trained[partly_trained["client"] == 2])
    nothing = partly_trained[partly_trained["split"] == "test"]
    assert np.isnan(metrics.mean_steps(nothing))
    assert np.isnan(metrics.bytes_per_client(nothing, "up"))


def test_the_mean_over_domains_has_the_global_model_where_no_client_tests(history):
    # (0.5 * 10 + 0.25 * 20) / 30 on north, (1.0 * 30 + 0.5 * 40) / 70 on south, and the global 0.1
    # on west.
    assert metrics.mean_over_domains(history, 2) == pytest.approx((1 / 3 + 5 / 7 + 0.1) / 3)


def test_a_run_shows_who_has_never_trained(tmp_path, scenario):
    accuracies = {"north": [0.2, 0.4], "south": [0.6, 0.8]}
    run = make_run(
        tmp_path / "run", scenario, [accuracies], trained={0: (10, 4), 3: (20, 8)}, parameters=75
    )
    assert run.trained_parameters == 75
    assert run.summary()["untrained"].to_dict() == {"north": 1, "south": 1}
    assert run.summary()["trained_value"].to_dict() == {"north": 0.2, "south": 0.8}
    console = Console(record=True, width=100)
    print_closing_table(run, console)
    words = " ".join(console.export_text().split())
    for phrase in (
        "mean over domains 0.500",
        "mean over clients 0.500 ± 0.224",
        "never trained 2 of the 4 clients have not been drawn to train",
        "mean over trained 0.500 ± 0.300 (over the 2 that have trained)",
        "worst trained 0.200 (client 0, north)",
        "a client's round 6 steps, 75 parameters trained, 500 B sent up",
        "1.0 kB up, 1.0 kB down (evaluation included)",
    ):
        assert phrase in words
    assert "never trained" in run._repr_html_()


def test_a_damaged_workload_is_named_and_none_is_no_mistake(tmp_path, scenario):
    run = make_run(tmp_path / "run", scenario, [{"north": [0.5]}])
    assert run.trained_parameters is None
    file = run.folder / "workload.json"
    for damaged in ("{", "[1]", '{"parameters": null}'):
        file.write_text(damaged)
        with pytest.raises(InputError, match="is not as `fedlab simulate` writes it") as refused:
            _ = run.trained_parameters
        assert str(refused.value).startswith(f"{file}: ")


def test_a_run_says_what_a_client_trains_and_sends(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "fedlab"):
        for method in ("fedavg", "ditto", "moon"):
            options = {"strategy": method, "rounds": 1, "out": tmp_path / method}
            fedlab.simulate(write_tiny(tmp_path), progress=False, **options)
    # 5 inputs, 8 hidden units, 3 classes; MOON puts 8 x 8 and 8 x 256 before 256 x 3.
    network = 5 * 8 + 8 + 8 * 3 + 3
    projected = 5 * 8 + 8 + 8 * 8 + 8 + 8 * 256 + 256 + 256 * 3 + 3
    assert [fedlab.load_run(tmp_path / m).trained_parameters for m in ("fedavg", "ditto")] == [
        network,
        2 * network,
    ]
    assert fedlab.load_run(tmp_path / "moon").trained_parameters == projected
    lines = [line for line in caplog.messages if line.startswith("a client trains ")]
    assert lines == [
        "a client trains 75 parameters; in a round 300 B go down to it and 300 B come up",
        "a client trains 75 parameters and 75 of ditto's own; in a round 300 B go down to it and "
        "300 B come up",
        f"a client trains {projected:,} parameters; in a round 12.8 kB go down to it and 12.8 kB "
        "come up",
    ]


def test_where_no_client_is_tested_there_is_no_column_of_clients(tmp_path, scenario):
    made = RunFolder.create(tmp_path / "run", scenario)
    writer = HistoryWriter(made.path)
    rows = [Row(1, GLOBAL, "north", "test", "accuracy", 0.5, 10)]
    writer.on_round(STRATEGY, RoundReport(1, 1, rows, {}))
    console = Console(record=True, width=100)
    print_closing_table(load_run(made.path), console)
    text = console.export_text()
    assert "global model" in text
    assert "clients" not in text
    assert "clients" not in load_run(made.path)._repr_html_().split("<svg")[0]


@pytest.mark.parametrize("method", ["fedavg", "fedper"])
def test_an_unseen_domain_is_marked_and_a_method_without_a_model_for_it_is_noted(tmp_path, method):
    scenario = load_scenario(write_tiny(tmp_path), {"data.unseen_domains": ["south"]})
    rows = [Row(1, 0, "north", "test", "accuracy", 0.5, 10)]
    if method == "fedavg":
        rows.append(Row(1, GLOBAL, "south", "test", "accuracy", 0.25, 10))
    made = RunFolder.create(tmp_path / "run", load_scenario(scenario, strategy=method))
    HistoryWriter(made.path).on_round(STRATEGY, RoundReport(1, 1, rows, {}))
    console = Console(record=True, width=100)
    print_closing_table(load_run(made.path), console)
    words = " ".join(console.export_text().split())
    assert "south (unseen)" in words
    assert ("not tested south (unseen): fedper has no global model" in words) == (
        method == "fedper"
    )


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
