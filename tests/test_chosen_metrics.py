"""The metrics of a scenario, from its clients to tables, pictures and trackers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from rich.console import Console
from sklearn import metrics as oracle

import fedlab
from fedlab.comparison.aggregations import AGGREGATIONS, gini
from fedlab.comparison.comparison import Comparison
from fedlab.deploy.server.inspection import Expectation
from fedlab.errors import InputError
from fedlab.federation.callbacks import RoundReport
from fedlab.federation.evaluation_reply import COUNTS, counts_layout, counts_record
from fedlab.federation.record_layout import Expected
from fedlab.metrics.base import Metric, SampleMean
from fedlab.metrics.metric_set import MetricSet
from fedlab.metrics.spec import EvaluationSpec
from fedlab.preparation import prepare
from fedlab.records import to_wire
from fedlab.report.html.page import render
from fedlab.report.terminal.summary_table import print_closing_table
from fedlab.report.terminal.watch import watch
from fedlab.row import GLOBAL, POOLED, Row
from fedlab.runs.curves import learning_curves
from fedlab.runs.kept_counts import kept_counts
from fedlab.runs.run import Run
from fedlab.simulation import resume
from fedlab.targets.base import Target
from fedlab.targets.classes import Classes
from fedlab.targets.regression import Regression
from fedlab.tracking.scalar_values import numbers_of
from helpers import toy
from helpers.tiny_scenario import write_tiny

MANY = ["f1", "accuracy", "loss", "ece", "auroc", "recall", "confusion"]
MIXED = {"clients": 4, "domains": "mixed", "labels": {"name": "dirichlet", "alpha": 0.3}}


def run_of(folder: Path, **changes: Any) -> Run:
    scenario = toy.scenario(**{"evaluation": {"metrics": MANY}, **changes})
    return fedlab.simulate(scenario, out=folder, progress=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two methods under label skew, one of which keeps layers with its clients."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        run_of(folder / name, strategy=name, partition=MIXED, model="small_cnn")
        for name in ("fedavg", "fedbn")
    ]


def predictions(run: Run, client: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions and domains of a client's test samples under its own last model."""
    prepared = prepare(run.scenario)
    test, rows = prepared.data.test, prepared.partition[client].test
    model = run.model(client)
    with torch.inference_mode():
        outputs = model(torch.tensor(test.inputs[rows]))
    return test.labels[rows], outputs.argmax(dim=1).numpy(), test.domains[rows]


def last(run: Run, metric: str, client: int, domain: str) -> float:
    rows = run.history
    rows = rows[(rows["round"] == rows["round"].max()) & (rows["metric"] == metric)]
    rows = rows[(rows["client"] == client) & (rows["domain"] == domain)]
    (value,) = rows["value"]
    return value


def f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    return oracle.f1_score(labels, predicted, average="macro", zero_division=0)


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 1])
def test_figures_are_those_of_all_predictions_together(pair: list[Run], place: int) -> None:
    run = pair[place]
    predicted_by = [predictions(run, client) for client in range(4)]
    for client, (labels, predicted, domains) in enumerate(predicted_by):
        for domain in np.unique(domains):
            own = domains == domain
            expected = f1(labels[own], predicted[own])
            assert last(run, "f1", client, f"d{domain}") == pytest.approx(expected)
        assert last(run, "f1", client, "") == pytest.approx(f1(labels, predicted))
    labels, predicted, domains = (
        np.concatenate(parts) for parts in zip(*predicted_by, strict=True)
    )
    assert last(run, "f1", POOLED, "") == pytest.approx(f1(labels, predicted))
    for domain in range(3):
        own = domains == domain
        expected = f1(labels[own], predicted[own])
        assert last(run, "f1", POOLED, f"d{domain}") == pytest.approx(expected)
        if place == 0:  # the clients' test splits add up to the domain's, and the model is global
            assert last(run, "f1", GLOBAL, f"d{domain}") == pytest.approx(expected)
    matrix = kept_counts(run, "confusion", run.rounds)["matrix"]
    assert matrix.tolist() == oracle.confusion_matrix(labels, predicted, labels=range(4)).tolist()
    summary = run.summary()["clients_value"]
    assert summary.tolist() == [last(run, "f1", POOLED, f"d{domain}") for domain in range(3)]


