"""Validation: what is set aside, what it chooses, and that nothing is chosen by test data."""

from __future__ import annotations

import json
import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from rich.console import Console

import fedlab
from fedlab.comparison.comparison import Comparison
from fedlab.data.load import load_data
from fedlab.deploy.device.local_data import OwnData
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.errors import InputError, RunError
from fedlab.federation.callbacks import RoundReport
from fedlab.metrics.base import Metric
from fedlab.metrics.metric_set import ACCURACY_SCORE, Score
from fedlab.metrics.spec import EvaluationSpec
from fedlab.partition.partition import Partition, make_partition
from fedlab.partition.validation import of_clients
from fedlab.preparation import divide
from fedlab.report.partition_measures import measures
from fedlab.report.partition_table import write_table
from fedlab.report.terminal.summary_table import print_closing_table
from fedlab.report.terminal.watch import watch
from fedlab.row import POOLED
from fedlab.runs.best_round import BestRound, ended_by_patience
from fedlab.runs.curves import round_reaching
from fedlab.runs.run import Run
from fedlab.simulation import resume
from helpers import toy

MIXED = {"clients": 4, "domains": "mixed", "labels": {"name": "dirichlet", "alpha": 1.0}}
CHOOSES = {"validation": 0.25, "select": "validation"}


def run_of(folder: Path, evaluation: dict[str, Any], **changes: Any) -> Run:
    fields = {"rounds": 5, "partition": MIXED, "training": FAST} | changes
    scenario = toy.scenario(evaluation=evaluation, **fields)
    return fedlab.simulate(scenario, out=folder, progress=False)


FAST: dict[str, Any] = {"batch_size": 8, "optimizer": {"lr": 0.2}}


def means(history: pandas.DataFrame, split: str, metric: str = "accuracy") -> pandas.Series:
    """By round, the mean over domains of the clients' own models."""
    rows = history[(history["split"] == split) & (history["metric"] == metric)]
    rows = rows[rows["client"] >= 0]
    rows = rows.assign(value=rows["value"] * rows["examples"])
    sums = rows.groupby(["round", "domain"])[["value", "examples"]].sum()
    return (sums["value"] / sums["examples"]).groupby("round").mean()


# ---------------------------------------------------------------------- who is set aside


def parts(partition: Partition) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(partition[k].train, partition[k].validation) for k in range(len(partition))]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_each_client_sets_its_share_aside_and_keeps_every_class(share: float) -> None:
    scenario = toy.scenario(partition=MIXED)
    data = load_data(scenario.data)
    plain = make_partition(scenario.partition, data, scenario.seed)
    split = make_partition(scenario.partition, data, scenario.seed, share)
    assert (split.test == plain.test).all()
    kinds = data.train.domains * 4 + data.train.labels
    for (whole, _), (train, aside) in zip(parts(plain), parts(split), strict=True):
        assert sorted([*train, *aside]) == sorted(whole)
        before, after, held = (
            np.bincount(kinds[rows], minlength=12) for rows in (whole, train, aside)
        )
        assert ((after > 0) == (before > 0)).all()
        assert (np.abs(held - share * before) < 1 + 1e-9).all()
        spare = np.minimum(np.ceil(share * before - 1e-9), np.maximum(before - 1, 0)).sum()
        assert len(aside) == min(round(share * len(whole)), spare)
    assert (split.labels == data.train.labels[split.train]).all()


def test_a_clients_draw_does_not_depend_on_other_clients() -> None:
    random = np.random.default_rng(0)
    owners, kinds = np.repeat(np.arange(40), 25), random.integers(0, 6, 1000)
    whole = of_clients(owners, kinds, 0.3, seed=1)
    apart = [of_clients(owners[owners == k], kinds[owners == k], 0.3, 1) for k in range(40)]
    assert (whole == np.concatenate(apart)).all()
    assert (whole != of_clients(owners, kinds, 0.3, seed=2)).any()
    alike = of_clients(np.repeat(np.arange(4000), 10), np.zeros(40_000, np.int64), 0.3, seed=3)
    taken = alike.reshape(4000, 10)
    assert (taken.sum(axis=1) == 3).all()
    assert np.abs(taken.mean(axis=0) - 0.3).max() < 0.03  # no place is drawn more than others,
    assert np.abs(np.corrcoef(taken.T) + 1 / 9)[~np.eye(10, dtype=bool)].max() < 0.06  # or two


