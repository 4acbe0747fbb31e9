import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from rich.console import Console

from fedlab.comparison import statistics
from fedlab.comparison.comparison import Comparison
from fedlab.comparison.console import print_comparison
from fedlab.comparison.significance import sign_flip
from fedlab.errors import InputError
from fedlab.federation.callbacks import RoundReport
from fedlab.metrics.metric_set import Score
from fedlab.row import GLOBAL, POOLED, Row
from fedlab.runs import curves
from fedlab.runs.history import HistoryWriter, to_frame
from fedlab.runs.metrics import by_domain
from fedlab.runs.run import load_run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario_file import load_scenario
from helpers import targets
from helpers.made_up import make_run, rows_of
from helpers.tiny_scenario import write_tiny

# ---------------------------------------------------------------------------- statistics


def history(*rounds):
    return to_frame([row for n, clients in enumerate(rounds, 1) for row in rows_of(n, clients)])


def test_an_outcome_is_that_of_the_last_evaluated_round_never_of_the_best():
    found = statistics.outcome(history({"a": [0.9, 0.9]}, {"a": [0.5, 0.7]}))
    assert found.round == 2
    assert found.mean == pytest.approx(0.6)


def test_an_outcome_by_hand():
    found = statistics.outcome(history({"a": [0.5, 0.7], "b": [0.2]}))
    assert found.domains == pytest.approx({"a": 0.6, "b": 0.2})
    assert found.mean == pytest.approx(0.4)  # each domain counts the same
    assert found.spread.worst == 0.2
    assert found.spread.deviation == pytest.approx(np.std([0.5, 0.7, 0.2]))
    assert found.traffic == 2000


def test_clients_of_a_domain_count_by_examples_and_an_unseen_domain_is_the_global_models():
    rows = [
        Row(1, 0, "a", "test", "accuracy", 1.0, 30),
        Row(1, 1, "a", "test", "accuracy", 0.0, 10),
        Row(1, GLOBAL, "a", "test", "accuracy", 0.1, 40),
        Row(1, GLOBAL, "unseen", "test", "accuracy", 0.4, 40),
    ]
    assert statistics.outcome(to_frame(rows)).domains == {"a": 0.75, "unseen": 0.4}


def test_learning_curves_are_by_domain_in_every_round():
    made = history({"b": [0.1], "a": [0.2, 0.4]}, {"b": [0.5], "a": [0.6, 1.0]})
    found = curves.learning_curves(made)
    assert list(found.columns) == ["b", "a"]
    for number in (1, 2):
        expected = by_domain(made, number)["clients_value"]
        assert found.loc[number].to_dict() == pytest.approx(expected.to_dict())


def test_a_curve_is_never_the_global_models_where_clients_have_none():
    rows = [
        Row(1, client, domain, "test", "mcc", value, 10)
        for client, domain, value in (
            (POOLED, "a", math.nan),
            (GLOBAL, "a", 0.5),
            (GLOBAL, "unseen", 0.25),
        )
    ]
    found = curves.learning_curves(to_frame(rows), "mcc").loc[1]
    assert math.isnan(found["a"])
    assert found["unseen"] == 0.25


def test_the_worst_client_is_no_number_where_one_has_diverged():
    rows = [
        Row(number, client, "a", "test", "mae", value, 10)
        for number, values in ((1, [2.0, 3.0]), (2, [1.0, math.nan]))
        for client, value in enumerate(values)
    ]
    mae = Score("mae", higher_is_better=False, share=False)
    assert curves.worst_curve(to_frame(rows), mae).tolist() == pytest.approx(
        [3, math.nan], nan_ok=True
    )
    undefined = replace(mae, averages=False)  # for a client: of the others
    assert curves.worst_curve(to_frame(rows), undefined).tolist() == [3, 1]


@pytest.mark.slow_except("2")
@pytest.mark.parametrize("methods", [2, 3])
def test_six_seeds_can_claim_one_difference_but_not_one_of_two(tmp_path, tiny, methods):
    """With two, the least p after Holm's correction is 2 · 2 / 2⁶."""
    runs = [
        run_of(
            tmp_path / f"{strategy}{seed}", tiny, 0.5 + 0.1 * place, strategy=strategy, seed=seed
        )
        for place, strategy in enumerate(("fedavg", "fedbn", "fedper")[:methods])
        for seed in range(6)
    ]
    table = Comparison.of(runs).to_markdown()
    assert ("p (Holm)" in table) == (methods == 2)
    assert (
        "6 pairs of runs cannot show a difference at 5 %: turned signs have p of at least 0.062, "
        "corrected by Holm for 2 differences. Claims take 7 seeds or more (--seeds 7)." in table
    ) == (methods == 3)