@pytest.mark.slow
def test_what_is_chosen_changes_no_other_number(tmp_path: Path) -> None:
    plain = run_of(tmp_path / "plain", evaluation={}).folder / "history.csv"
    chosen = run_of(tmp_path / "chosen", evaluation={"metrics": ["accuracy", "loss"]})
    assert (chosen.folder / "history.csv").read_bytes() == plain.read_bytes()
    assert not (chosen.folder / "counts.csv").exists()
    more = pandas.read_csv(run_of(tmp_path / "more").folder / "history.csv")
    usual = pandas.read_csv(plain)
    keys = ["round", "client", "domain", "split", "metric"]
    both = usual.merge(more, on=keys)
    assert len(both) == len(usual)
    assert (both["value_x"] == both["value_y"]).all()
    assert set(more["metric"]) - set(usual["metric"]) > {"f1", "ece", "auroc", "recall[0]"}


@pytest.mark.slow
def test_metrics_say_the_same_in_one_process_and_on_ray(tmp_path: Path, ray_here: None) -> None:
    changes: dict[str, Any] = {"strategy": "fedbn", "partition": MIXED}
    run_of(tmp_path / "here", **changes)
    run_of(tmp_path / "ray", **changes, resources={"backend": "ray", "actors": 2})
    for name in ("history.csv", "counts.csv"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


class Stop:
    """Stops after the first round."""

    def on_start(self, *_: Any) -> None: ...

    def on_round(self, strategy: Any, report: RoundReport) -> None:
        if report.round == 1:
            raise KeyboardInterrupt

    def on_end(self, *_: Any) -> None: ...


@pytest.mark.slow
def test_counts_are_resumed_to_the_same_bytes(tmp_path: Path) -> None:
    run_of(tmp_path / "whole")
    scenario = toy.scenario(evaluation={"metrics": MANY})
    with pytest.raises(KeyboardInterrupt):
        fedlab.simulate(scenario, out=tmp_path / "cut", callbacks=[Stop()], progress=False)
    with (tmp_path / "cut" / "counts.csv").open("a") as file:
        file.write("2,-2,,test,ece,samples,0,99\n")  # of a round that was lost
    resume(tmp_path / "cut", progress=False)
    for name in ("history.csv", "counts.csv"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_global_model_alone_is_reported_by_domain(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", evaluation={"metrics": MANY, "fraction": 0})
    assert set(run.history.loc[run.history["metric"] == "f1", "client"]) == {GLOBAL}
    matrix = kept_counts(run, "confusion", run.rounds, "d1", GLOBAL)["matrix"]
    assert matrix.sum() == 20
    assert run.summary()["global_value"].notna().all()


def test_a_figure_that_is_not_defined_is_a_dash(tmp_path: Path) -> None:
    one_class = {"clients": 4, "domains": "mixed"}
    one_class["labels"] = {"name": "classes_per_client", "count": 1}  # type: ignore[assignment]
    run = run_of(tmp_path / "run", partition=one_class, evaluation={"metrics": ["auroc", "mcc"]})
    console = Console(width=120, record=True, file=(tmp_path / "out").open("w"))
    assert all(math.isnan(last(run, "auroc", client, "d0")) for client in range(4))
    assert not math.isnan(last(run, "auroc", POOLED, "d0"))
    print_closing_table(run, console)
    watch(run, console)
    text = console.export_text()
    assert "test AUROC after round 2" in text
    for score in (run.metric_set.first, *run.metric_set.others):
        assert f"{score.words}: for 4 of 4 clients, which are left out" in text
    assert "nan" not in text
    assert "worst client" not in text


# ---------------------------------------------------------------------- tables and pictures


def test_aggregations_of_made_up_values() -> None:
    assert gini(np.array([10.0, 10, 10, 10])) == 0
    assert gini(np.array([1.0, 2, 3, 4])) == pytest.approx(0.25)
    assert gini(np.array([0.0, 0, 0, 40])) == pytest.approx(0.75)
    assert math.isnan(gini(np.array([-1.0, 1])))


def test_the_mean_of_the_last_five_tested_rounds() -> None:
    rows = [
        (2 * number, POOLED, f"d{domain}", "test", "accuracy", number + 2.0 * domain, 10)
        for number in range(1, 8)
        for domain in range(2)
    ]
    names = ["round", "client", "domain", "split", "metric", "value", "examples"]
    history, score = pandas.DataFrame(rows, columns=names), MetricSet().score("accuracy")
    value = AGGREGATIONS["last_five"].value
    assert value(history, 14, score) == pytest.approx(1 + (3 + 4 + 5 + 6 + 7) / 5)
    assert value(history, 10, score) == pytest.approx(1 + (1 + 2 + 3 + 4 + 5) / 5)
    assert math.isnan(value(history, 8, score))


def test_an_empty_mean_of_five_rounds_says_why(pair: list[Run]) -> None:
    notes = Comparison.of(pair, columns=["accuracy:last_five"]).to_markdown()
    (line,) = [line for line in notes.splitlines() if "fewer than 5 tested rounds" in line]
    assert line.startswith("accuracy over domains, mean of the last five tested rounds: empty ")
    assert "(fedavg: 2, fedbn: 2); evaluation.every=1 tests every round" in line
    assert "tested rounds" not in Comparison.of(pair, columns=["accuracy:oracle"]).to_markdown()


@pytest.mark.parametrize(
    ("rounds", "evaluation", "words"),
    [
        (20, {"every": 5}, "evaluation.every=5 tests 4 of 20; set evaluation.every=1,"),
        (4, {}, "evaluation.every=1 tests 4 of 4; set evaluation.every=1 and rounds to 5 or"),
        (
            9,
            {"select": "validation", "validation": 0.2},
            "evaluation.select=validation tests 1 of 9; set evaluation.select=last and",
        ),
    ],
)
def test_a_mean_of_five_rounds_needs_five_tests(
    rounds: int, evaluation: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        fedlab.compare(
            toy.scenario(rounds=rounds, evaluation=evaluation),
            columns=["accuracy:last_five"],
            out=tmp_path / "none",
            progress=False,
        )
    assert not (tmp_path / "none").exists()


def test_a_mean_of_five_rounds(tmp_path: Path) -> None:
    scenario = toy.scenario(rounds=9, evaluation={"every": 2}, resources={"backend": "local"})
    found = fedlab.compare(
        scenario, ["fedavg"], 1, columns=["accuracy:last_five"], out=tmp_path, progress=False
    )
    (run,) = found.runs
    means = learning_curves(run.history).mean(axis="columns")
    assert list(means.index) == [2, 4, 6, 8, 9]
    title = "accuracy over domains, mean of the last five tested rounds"
    assert found.table()[title, "mean"].iloc[0] == pytest.approx(means.mean())
    assert "fewer than 5 tested rounds" not in found.to_markdown()


COLUMNS = (
    "f1",
    "f1:pooled",
    "accuracy:pooled",
    "accuracy:clients",
    "loss:worst",
    "accuracy:decile",
    "accuracy:deviation",
    "accuracy:worst_domain",
    "accuracy:gini",
)


@pytest.mark.slow
def test_columns_that_are_asked_for(pair: list[Run]) -> None:
    table = Comparison.of(pair, columns=COLUMNS).table()
    for place, run in enumerate(pair):
        predicted_by = [predictions(run, client) for client in range(4)]
        labels, predicted, domains = (
            np.concatenate(parts) for parts in zip(*predicted_by, strict=True)
        )
        own = np.array([np.mean(a == b) for a, b, _ in predicted_by])
        by_domain = np.array([np.mean((labels == predicted)[domains == d]) for d in range(3)])
        losses = [last_loss(run, client) for client in range(4)]
        expected = {
            "F1 over domains": np.mean([last(run, "f1", POOLED, f"d{d}") for d in range(3)]),
            "F1 of all samples": f1(labels, predicted),
            "accuracy of all samples": np.mean(labels == predicted),
            "accuracy over clients": own.mean(),
            "loss of the worst client": max(losses),
            "accuracy worst decile of clients": np.quantile(own, 0.1),
            "accuracy deviation over domains": by_domain.std(),
            "accuracy of the worst domain": by_domain.min(),
            "accuracy Gini over clients": gini(own),
        }
        for title, number in expected.items():
            assert table[title, "mean"].iloc[place] == pytest.approx(number), title


def last_loss(run: Run, client: int) -> float:
    rows = run.history
    rows = rows[(rows["round"] == 2) & (rows["split"] == "test") & (rows["metric"] == "loss")]
    rows = rows[rows["client"] == client]
    return float((rows["value"] * rows["examples"]).sum() / rows["examples"].sum())


def test_columns_by_default_are_the_other_metrics(pair: list[Run]) -> None:
    text = Comparison.of(pair).to_markdown()
    assert "Test F1 in per cent after the last round" in text
    for title in ("accuracy over domains", "loss over domains", "ECE over domains"):
        assert f"| {title} |" in text
    assert "recall" not in text.splitlines()[0]


@pytest.mark.parametrize(
    ("column", "words"),
    [("f2", "'f2' is not measured"), ("f1:median", "there is no aggregation 'median'")],
)
def test_columns_that_cannot_be_meant(pair: list[Run], column: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Comparison.of(pair, columns=[column])


@pytest.mark.parametrize(
    ("column", "evaluation", "words"),
    [
        ("validated", {}, "needs validation samples, and the runs have none"),
        ("validated", {"validation": 0.2, "fraction": 0}, "clients that validate, and evaluation"),
        ("worst", {"fraction": 0}, "clients that test, and evaluation.fraction is 0"),
        ("pooled", {"fraction": 0}, "clients that test, and evaluation.fraction is 0"),
        ("oracle", {"validation": 0.2, "select": "validation"}, "every evaluated round"),
        ("last_five", {"validation": 0.2, "select": "validation"}, "5 tested rounds"),
        (
            "last_five",
            {"every": 2},
            "5 tested rounds, and evaluation.every=2 tests 4 of 8; set evaluation.every=1",
        ),
    ],
)
def test_a_column_that_runs_would_leave_empty_is_refused(
    column: str, evaluation: dict, words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words + ".*leave the column out"):
        fedlab.compare(
            toy.scenario(rounds=8, evaluation=evaluation),
            columns=[f"accuracy:{column}"],
            out=tmp_path / "none",
            progress=False,
        )
    assert not (tmp_path / "none").exists()


def test_runs_scored_by_different_metrics_do_not_share_a_column(
    pair: list[Run], tmp_path: Path
) -> None:
    other = run_of(tmp_path / "other", partition=MIXED, evaluation={"metrics": ["accuracy"]})
    with pytest.raises(InputError, match="scored by different metrics"):
        Comparison.of([pair[0], other], mixed=True)
    with pytest.raises(InputError, match="cannot stand in one column"):
        fedlab.compare(
            toy.scenario(),
            variants={"evaluation.metrics": [["f1"], ["loss"]]},
            out=tmp_path / "none",
            progress=False,
        )
    assert not (tmp_path / "none").exists()


def test_less_is_better_where_it_is(tmp_path: Path) -> None:
    runs = [
        run_of(tmp_path / name, strategy=name, evaluation={"metrics": "loss"})
        for name in ("fedavg", "local_only")
    ]
    comparison = Comparison.of(runs, target=1.2)
    table = comparison.table()
    losses = table["all domains", "mean"]
    best = losses.to_numpy().argmin()
    row = comparison.to_markdown().splitlines()[2 + int(best)]
    assert f"**{losses.iloc[best]:.3f}**" in row
    own = [last_loss(runs[0], client) for client in range(3)]
    assert table["worst client", "mean"].iloc[0] == pytest.approx(max(own))
    assert "rounds to 1.2 |" in comparison.to_markdown()


def test_the_report_draws_what_was_counted(pair: list[Run]) -> None:
    page = render(Comparison.of(pair), data=False)
    assert page.count('aria-label="Confusion matrix of') == 2
    assert page.count('aria-label="Reliability of') == 2
    assert "Test F1 in per cent by round" in page


def test_trackers_get_every_metric() -> None:
    rows = [
        Row(1, 0, "a", "test", "f1", 0.5, 10),
        Row(1, 1, "a", "test", "f1", 0.25, 30),
        Row(1, POOLED, "a", "test", "f1", 0.3, 40),
        Row(1, POOLED, "", "test", "f1", 0.3, 40),
    ]
    scores = tuple(MetricSet(EvaluationSpec(metrics="f1").metrics).scores.values())  # type: ignore[arg-type]
    numbers = numbers_of(RoundReport(1, 1, rows, {}), None, scores)
    assert numbers["f1/a"] == 0.3
    assert numbers["f1/worst_client"] == 0.25
    assert numbers["f1/mean_over_clients"] == 0.375


def test_the_command_line_knows_metrics(
    run: Callable[..., tuple[int, str, str]], pair: list[Run], tmp_path: Path
) -> None:
    code, text, _ = run("list", "metrics")
    assert code == 0
    assert "average_precision" in text
    code, text, _ = run("show", "ece")
    assert code == 0
    assert "int > 0" in text
    page = tmp_path / "page.html"
    folders = [one.folder for one in pair]
    code, _, _ = run("report", *folders, "-o", page, "--no-data", "--columns", "f1:gini")
    assert code == 0
    assert "F1 Gini over clients" in page.read_text()


@pytest.mark.slow
def test_columns_of_several_scenarios_are_those_of_each_table(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        write_tiny(tmp_path).rename(tmp_path / f"{name}.yaml")
        text = (tmp_path / f"{name}.yaml").read_text().replace("name: tiny", f"name: {name}")
        (tmp_path / f"{name}.yaml").write_text(text)
    words = ["compare", "one.yaml", "two.yaml", "rounds=1", "--strategies", "fedavg,fedprox"]
    words += ["--seeds", "1", "--out", "suite", "--columns", "accuracy:gini"]
    code, _, err = run(*words, "--format", "csv")
    assert code
    assert "they are of each scenario's own table" in err
    code, text, err = run(*words)
    assert code == 0, err
    assert text.count("Gini") == 2


# ---------------------------------------------------------------------- devices


MEASURED = MetricSet(EvaluationSpec(metrics=["accuracy", "f1", "ece"]).metrics)  # type: ignore[arg-type]
OUTPUTS = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])


def reply(metrics: MetricSet, change: Callable[[dict], None] = lambda counts: None) -> RecordDict:
    """What a device with three test samples says of them."""
    labels = torch.tensor([1, 0, 0])
    counts = {each.title: each.count(OUTPUTS, labels) for each in metrics.counted}
    change(counts)
    means = {"accuracy": 2 / 3, "loss": 1.0}
    table = {"domain": ["d"], "examples": [3], **{name: [each] for name, each in means.items()}}
    content = RecordDict(
        {
            "metrics": MetricRecord({"num-examples": 3, **means}),
            "domains": ConfigRecord(table),  # type: ignore[arg-type]
            "client": ConfigRecord({"id": 0, "task": "t"}),
        }
    )
    if counts:
        content[COUNTS] = counts_record([counts])
    return to_wire(content)


def expectation(metrics: MetricSet) -> Expectation:
    layout = counts_layout(metrics.counted, 3, 3, Classes())
    return Expectation(0, "t", Expected({}), {}, 3, 9, domain="d", counts=layout)


def test_a_device_sends_what_its_metrics_have_counted() -> None:
    admitted = expectation(MEASURED).admit(reply(MEASURED))
    assert admitted[COUNTS]["f1/matrix"].numpy().tolist() == [[[1, 0, 1], [0, 1, 0], [0, 0, 0]]]  # type: ignore[index]
    plain = MetricSet()
    assert "counts" not in expectation(plain).admit(reply(plain))


def more_than_it_has(counts: dict) -> None:
    counts["f1"]["matrix"][0, 0] = 4


def less_than_nothing(counts: dict) -> None:
    counts["f1"]["matrix"][0, 0] = -1


def another_shape(counts: dict) -> None:
    counts["f1"]["matrix"] = torch.zeros(4, 4, dtype=torch.int64)


def no_number(counts: dict) -> None:
    counts["ece"]["confidence"][0] = math.nan


def nothing_at_all(counts: dict) -> None:
    counts.clear()


@pytest.mark.parametrize(
    "change", [more_than_it_has, less_than_nothing, another_shape, no_number, nothing_at_all]
)
def test_counts_that_cannot_be_are_refused(change: Callable[[dict], None]) -> None:
    with pytest.raises(ValueError, match=r"its reply|counts'"):
        expectation(MEASURED).admit(reply(MEASURED, change))


@pytest.mark.parametrize("target", [Classes(), Regression()], ids=lambda each: each.name)
def test_a_local_round_has_the_score_of_its_target_alone(target: Target) -> None:
    for score in ("accuracy", "mae"):
        metrics = {"num-examples": 3, "loss": 1.0, "steps": 2, score: 0.5}
        client = ConfigRecord({"id": 0, "task": "t"})
        content = RecordDict({"metrics": MetricRecord(metrics), "client": client})
        wanted = Expectation(0, "t", Expected({}), {}, 3, 9, target=target)
        if score == target.score:
            assert wanted.admit(content) == content
        else:
            with pytest.raises(ValueError, match=rf"are not known \({score}"):
                wanted.admit(content)


class MeanOfMeans(Metric):
    name: str = "mean_of_means"

    def count(self, outputs, labels):
        hits = outputs.argmax(1) == labels
        return {"acc": hits.double().mean() if len(labels) else torch.zeros((), dtype=torch.double)}

    def compute(self, counts):
        return {self.title: float(counts["acc"])}


class OneNumber(SampleMean):
    name: str = "one_number"

    def values(self, outputs, labels):
        return outputs.mean()


@pytest.mark.parametrize(
    ("metric", "said"),
    [(MeanOfMeans, "does not add up: its 'acc'"), (OneNumber, "give one number for each")],
)
def test_a_metric_that_does_not_add_up_is_refused(metric: type[Metric], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fedlab.prepare(toy.scenario(evaluation={"metrics": [metric]}))


@pytest.mark.slow
def test_a_domain_is_tested_whole_where_some_of_its_test_samples_have_no_client(
    tmp_path: Path,
) -> None:
    partition = {"clients": 3, "labels": {"name": "classes_per_client", "count": 1}}
    tested = []
    for fraction in (1.0, 0.9):
        run = run_of(
            tmp_path / str(fraction),
            partition=partition,
            evaluation={"metrics": ["accuracy"], "fraction": fraction},
        )
        rows = run.history
        rows = rows[(rows["client"] == GLOBAL) & (rows["metric"] == "accuracy")]
        tested.append(rows[["round", "domain", "value", "examples"]].to_numpy().tolist())
    assert tested[0] == tested[1]
    assert {examples for *_, examples in tested[0]} == {len(prepare(run.scenario).data.test) // 3}