def test_a_scenario_without_validation_divides_as_ever() -> None:
    plain, again = (divide(toy.scenario(partition=MIXED))[1] for _ in range(2))
    assert len(plain.validation_offsets) == len(plain.validation) == 0
    for name in ("train", "labels", "labelled", "test"):
        assert (getattr(plain, name) == getattr(again, name)).all()


def test_what_is_validated_on_has_its_true_label_and_is_never_hidden() -> None:
    noise = {"label_noise": {"name": "symmetric", "rate": 0.5}, "label_budget": {"share": 0.5}}
    scenario = toy.scenario(partition={"clients": 3, **noise}, evaluation={"validation": 0.25})
    data, partition = divide(scenario)
    assert len(partition.train) == len(partition.labels) == len(partition.labelled) == 90
    assert len(partition.validation) == 30
    assert (partition.labels != data.train.labels[partition.train]).any()


def test_clients_that_have_too_few_samples_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    sources = [{"name": "helpers.toy:Stripes", "domains": 1, "train": 40}]
    scenario = toy.scenario(
        data={"sources": sources, "image_size": 8},
        partition={"clients": 8, "quantity": {"name": "power_law", "exponent": 2.0}},
        evaluation={"validation": 0.2},
    )
    with caplog.at_level(logging.WARNING, "fedlab"):
        _, partition = divide(scenario)
    sizes = np.diff(partition.validation_offsets)
    assert 0 < (sizes == 0).sum() < 8
    assert f"{(sizes == 0).sum()} of 8 clients have too few samples" in caplog.text


def test_a_share_that_sets_nothing_aside_is_refused() -> None:
    with pytest.raises(InputError, match="sets no sample aside"):
        divide(toy.scenario(partition={"clients": 30}, evaluation={"validation": 0.01}))


def test_tables_and_measures_know_the_third_split(tmp_path: Path) -> None:
    data, partition = divide(toy.scenario(partition=MIXED, evaluation={"validation": 0.25}))
    write_table(partition, data, tmp_path / "who.csv")
    table = pandas.read_csv(tmp_path / "who.csv")
    assert table["split"].value_counts()["validation"] == len(partition.validation)
    counts = table[table["split"] == "validation"].groupby("client").size()
    assert counts.tolist() == measures(partition, data)["validation samples"].tolist()
    assert not table["client"].isna().any()


def test_a_device_sets_aside_what_it_would_in_a_simulation() -> None:
    scenario = toy.scenario(evaluation={"validation": 0.25})
    data, simulated = divide(scenario)
    one = {"sources": [{"name": "helpers.toy:Stripes", "domains": 1}], "image_size": 8}
    small = load_data(toy.scenario(data=one).data)
    partition = OwnData(scenario, small).partition(1, 3)
    shift = np.flatnonzero(data.train.domains == 1)[0]
    assert (partition[1].validation + shift).tolist() == simulated[1].validation.tolist()
    assert (partition[1].train + shift).tolist() == simulated[1].train.tolist()
    assert len(partition[1].test) == 20
    assert len(partition[0].validation) == len(partition[2].validation) == 0


# ---------------------------------------------------------------------- what it chooses


FITTING = {"fedavg": 1, "fedbn": 3, "centralised": 0, "flwr:FedAdam": 5}
"""By strategy, a seed with which the last of five rounds is not the best."""


def seeds(strategy: str) -> list[int]:
    """Seeds to try until the last round is not the best: on another processor it may be another."""
    return sorted(range(9), key=lambda seed: seed != FITTING[strategy])