def test_what_was_measured_goes_with_its_target(tmp_path):
    loaded = []
    for seed in (0, 1):
        made = targets.scenario("regression", seed=seed, evaluation={"metrics": ["mae", "loss"]})
        make_run(tmp_path / str(seed), made, [{"a": [0.5]}])
        loaded.append(load_run(tmp_path / str(seed)))
    assert Comparison.of(loaded).metric_set == loaded[0].metric_set
    assert Comparison.of(loaded).asked == []


def test_a_history_without_tests_has_no_outcome():
    assert statistics.outcome(to_frame([Row(1, 0, "", "train", "loss", 1.0, 3)])) is None


def test_rounds_and_bytes_to_a_target():
    made = history({"a": [0.5], "b": [0.6]}, {"a": [0.7], "b": [0.9]}, {"a": [0.6], "b": [0.6]})
    assert curves.round_reaching(made, 0.8) == 2  # a mean over domains of exactly 0.8
    assert curves.bytes_reaching(made, 0.8) == 4000
    assert curves.round_reaching(made, 0.81) is None
    assert curves.bytes_reaching(made, 0.81) is None


def test_costs_add_up(tmp_path):
    made = make_run(tmp_path / "run", write_tiny(tmp_path), [{"a": [0.5]}, {"a": [0.5]}])
    spent = curves.costs(made.history)
    assert list(spent["bytes"]) == [2000, 4000]
    assert list(spent["seconds"]) == [2.0, 4.0]