@pytest.mark.slow_except("fedavg")
@pytest.mark.parametrize("strategy", FITTING)
def test_the_best_round_is_kept_and_tested_once(tmp_path: Path, strategy: str) -> None:
    spec: dict[str, Any] = {"validation": 0.25}
    for seed in seeds(strategy):
        both = run_of(tmp_path / f"both-{seed}", spec, strategy=strategy, seed=seed)
        validated = means(both.history, "validation")
        best = int(validated.idxmax())
        if best < 5:
            break
    assert best < 5
    chosen = run_of(tmp_path / "chosen", CHOOSES, strategy=strategy, seed=seed)
    assert validated.equals(means(chosen.history, "validation"))
    assert chosen.chosen_round == best
    assert both.chosen_round is None
    once = chosen.history[chosen.history["split"] == "test"]
    assert set(once["round"]) == {best}
    every = both.history[(both.history["split"] == "test") & (both.history["round"] == best)]
    keys = ["client", "domain", "metric"]
    compared = once.merge(every, on=keys)
    assert len(compared) == len(once) == len(every)
    assert (compared["value_x"] == compared["value_y"]).all()


@pytest.mark.slow
def test_a_model_of_the_run_is_that_of_the_chosen_round(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"strategy": "fedbn", "model": "small_cnn"}
    for seed in seeds("fedbn"):
        best = run_of(tmp_path / f"best-{seed}", CHOOSES, seed=seed, **changes)
        rounds = best.chosen_round
        if rounds is not None and rounds < 5:
            break
    assert rounds is not None
    assert rounds < 5
    spec = {"validation": 0.25}
    last = run_of(tmp_path / "last", spec, rounds=rounds, seed=seed, **changes)
    for client in (None, 0, 3):
        one, other = best.model_state(client), last.model_state(client)
        assert all(tensor.equal(other[name]) for name, tensor in one.items())


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    whole = run_of(tmp_path / "whole", {"validation": 0.25}, rounds=8)
    short = run_of(tmp_path / "short", {**CHOOSES, "patience": 1}, rounds=8)
    best, worse = BestRound(ACCURACY_SCORE), None
    for server_round, value in means(whole.history, "validation").items():
        best.see(int(server_round), value)  # type: ignore[arg-type]
        if best.worse == 1:
            worse = server_round
            break
    assert worse is not None
    assert short.rounds == worse
    assert short.chosen_round == best.round
    assert short.finished
    assert resume(short.folder, progress=False).rounds == worse
    written = (short.folder / "scenario.yaml").read_bytes()
    words = (
        f"patience=1 ended the run '{short.folder}' after round {worse}: no better .* {best.round}"
    )
    with pytest.raises(InputError, match=words):
        resume(short.folder, ["rounds=20"], progress=False)
    assert (short.folder / "scenario.yaml").read_bytes() == written
    assert not ended_by_patience(whole)


class Poisoned(toy.Stripes):
    """The same images, of which the test samples have other labels."""

    def load(self, context: Any) -> Any:
        wrong = [(domain.test_labels + 1) % toy.CLASSES for domain in super().load(context)]
        domains = super().load(context)
        return [replace(d, test_labels=w) for d, w in zip(domains, wrong, strict=True)]


def test_nothing_that_is_chosen_reads_test_labels(tmp_path: Path) -> None:
    spec = {**CHOOSES, "patience": 2, "metrics": ["f1", "accuracy", "ece"]}
    clean = run_of(tmp_path / "clean", spec, rounds=8)
    data = {"sources": [{"name": Poisoned}], "image_size": 8}
    poisoned = run_of(tmp_path / "poisoned", spec, rounds=8, data=data)
    assert poisoned.chosen_round == clean.chosen_round
    assert poisoned.rounds == clean.rounds
    for name, tensor in clean.model_state().items():
        assert tensor.equal(poisoned.model_state()[name])
    ours, theirs = (
        run.history[(run.history["split"] != "test") & ~run.history["metric"].str.contains("sec")]
        for run in (clean, poisoned)
    )
    assert ours["value"].tolist() == theirs["value"].tolist()
    ours, theirs = (run.history[run.history["split"] == "test"] for run in (clean, poisoned))
    assert ours["value"].tolist() != theirs["value"].tolist()


class Stop:
    """Stops in the middle, as a crash would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_start(self, *_: Any) -> None: ...

    def on_round(self, strategy: Any, report: RoundReport) -> None:
        if report.round == self.after or report.concludes:
            raise KeyboardInterrupt

    def on_end(self, *_: Any) -> None: ...


@pytest.mark.slow_except("3-2")
@pytest.mark.parametrize("after", [2, 4, 99])  # 99: after the test of the chosen round
@pytest.mark.parametrize("every", [1, 3])
def test_a_choice_survives_an_interruption(tmp_path: Path, after: int, every: int) -> None:
    evaluation = {**CHOOSES, "patience": 2}
    output = {"checkpoint_every": every}
    whole = run_of(tmp_path / "whole", evaluation, strategy="fedbn", output=output, rounds=6)
    fields = {"rounds": 6, "partition": MIXED, "training": FAST, "strategy": "fedbn"}
    scenario = toy.scenario(evaluation=evaluation, output=output, **fields)
    with pytest.raises(KeyboardInterrupt):
        fedlab.simulate(scenario, out=tmp_path / "cut", callbacks=[Stop(after)], progress=False)
    cut = resume(tmp_path / "cut", progress=False)
    assert cut.chosen_round == whole.chosen_round
    for name in ("history.csv", "model.safetensors", "finished.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_choice_is_the_same_in_one_process_and_on_ray(tmp_path: Path, ray_here: None) -> None:
    run_of(tmp_path / "here", CHOOSES, strategy="fedbn")
    run_of(tmp_path / "ray", CHOOSES, strategy="fedbn", resources={"backend": "ray", "actors": 2})
    for name in ("history.csv", "model.safetensors", "finished.json"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


@pytest.mark.slow
def test_a_run_that_goes_on_chooses_as_it_began(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", CHOOSES)
    with pytest.raises(InputError, match=r"evaluation.validation.share is 0.5 and was 0.25"):
        resume(run.folder, ["rounds=7", "evaluation.validation.share=0.5"], progress=False)
    longer = resume(run.folder, ["rounds=7"], progress=False)
    whole = run_of(tmp_path / "whole", CHOOSES, rounds=7)
    assert longer.chosen_round == whole.chosen_round
    ours, theirs = (tmp_path / name / "history.csv" for name in ("run", "whole"))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.slow
def test_a_best_checkpoint_that_is_gone_is_reported(tmp_path: Path) -> None:
    evaluation = {**CHOOSES, "metrics": "loss"}
    training = {"batch_size": 8, "optimizer": {"lr": 1e-30}}  # the first round is the best
    changes: dict[str, Any] = {"rounds": 5, "partition": MIXED, "training": training}
    scenario = toy.scenario(evaluation=evaluation, **changes)
    with pytest.raises(KeyboardInterrupt):
        fedlab.simulate(scenario, out=tmp_path / "cut", callbacks=[Stop(99)], progress=False)
    best = int(means(fedlab.load_run(tmp_path / "cut").history, "validation", "loss").idxmin())
    assert best == 1
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / f"round-{best:06d}")
    with pytest.raises(RunError, match=f"the checkpoint of round {best}, which is best"):
        resume(tmp_path / "cut", progress=False)


def test_best_is_strict_and_a_nan_is_never_best() -> None:
    best = BestRound(Score("loss", higher_is_better=False))
    seen = [best.see(number, value) for number, value in enumerate([float("nan"), 2.0, 2.0, 1.0])]
    assert seen == [False, True, False, True]
    assert (best.round, best.worse) == (3, 0)


# ---------------------------------------------------------------------- what is reported


class Never(Metric):
    """Is never defined."""

    name: str = "never"

    def count(self, outputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"seen": torch.tensor(len(labels))}

    def compute(self, counts: dict[str, torch.Tensor]) -> dict[str, float]:
        return {self.title: math.nan}


def closing_table(run: Run, folder: Path) -> str:
    console = Console(width=300, record=True, file=(folder / "out").open("w"))
    print_closing_table(run, console)
    return console.export_text()


@pytest.mark.slow
def test_rounds_that_cannot_be_judged_are_logged(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", {**CHOOSES, "metrics": ["f1"]}, rounds=3)
    assert "not judged" not in closing_table(run, tmp_path)
    assert "not defined" not in Comparison.of([run]).to_markdown()
    history = run.history.copy()
    others = (history["round"] != run.chosen_round) & (history["split"] == "validation")
    where = others & (history["client"] == POOLED) & (history["domain"] == "d1")
    history.loc[where & (history["metric"] == "f1"), "value"] = math.nan
    history.to_csv(run.folder / "history.csv", index=False, na_rep="nan")
    again = fedlab.load_run(run.folder)
    first, second = sorted({1, 2, 3} - {run.chosen_round})
    text = closing_table(again, tmp_path)
    words = f"rounds {first} and {second} could not be chosen: validation F1 is not defined on d1 ("
    assert words in text
    assert "loss, first in evaluation.metrics, always is" in text
    assert f"after round {run.chosen_round} (best on validation)" in text
    text = Comparison.of([again]).to_markdown()
    assert f"is not defined on every domain: fedavg, seed 0: rounds {first} and {second}." in text


@pytest.mark.slow
def test_a_round_is_not_called_best_where_none_could_be_judged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "fedlab"):
        run = run_of(tmp_path / "run", {**CHOOSES, "metrics": [Never]}, rounds=6)
    words = "6 rounds (1, 2, 3, 4, 5, ...) could not be chosen: validation Never is not defined on"
    assert words in caplog.text
    text = closing_table(run, tmp_path)
    assert words in text
    assert "best on validation" not in text


@pytest.mark.slow
def test_a_comparison_says_how_rounds_were_chosen(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / name, CHOOSES, strategy=name) for name in ("fedavg", "fedbn")]
    comparison = Comparison.of(runs, target=0.3)
    text = comparison.to_markdown()
    assert "Test accuracy in per cent after the round that is best on validation" in text
    assert comparison.results()["round"].tolist() == [run.chosen_round for run in runs]
    figure = comparison.plot()
    assert figure.axes[0].get_ylabel() == "validation accuracy"
    assert len(figure.axes[0].lines[0].get_xdata()) == 5
    reached = means(runs[0].history, "validation") >= 0.3
    first = int(reached.index[reached][0]) if reached.any() else None
    assert round_reaching(runs[0].history, 0.3) == first
    console = Console(width=120, record=True, file=(tmp_path / "out").open("w"))
    watch(runs[0], console)
    assert console.export_text().count("validation accuracy") == 5


def test_the_best_test_round_is_a_column_that_says_oracle(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", {"validation": 0.25})
    columns = ["accuracy:validated", "accuracy:oracle", "loss:oracle"]
    table = Comparison.of([run], columns=columns).table()
    tested, validated = means(run.history, "test"), means(run.history, "validation")
    expected = {
        "accuracy over domains, round chosen on validation": tested[validated.idxmax()],
        "accuracy over domains, best round on test (oracle)": tested.max(),
        "loss over domains, best round on test (oracle)": means(run.history, "test", "loss").min(),
    }
    for title, value in expected.items():
        assert table[title, "mean"].iloc[0] == pytest.approx(value)


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        ({"select": "validation"}, "select: validation chooses by samples that no client has set"),
        ({"patience": 3}, "patience chooses by samples that no client has set aside"),
        ({"validation": 0.2, "patience": 0}, "greater than 0"),
        ({"validation": 1.0}, "less than 1"),
        ({"validation": 0}, "greater than 0"),
        ({"validation": {"part": 0.2}}, "part"),
        ({**CHOOSES, "fraction": 0}, "fraction 0 lets none of them validate"),
        ({"validation": 0.2, "select": "best"}, "'last' or 'validation'"),
    ],
)
def test_what_cannot_be_chosen_is_refused(evaluation: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EvaluationSpec.model_validate(evaluation)


def test_devices_that_keep_tensors_cannot_be_put_back() -> None:
    for strategy, wrong in (("fedavg", False), ("fedbn", True)):
        scenario = toy.scenario(evaluation=CHOOSES, strategy=strategy)
        if wrong:
            with pytest.raises(InputError, match="keeps tensors on its devices"):
                setup_of(scenario)
        else:
            assert setup_of(scenario).classes == ("a", "b", "c", "d")


def test_a_finished_run_says_which_round_it_is(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", CHOOSES)
    said = json.loads((run.folder / "finished.json").read_text())
    assert said == {"rounds": 5, "chosen": run.chosen_round}
    assert (run.folder / "checkpoints" / f"round-{run.chosen_round:06d}").is_dir()