def test_estimates_against_numpy():
    values = [0.81, 0.79, 0.84, 0.80]
    found = statistics.estimate(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    assert math.isnan(statistics.estimate([0.5]).deviation)
    assert math.isnan(statistics.estimate([]).mean)
    assert math.isnan(statistics.estimate([0.5, math.nan]).mean)  # never averaged away


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_intervals_of_paired_differences_against_scipy(confidence):
    random = np.random.default_rng(0)
    ours, theirs = random.normal(0.86, 0.01, 5), random.normal(0.80, 0.02, 5)
    found = statistics.paired_difference(dict(enumerate(ours)), dict(enumerate(theirs)), confidence)
    expected = scipy.stats.ttest_rel(ours, theirs).confidence_interval(confidence)
    assert found.mean == pytest.approx(np.mean(ours - theirs))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.pairs == 5


def test_differences_are_paired_by_seed_and_a_seed_that_one_lacks_is_left_out():
    found = statistics.paired_difference({0: 0.5, 3: 0.9, 7: 0.6}, {7: 0.5, 3: 0.7, 1: 0.0})
    assert found.pairs == 2
    assert found.mean == pytest.approx(0.15)
    trainer = 12.706204736 * np.std([0.2, 0.1], ddof=1) / np.sqrt(2)  # t of one degree of freedom
    assert (found.low, found.high) == pytest.approx((0.15 - trainer, 0.15 + trainer))


def test_one_pair_has_a_difference_but_no_interval():
    found = statistics.paired_difference({0: 0.5}, {0: 0.4})
    assert found.mean == pytest.approx(0.1)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(statistics.paired_difference({0: 0.5}, {1: 0.4}).mean)


# ---------------------------------------------------------------------------- comparisons


ACCURACIES = {
    "fedavg": [(0.80, 0.60), (0.82, 0.64), (0.78, 0.56)],
    "fedbn": [(0.81, 0.70), (0.82, 0.78), (0.80, 0.74)],
}
"""By strategy and seed: accuracy on north and on south in the last of two rounds."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("tiny"))


def run_of(folder, scenario, north=0.5, south=0.5, **changes):
    rounds = [{"north": [0.3, 0.3], "south": [0.99, 0.99]}]
    rounds.append({"north": [north - 0.1, north + 0.1], "south": [south, south]})
    return make_run(folder, scenario, rounds, **changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("runs")
    return [
        run_of(folder / f"{strategy}-s{seed}", tiny, *accuracy, strategy=strategy, seed=seed)
        for strategy, by_seed in ACCURACIES.items()
        for seed, accuracy in enumerate(by_seed)
    ]


def test_the_table_by_hand(runs):
    table = Comparison.of(runs, target=0.69).table()
    assert list(table.index) == ["fedavg", "fedbn"]
    assert table.index.name == "strategy"
    fedbn = table.loc["fedbn"]
    north, south = zip(*ACCURACIES["fedbn"], strict=True)
    means = np.mean([north, south], axis=0)
    assert fedbn["north"].to_dict() == pytest.approx(
        {"mean": np.mean(north), "deviation": np.std(north, ddof=1)}
    )
    assert fedbn["all domains", "mean"] == pytest.approx(means.mean())
    assert fedbn["all domains", "deviation"] == pytest.approx(np.std(means, ddof=1))
    worst = [min(n - 0.1, s) for n, s in ACCURACIES["fedbn"]]
    assert fedbn["worst client", "mean"] == pytest.approx(np.mean(worst))
    spreads = [np.std([n - 0.1, n + 0.1, s, s]) for n, s in ACCURACIES["fedbn"]]
    assert fedbn["spread over clients", "mean"] == pytest.approx(np.mean(spreads))
    reference = np.mean(list(zip(*ACCURACIES["fedavg"], strict=True)), axis=0)
    expected = scipy.stats.ttest_rel(means, reference).confidence_interval(0.95)
    assert fedbn["difference"].to_dict() == pytest.approx(
        {
            "mean": np.mean(means - reference),
            "low": expected.low,
            "high": expected.high,
            "pairs": 3,
            "p": sign_flip((means - reference).tolist()),
            "p (Holm)": fedbn["difference", "p"],  # of one difference
        }
    )
    assert table.loc["fedavg", "difference"].isna().to_dict() == {
        "mean": True,
        "low": True,
        "high": True,
        "pairs": False,
        "p": True,
        "p (Holm)": True,
    }
    assert fedbn["runs"].to_dict() == {"finished": 3, "planned": 3}
    assert fedbn["seconds", "mean"] == 4.0
    assert fedbn["bytes", "mean"] == 4000
    # All of FedBN's runs are at 0.69 after the second round, and only some of FedAvg's.
    assert fedbn["rounds to target"].to_dict() == {"reached": 3, "mean": 2, "deviation": 0}
    assert fedbn["bytes to target", "mean"] == 4000
    assert table.loc["fedavg", ("rounds to target", "reached")] == 2
    assert math.isnan(table.loc["fedavg", ("rounds to target", "mean")])


def test_results_have_every_run(runs):
    frame = Comparison.of(runs).results()
    assert len(frame) == 6
    one = frame.query("strategy == 'fedavg' and seed == 1").iloc[0]
    assert (one["state"], one["round"]) == ("finished", 2)
    assert one["north"] == pytest.approx(0.82)
    assert one["all domains"] == pytest.approx(0.73)


def test_a_run_that_has_not_finished_is_missing_and_not_averaged(runs, tmp_path, tiny):
    unfinished = run_of(tmp_path / "late", tiny, 0.1, 0.1, strategy="fedbn", seed=3, finished=False)
    comparison = Comparison.of([*runs, unfinished])
    table = comparison.table()
    assert table.loc["fedbn", "runs"].to_dict() == {"finished": 3, "planned": 4}
    assert table.loc["fedbn", ("north", "mean")] == pytest.approx(0.81)
    last = comparison.results().iloc[-1]
    assert last["state"] == "not finished: 2 of 2 rounds"
    assert math.isnan(last["north"])
    assert "| fedbn | 3 of 4 |" in comparison.to_markdown()
    assert "missing: fedbn, seed 3: not finished" in comparison.to_markdown()


def test_a_domain_that_a_run_was_not_tested_on_leaves_it_without_a_mean(runs, tmp_path, tiny):
    odd = make_run(tmp_path / "odd", tiny, [{"north": [0.9]}], strategy="fedsam", seed=0)
    table = Comparison.of([*runs, odd]).table()
    assert table.loc["fedsam", ("north", "mean")] == 0.9
    assert math.isnan(table.loc["fedsam", ("south", "mean")])
    assert math.isnan(table.loc["fedsam", ("all domains", "mean")])


def test_parameters_distinguish_groups_of_one_strategy(tmp_path, tiny):
    runs = [
        run_of(tmp_path / str(mu), tiny, strategy={"name": "fedprox", "mu": mu})
        for mu in (0.1, 0.01, 1.0)
    ]
    table = Comparison.of(runs).table()
    assert list(table.index) == ["fedprox mu=0.1", "fedprox", "fedprox mu=1.0"]


def test_runs_of_other_experiments_are_refused_by_default(runs, tmp_path, tiny):
    changes = {"rounds": 9, "training": {"batch_size": 7}}
    other = run_of(tmp_path / "other", load_scenario(tiny, changes), seed=5)
    with pytest.raises(InputError) as refused:
        Comparison.of([*runs, other])
    said = str(refused.value)
    assert said.startswith("these runs are of different experiments; compare them all the same")
    assert f"rounds: 2 in '{runs[0].folder}', 9 in '{other.folder}'" in said
    assert f"training.batch_size: 10 in '{runs[0].folder}', 7 in '{other.folder}'" in said
    table = Comparison.of([*runs, other], mixed=True).table()
    assert table.index.names == ["strategy", "rounds", "training.batch_size"]
    assert ("fedprox mu=0.001", 9, 7) in table.index


def test_what_changes_no_result_may_differ(runs, tmp_path, tiny):
    changed = load_scenario(tiny, {"resources.actors": 2, "output.dir": "x", "name": "other"})
    assert len(Comparison.of([*runs, run_of(tmp_path / "x", changed)]).groups) == 3


def test_a_seed_that_comes_twice_is_refused(runs, tmp_path, tiny):
    again = run_of(tmp_path / "again", tiny, strategy="fedbn", seed=2)
    with pytest.raises(InputError, match="are both fedbn with seed 2; leave out one of them"):
        Comparison.of([*runs, again])


def test_a_damaged_history_is_named(runs, tmp_path):
    folder = Path(shutil.copytree(runs[0].folder, tmp_path / "damaged"))
    file = folder / "history.csv"
    file.write_text(file.read_text().replace("0.3,10", "0.3,ten", 1))
    with pytest.raises(InputError, match="damaged") as refused:
        Comparison.of([folder]).table()
    assert str(refused.value).startswith(f"{file}: ")
    file.write_bytes(b"\xff\xfe,\x00\n1,2\n")
    with pytest.raises(InputError, match="is damaged: "):
        Comparison.of([folder]).table()


def test_virtual_time_is_shown_of_runs_on_devices(tmp_path, tiny):
    rounds = [{"north": [0.5]}, {"north": [0.9]}]
    device = make_run(tmp_path / "a", tiny, rounds, virtual=60.0, strategy="fedavg")
    comparison = Comparison.of([device], target=0.8)
    table = comparison.table()
    assert table.loc["fedavg", ("virtual seconds", "mean")] == 120
    assert table.loc["fedavg", ("virtual seconds to target", "mean")] == 120
    assert "| virtual time to 80 % | traffic | time | virtual time |" in comparison.to_markdown()
    assert "virtual" not in Comparison.of([make_run(tmp_path / "b", tiny, rounds)]).to_csv()


def test_nothing_to_compare_and_no_run(tmp_path):
    with pytest.raises(InputError, match="no run to compare"):
        Comparison.of([])
    with pytest.raises(InputError, match="is not there"):
        Comparison.of([tmp_path / "nowhere"])
    with pytest.raises(InputError, match=r"holds no comparison \(no comparison.yaml\)"):
        Comparison.open(tmp_path)


@pytest.mark.parametrize("target", [0, 80, -1])
def test_a_target_is_an_accuracy(runs, target):
    with pytest.raises(InputError, match="must be above 0 and at most 1"):
        Comparison.of(runs, target=target)


# ---------------------------------------------------------------------------- what a round does


def worked(folder, tiny, strategy, trained, parameters=100, **changes):
    """A run on north (0.2, 0.4) and south (0.6, 0.8) that tells what its clients did."""
    accuracies = {"north": [0.2, 0.4], "south": [0.6, 0.8]}
    options = {"trained": trained, "parameters": parameters}
    return make_run(folder, tiny, [accuracies], strategy=strategy, **options, **changes)


def test_clients_that_have_never_trained_have_columns_of_their_own(tmp_path, tiny):
    everybody = dict.fromkeys(range(4), (10, 4))
    comparison = Comparison.of(
        [
            worked(tmp_path / "a", tiny, "fedavg", everybody),
            worked(tmp_path / "b", tiny, "fedbn", {1: (10, 4), 3: (10, 4)}),
        ]
    )
    means = comparison.table().xs("mean", axis="columns", level="statistic")
    assert means["never trained"].to_dict() == {"fedavg": 0, "fedbn": 2}
    assert means["mean over clients"].to_dict() == pytest.approx({"fedavg": 0.5, "fedbn": 0.5})
    assert means["mean over trained clients"].to_dict() == pytest.approx(
        {"fedavg": 0.5, "fedbn": 0.6}
    )
    assert means["worst trained client"].to_dict() == {"fedavg": 0.2, "fedbn": 0.4}
    assert comparison.results()["never trained"].tolist() == [0, 2]
    assert "never trained mean" in comparison.to_csv().splitlines()[0]
    for text in (comparison.to_markdown(), comparison.to_latex(), printed(comparison)):
        assert "never trained: clients of a run that were tested and had never" in text
    without = Comparison.of([worked(tmp_path / "c", tiny, "fedavg", everybody)])
    assert "trained client" not in without.to_markdown()
    assert "never trained" not in without.table()


def test_a_run_whose_tested_clients_have_never_trained_has_no_mean_of_trained_ones(tmp_path, tiny):
    comparison = Comparison.of([worked(tmp_path / "a", tiny, "fedbn", {7: (10, 4)})])
    row = comparison.table().iloc[0]
    assert row["never trained", "mean"] == 4
    assert math.isnan(row["mean over trained clients", "mean"])


def test_two_objectives_in_one_table_are_named(tmp_path, tiny):
    unequal = {0: (10, 4), 1: (90, 4), 2: (10, 4), 3: (10, 4)}
    methods = ["fedavg", "fedbn", {"name": "ggeur", "base": "scaffold"}, "local_only", "flwr:Krum"]
    methods.append("qfedavg")
    comparison = Comparison.of(
        [worked(tmp_path / str(k), tiny, method, unequal) for k, method in enumerate(methods)]
    )
    head, _, *lines = comparison.to_markdown().splitlines()
    place = head.strip("| ").split(" | ").index("clients count")
    assert [line.strip("| ").split(" | ")[place] for line in lines[:6]] == [
        "by examples",
        "all the same",
        "all the same",
        "each alone",
        "all the same",
        "by its own rule",
    ]
    (note,) = (note for note in lines if note.startswith("clients count: "))
    assert "strategy.weighting=examples or strategy.weighting=uniform makes them one" in note
    assert (
        "of ggeur it is strategy.base.weighting; flwr:Krum knows its own way alone; qfedavg "
        in note
    )


@pytest.mark.parametrize(
    ("methods", "samples"),
    [
        (("fedavg", "fedbn"), 10),  # clients of equal size: both objectives are one
        (("fedavg", {"name": "fedbn", "weighting": "examples"}), 90),
        (("fedavg", "local_only"), 90),  # which has no common objective
    ],
)
def test_one_objective_takes_no_column(tmp_path, tiny, methods, samples):
    clients = {0: (10, 4), 1: (samples, 4), 2: (10, 4), 3: (10, 4)}
    runs = [worked(tmp_path / str(k), tiny, m, clients) for k, m in enumerate(methods)]
    assert "clients count" not in Comparison.of(runs).to_markdown()


def test_what_a_round_asks_of_a_client_is_shown_where_methods_differ(tmp_path, tiny):
    few = {0: (10, 4), 1: (10, 8)}
    more = dict.fromkeys(range(4), (10, 20))
    comparison = Comparison.of(
        [
            worked(tmp_path / "a", tiny, "fedavg", few, 31402),
            worked(tmp_path / "b", tiny, "moon", more, 1300000),
        ]
    )
    table = comparison.table()
    assert table["steps", "mean"].to_dict() == {"fedavg": 6, "moon": 20}
    assert table["parameters trained", "mean"].to_dict() == {"fedavg": 31402, "moon": 1300000}
    assert table["bytes up", "mean"].to_dict() == {"fedavg": 500, "moon": 250}
    text = comparison.to_markdown()
    assert "| 6 | 31,402 | 500 B |" in text
    assert "| 20 | 1,300,000 | 250 B |" in text
    assert "31,402" in printed(comparison)
    alike = Comparison.of(
        [worked(tmp_path / f"{name}-alike", tiny, name, few) for name in ("fedavg", "fedbn")]
    )
    assert "steps" not in alike.to_markdown()
    assert "steps" not in alike.table()


# ---------------------------------------------------------------------------- unseen domains


def left_out(folder, tiny, strategy, unseen, south=0.25):
    """A run of which south, if it is not seen, was tested by the global model, if there is one."""
    rows = [Row(1, 0, "north", "test", "accuracy", 0.5, 10)]
    if south is not None:
        rows.append(Row(1, GLOBAL, "south", "test", "accuracy", south, 10))
    scenario = load_scenario(tiny, {"data.unseen_domains": unseen}, strategy=strategy)
    made = RunFolder.create(folder, scenario)
    HistoryWriter(made.path).on_round(None, RoundReport(1, 1, rows, {}))
    made.finished_file.write_text(json.dumps({"rounds": 1}))
    return load_run(made.path)


def test_an_unseen_domain_is_marked_and_why_a_method_has_no_number_there(tmp_path, tiny):
    runs = [
        left_out(tmp_path / "a", tiny, "fedavg", ["south"]),
        left_out(tmp_path / "b", tiny, "fedbn", ["south"], south=None),
    ]
    comparison = Comparison.of(runs)
    text = comparison.to_markdown()
    assert "| north | south (unseen) | all domains |" in text
    assert "unseen: no client has samples of this domain; the global model is tested." in text
    assert "fedbn: has no number on south, which no client has, for it leaves no global" in text
    assert "fedavg: has no number" not in text
    assert comparison.table()["south", "mean"].isna().to_dict() == {"fedavg": False, "fedbn": True}


def test_a_domain_that_is_unseen_in_some_groups_alone_is_marked_there(tmp_path, tiny):
    runs = [
        left_out(tmp_path / "a", tiny, "fedavg", ["south"], 0.25),
        left_out(tmp_path / "b", tiny, "fedavg", [], 0.75),
    ]
    comparison = Comparison.of(runs, mixed=True)
    text = comparison.to_markdown()
    assert "| 25.0 † |" in text
    assert "| **75.0** |" in text
    assert "†: no client of this group has samples of this domain" in text
    assert r"25.0 $^\dagger$" in comparison.to_latex()


# ---------------------------------------------------------------------------- many domains


def printed(comparison, width=100):
    console = Console(record=True, width=width)
    print_comparison(comparison, console)
    return " ".join(console.export_text().split())


def of_many(folder, tiny, strategy, base, domains=30):
    rounds = [{f"sensor {k:02d}": [base + k / 100] for k in range(domains)}]
    return make_run(folder, tiny, rounds, strategy=strategy)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_many_domains_leave_a_terminal_readable(tmp_path, tiny, width):
    drawn = {"name": "ggeur", "per_class": 100, "per_prototype": 77}
    runs = [
        of_many(tmp_path / "a", tiny, "fedavg", 0.40),
        of_many(tmp_path / "b", tiny, drawn, 0.45),
    ]
    comparison = Comparison.of(runs)
    console = Console(record=True, width=width)
    print_comparison(comparison, console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert "There is no room for 30 domains side by side: `--format csv`" in text
    # 40 to 69 in steps of one: mean 54.5, and of a standard deviation of (30 ** 2 - 1) / 12.
    for words in ("54.5", f"{math.sqrt(899 / 12):.1f}", "40.0 (sensor 00)", "ggeur", "worst"):
        assert words in text
    assert "sensor 17" not in text
    assert "sensor 17 mean" in comparison.to_csv()


def test_few_domains_stand_side_by_side(runs):
    text = printed(Comparison.of(runs))
    assert "north" in text
    assert "no room" not in text
    assert "worst domain" not in text


def test_in_a_file_mean_and_difference_come_before_many_domains(tmp_path, tiny):
    runs = [
        of_many(tmp_path / "a", tiny, "fedavg", 0.40),
        of_many(tmp_path / "b", tiny, "fedbn", 0.45),
    ]
    head = Comparison.of(runs).to_markdown().splitlines()[0].strip("| ").split(" | ")
    assert head[:5] == ["method", "runs", "all domains", "spread over domains", "worst domain"]
    assert head.index("difference") < head.index("sensor 00")
    assert head[-1] == "sensor 29"


# ---------------------------------------------------------------------------- texts


def test_markdown_marks_the_best_and_its_equals(runs):
    lines = Comparison.of(runs, target=0.69).to_markdown().splitlines()
    assert lines[0] == (
        "| method | runs | north | south | all domains | worst client | spread over clients | "
        "difference | rounds to 69 % | traffic to 69 % | traffic | time |"
    )
    assert lines[2].startswith("| fedavg | 3 of 3 | 80.0 ± 2.0 | 60.0 ± 4.0 | 70.0 ± 3.0 |")
    assert "| - | 2 of 3 | 2 of 3 | 4.0 kB | 4.0 s |" in lines[2]
    assert "**81.0 ± 1.0** | **74.0 ± 4.0** | **77.5 ± 2.3** | **70.7 ± 1.2** |" in lines[3]
    assert "| +7.5 [" in lines[3]


def test_what_rounds_to_the_same_is_as_good(tmp_path, tiny):
    runs = [
        run_of(tmp_path / name, tiny, north, 0.5, strategy=name)
        for name, north in (("fedavg", 0.80004), ("fedbn", 0.80001), ("fedsam", 0.799))
    ]
    lines = Comparison.of(runs).to_markdown().splitlines()
    assert ["**80.0**" in line for line in lines[2:5]] == [True, True, False]


def test_latex_is_a_booktabs_table_with_its_own_characters_escaped(tmp_path, tiny):
    runs = [run_of(tmp_path / s, tiny, strategy=s) for s in ("local_only", "lg_fedavg")]
    text = Comparison.of(runs).to_latex()
    for word in (r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}", r"local\_only & 1 of"):
        assert word in text
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 3
    assert len({row.count(" & ") for row in rows}) == 1
    assert r"\textbf{50.0}" in rows[1]
    assert r"\textbf{50.0}" in rows[2]


def test_csv_reads_back_as_the_table(runs, tmp_path):
    comparison = Comparison.of(runs)
    text = comparison.to_csv(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == text
    read = pd.read_csv(tmp_path / "table.csv").set_index("strategy")
    assert read["north mean"].to_dict() == comparison.table()["north", "mean"].to_dict()


def test_a_file_that_cannot_be_written_is_named(runs, tmp_path):
    for write in (Comparison.to_csv, Comparison.to_markdown, Comparison.to_latex):
        with pytest.raises(InputError, match="cannot be written: No such file or directory"):
            write(Comparison.of(runs), tmp_path / "no" / "table")


def test_notebooks_show_the_table_with_names_escaped(runs):
    shown = Comparison.of(runs)._repr_html_()
    assert shown.count("<tr>") == 3
    assert "<b>77.5 ± 2.3</b>" in shown
    hostile = replace(Comparison.of(runs).groups[0], strategy="<script>")
    assert "<script>" not in Comparison((hostile,))._repr_html_()


def test_curves_have_a_panel_for_each_domain_and_a_band_for_each_group(runs):
    figure = Comparison.of(runs).plot()
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == ["north", "south", "mean over domains"]
    panel = figure.axes[0]
    assert [list(line.get_ydata()) for line in panel.lines] == [
        pytest.approx([0.3, 0.8]),
        pytest.approx([0.3, 0.81]),
    ]
    assert len(panel.collections) == 2
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["fedavg", "fedbn"]
    with pytest.raises(InputError, match="'f1' is not measured"):
        Comparison.of(runs).plot("f1")


def test_a_run_draws_its_domains(runs):
    (axes,) = runs[0].plot().axes
    assert len(axes.lines) == 3
    assert list(axes.lines[2].get_ydata()) == pytest.approx([0.645, 0.7])


def test_a_finished_run_that_was_never_tested_is_missing(tmp_path, tiny):
    made = make_run(tmp_path / "run", tiny, [{}])
    assert json.loads((made.folder / "finished.json").read_text()) == {"rounds": 1}
    (row,) = Comparison.of([made]).results().to_dict("records")
    assert row["state"] == "no round of it was evaluated"
