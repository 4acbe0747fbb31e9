"""Tuning: the same draws for every method, choices on validation alone, a ledger that repeats."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from rich.console import Console
from typer.testing import CliRunner

import fedlab
from fedlab import InputError, cli, load_scenario
from fedlab.comparison.console import print_comparison
from fedlab.config.ranges import Integers, LogUniform, Uniform, Values
from fedlab.report.html.page import render
from fedlab.tuning.draws import draw
from fedlab.tuning.halving import better_half, rungs
from fedlab.tuning.ledger import best_draws
from fedlab.tuning.space import read_space
from fedlab.tuning.trials import folder_name
from helpers.toy import scenario

FIELDS: dict[str, Any] = {"rounds": 4, "model": "linear", "partition": {"clients": 3}}


def tuned(folder: Path, methods: Any = ("fedavg", "fedprox"), budget: int = 3, **more: Any) -> Any:
    """A little tuning."""
    given: dict[str, Any] = {"seeds": 1, "progress": False} | more
    return fedlab.tune(scenario(**FIELDS), list(methods), budget, out=folder, **given)


# ---------------------------------------------------------------------- draws


def test_draw_0_changes_nothing_and_others_share_all_but_a_methods_own_values() -> None:
    shared = {"training.optimizer.lr": LogUniform(0.01, 1.0)}
    own = {"strategy.mu": LogUniform(0.001, 1.0)}
    assert draw(shared, own, "fedprox", 0, 7) == {}
    lrs = []
    for number in range(1, 6):
        one, other = draw(shared, own, "fedprox", number, 7), draw(shared, {}, "fedavg", number, 7)
        assert one["training.optimizer.lr"] == other["training.optimizer.lr"]
        assert draw(shared, own, "moon", number, 7)["strategy.mu"] != one["strategy.mu"]
        lrs.append(one["training.optimizer.lr"])
    assert len(set(lrs)) == 5
    assert draw(shared, own, "fedprox", 1, 8) != draw(shared, own, "fedprox", 1, 7)


def test_a_wider_space_leaves_the_other_draws_alone() -> None:
    few = {"a": Uniform(0.0, 1.0)}
    more = {"b": Integers(1, 9), **few}
    assert draw(more, {}, "fedavg", 3, 0)["a"] == draw(few, {}, "fedavg", 3, 0)["a"]


def test_ranges_draw_what_they_say() -> None:
    generator = np.random.default_rng(0)
    logs = np.log10([LogUniform(0.001, 1.0).draw(generator) for _ in range(2000)])
    assert logs.min() >= -3.001
    assert logs.max() <= 0.001
    # Uniform on (-3, 0): mean -1.5, standard deviation 3 / sqrt(12), of the mean 0.0194.
    assert logs.mean() == pytest.approx(-1.5, abs=4 * 3 / math.sqrt(12 * 2000))
    assert {Integers(1, 3).draw(generator) for _ in range(100)} == {1, 2, 3}
    assert {Values((8, None)).draw(generator) for _ in range(50)} == {8, None}


def test_every_method_declares_ranges_of_its_own_parameters_that_it_accepts() -> None:
    from fedlab.config import registry

    declared = 0
    for name in registry.BUILTIN["strategies"]:
        parameters = registry.resolve("strategies", name).Parameters
        for key, each in parameters.space.items():
            declared += 1
            for seed in range(20):
                value = each.draw(np.random.default_rng(seed))
                assert getattr(parameters(name=name, **{key: value}), key) == value
    assert declared > 20


# ---------------------------------------------------------------------- choosing


def test_the_better_half_goes_on_after_a_quarter_and_a_half_of_the_rounds() -> None:
    assert rungs(20) == [5, 10, 20]
    assert rungs(2) == [1, 2]
    assert better_half({0: 0.1, 1: 0.5, 2: math.nan, 3: 0.5, 4: 0.3}) == [1, 3, 4]


def test_the_best_draw_is_by_the_mean_over_seeds_and_of_equals_the_first() -> None:
    rows = [
        ("a", 0, 0.5),
        ("a", 0, 0.7),
        ("a", 1, 0.9),
        ("a", 1, 0.1),
        ("a", 2, 0.6),
        ("a", 2, 0.6),
    ]
    frame = pandas.DataFrame(rows, columns=["method", "draw", "score"]).assign(state="done")
    assert best_draws(frame, "score", 1) == {"a": 0}
    assert best_draws(frame, "score", -1) == {"a": 1}
    given_up = frame.assign(state=np.where(frame.draw == 0, "given up after round 1", "done"))
    assert best_draws(given_up, "score", 1) == {"a": 2}


def test_a_tuning_chooses_on_validation_and_compares_on_fresh_seeds(tmp_path: Path) -> None:
    tuning = tuned(tmp_path, seeds=2)
    ledger = tuning.ledger
    assert ledger.groupby("method").size().to_dict() == {"fedavg": 3, "fedprox": 3}
    assert set(ledger["rounds"]) == {4}
    lr = "training.optimizer.lr"
    by_method = [ledger.loc[ledger.method == m, lr].tolist() for m in ("fedavg", "fedprox")]
    assert by_method[0] == by_method[1]
    for method, draw_ in tuning.summary()["draw"].items():
        own = ledger[ledger.method == method]
        assert own.score.iloc[int(draw_)] == own.score.max()
        assert tuning.chosen[method] == ({} if draw_ == 0 else tuning.chosen[method])
    validated = fedlab.load_run(tmp_path / "draws" / "fedavg-d1-s1000").history
    last = validated[(validated.split == "validation") & (validated["round"] == 4)]
    assert len(last)
    words = "tuned: the settings of each method are the best of 3 draws by accuracy on validation."
    assert words in tuning.comparison.to_markdown()
    assert words in render(tuning.comparison, data=False)
    groups = tuning.comparison.groups
    assert [sorted(group.runs) for group in groups] == [[0, 1], [0, 1]]
    for group in groups:
        assert {run.scenario.seed for run in group.runs.values()} == {0, 1}


@pytest.mark.slow
def test_a_killed_tuning_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = tuned(tmp_path / "whole")

    class KilledError(Exception): ...

    from fedlab.tuning import tune as module

    real, calls = module.run_all, []

    def run_some(tasks, load, watch, max_parallel):
        calls.append(len(tasks))
        if len(calls) == 1:
            real(tasks[:2], load, watch, max_parallel)
            raise KilledError
        return real(tasks, load, watch, max_parallel)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "run_all", run_some)
        with pytest.raises(KilledError):
            tuned(tmp_path / "part")
        tuned(tmp_path / "part")
    assert calls[1] == calls[0] - 2
    for file in ("ledger.csv", "tuned.yaml", "tuning.yaml"):
        assert (whole.folder / file).read_bytes() == (tmp_path / "part" / file).read_bytes()
    again = tuned(tmp_path / "part")
    assert (
        again.comparison.to_csv().split(",seconds")[0]
        == whole.comparison.to_csv().split(",seconds")[0]
    )


def test_what_test_data_have_chosen_is_called_oracle(tmp_path: Path) -> None:
    comparison = tuned(tmp_path, ["fedavg"], 1, select="oracle").comparison
    words = "oracle: the settings of each method are the best of 1 draw by accuracy on test data"
    console = Console(width=400, record=True, file=(tmp_path / "out").open("w"))
    print_comparison(comparison, console)
    for text in (
        comparison.to_markdown(),
        comparison.to_latex(),
        render(comparison, data=False),
        console.export_text(clear=False),
    ):
        assert words in text
    assert f"33m{words}" in console.export_text(styles=True)


@pytest.mark.slow
def test_halving_gives_up_the_same_number_of_draws_for_every_method(tmp_path: Path) -> None:
    ledger = tuned(tmp_path, budget=5, halving=True).ledger
    for _, own in ledger.groupby("method"):
        assert own.state.value_counts().to_dict() == {
            "given up after round 1": 2,
            "given up after round 2": 1,
            "done": 2,
        }
        assert own.loc[own.state == "given up after round 1", "rounds"].tolist() == [1, 1]


@pytest.mark.slow
def test_test_data_choose_nothing(tmp_path: Path) -> None:
    """With every test label wrong, the same draws are chosen."""
    right = tuned(tmp_path / "right", ["fedavg"], 4)
    poisoned = scenario(
        **FIELDS | {"data": {"sources": ["helpers.toy:PoisonedTests"], "image_size": 8}}
    )
    wrong = fedlab.tune(
        poisoned, ["fedavg"], 4, 1, out=tmp_path / "wrong", progress=False, halving=False
    )
    assert right.ledger.score.tolist() == wrong.ledger.score.tolist()
    assert right.ledger.oracle.tolist() != wrong.ledger.oracle.tolist()
    assert right.chosen == wrong.chosen


@pytest.mark.slow
def test_a_tuned_scenario_can_be_written_and_run(tmp_path: Path) -> None:
    tuning = tuned(tmp_path / "tuning", ["fedprox"], 2)
    (file,) = tuning.write(tmp_path / "tuned.yaml")
    chosen = load_scenario(file)
    for key, value in tuning.chosen["fedprox"].items():
        part: Any = chosen.model_dump(mode="json")
        for word in key.split("."):
            part = part[word]
        assert part == value
    two = tuned(tmp_path / "two", budget=1).write(tmp_path / "tuned.yaml")
    assert [path.name for path in two] == ["tuned-fedavg.yaml", "tuned-fedprox.yaml"]


@pytest.mark.parametrize(
    ("evaluation", "select", "said"),
    [
        ({"every": 2}, "validation", "after round 1, and evaluation.every=2 tests none of them"),
        ({"validation": 0.2, "select": "validation"}, "oracle", "evaluation.select=last"),
    ],
)
def test_no_draw_is_given_up_before_it_was_tested(
    tmp_path: Path, evaluation: dict[str, Any], select: Any, said: str
) -> None:
    fields = {f"evaluation.{key}": value for key, value in evaluation.items()}
    with pytest.raises(InputError, match=said):
        tuned(tmp_path / "tuned", halving=True, select=select, overrides=fields)
    assert not (tmp_path / "tuned").exists()


def test_long_names_of_methods_have_folders_of_their_own() -> None:
    names = [f"fedprox mu={'0' * 90}{number}" for number in (1, 2)]
    folders = {folder_name(name) for name in names}
    assert len(folders) == 2
    assert {len(folder) for folder in folders} == {80}
    assert folder_name("fedprox mu=0.1") == "fedprox-mu=0.1"


@pytest.mark.slow
def test_a_users_space(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "shared:\n  training.batch_size: [4, 8]\nown:\n  fedprox: {mu: {log: [0.5, 1]}}\n"
    )
    ledger = tuned(tmp_path / "tuning", budget=3, space=file).ledger
    assert "training.optimizer.lr" not in ledger
    assert set(ledger["training.batch_size"][ledger.draw > 0]) <= {4, 8}
    mus = ledger.loc[(ledger.method == "fedprox") & (ledger.draw > 0), "strategy.mu"]
    assert mus.between(0.5, 1).all()


@pytest.mark.parametrize("sampler", ["tpe", "qmc"])
@pytest.mark.slow
def test_a_sampler_proposes_what_it_proposed_before_and_knows_what_came_of_it(
    tmp_path: Path, sampler: str
) -> None:
    pytest.importorskip("optuna", reason="the extra tune is not installed")
    whole = tuned(tmp_path / "whole", budget=4, sampler=sampler)
    tuned(tmp_path / "part", budget=2, sampler=sampler)
    tuned(tmp_path / "part", budget=4, sampler=sampler)
    file = "ledger.csv"
    assert (whole.folder / file).read_bytes() == (tmp_path / "part" / file).read_bytes()
    lrs = whole.ledger.groupby("method")["training.optimizer.lr"].nunique()
    assert lrs.tolist() == [4, 4]
    with pytest.raises(InputError, match="halving: tpe proposes from what whole runs came to"):
        tuned(tmp_path / "other", sampler="tpe", halving=True)


@pytest.mark.slow
def test_what_is_written_out_is_not_drawn(tmp_path: Path) -> None:
    ledger = tuned(tmp_path, ["fedprox mu=5"], 3).ledger
    assert "strategy.mu" not in ledger
    assert set(ledger.method) == {"fedprox mu=5.0"}


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shared: {training.optimizer.lr: {log: [1, 0.1]}}", "from 1 to 0.1 is nothing"),
        ("shared: {training.optimizer.lr: {log: [0, 1]}}", "0 has no logarithm"),
        ("shared: {training.optimizer.lr: {log: [0.1, 0.1]}}", "is one value; write it as [0.1]"),
        ("shared: {training.optimizer.lr: []}", "has no value to choose from"),
        ("shared: {training.optimizer.lr: 0.1}", "is no range; write a list of values"),
        ("shared: {training.batch_size: {integers: [1, 2.5]}}", "needs two whole numbers"),
        ("shared: {rounds: [1, 4]}", "rounds: is not drawn, since draws are compared"),
        ("shared: {partition.clients: [3, 6]}", "they need the same data, clients, rounds"),
        ("elsewhere: {}", "must be a block with the keys shared and own"),
        ("own: {fedprox: 3}", "own: fedprox: must be a block of ranges by key"),
        ("own: {fedporx: {mu: [1]}}", "there is no strategy 'fedporx'; did you mean 'fedprox'?"),
        ("shared: [", "space.yaml:1"),
    ],
)
def test_a_space_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        read_space(file, scenario())
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"budget": 0}, "budget: 0 draws are none"),
        ({"max_parallel": 0}, "max_parallel: 0 is no number of runs"),
        ({"seeds": [0, 1000]}, "1000 is a seed of the tuning"),
        ({"metric": "f1"}, "the scenario measures accuracy, loss, and no f1"),
        ({"methods": ["fedavg", "fedavg"]}, "fedavg stands there twice"),
        ({"space": "own: {fedprox: {nu: [1]}}"}, "space.yaml: own: fedprox: nu: 1: fedprox: "),
        (
            {"space": "own: {moon: {mu: [1]}}"},
            "space.yaml: own: moon: is not among the methods that are tuned (fedavg, fedprox), so",
        ),
        (
            {"space": "own: {fedavg: {weighting: [uniform]}}"},
            "space.yaml: own: fedavg: weighting: is not drawn, since it says how clients count",
        ),
        (
            {"space": "shared: {training.batch_size: {uniform: [7.5, 9]}}"},
            "space.yaml: shared: training.batch_size: takes whole numbers, and {uniform: [7.5, 9",
        ),
        (
            {"space": "shared: {training.batch_size: {uniform: [7.5, 9]}}"},
            "use {integers: [8, 9]}",
        ),
        (
            {"space": "shared: {training.batch_size: [4], training.optimiser.lr: [1]}"},
            "space.yaml: shared: training.optimiser.lr: 1: fedavg: training.optimiser: unknown key",
        ),
        (
            {"space": "shared: {training.rl: [1], training.epochs: [2]}"},
            "space.yaml: fedavg with training.rl=1, training.epochs=2: training.rl: 1: unknown key",
        ),
        (
            {"space": "shared: {training.optimizer.rl: [1]}", "sampler": "tpe"},
            "space.yaml: shared: training.optimizer.rl: 1: fedavg: training.optimizer.rl: 1: ",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused(tmp_path: Path, more: dict, said: str) -> None:
    if "space" in more:
        (tmp_path / "space.yaml").write_text(more["space"])
        more = more | {"space": tmp_path / "space.yaml"}
    with pytest.raises(InputError) as error:
        tuned(tmp_path / "tuning", **more)
    assert said in str(error.value)
    assert not (tmp_path / "tuning").exists()


@pytest.mark.parametrize(
    ("select", "domains"), [("validation", True), ("validation", False), ("oracle", False)]
)
def test_runs_without_a_score_to_choose_by_are_refused(
    select: Any, domains: bool, tmp_path: Path
) -> None:
    asked = scenario(**FIELDS, evaluation={"fraction": 0, "domains": domains})
    with pytest.raises(InputError, match=r"evaluation.fraction: 0 .* set evaluation.fraction=1"):
        fedlab.tune(asked, ["fedavg"], 1, out=tmp_path / "tuning", select=select, progress=False)
    assert not (tmp_path / "tuning").exists()


@pytest.mark.slow
def test_another_space_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    tuned(tmp_path / "tuning", ["fedavg"], 1)
    tuned(tmp_path / "tuning", ["fedavg"], 2)  # more draws only add runs
    (tmp_path / "space.yaml").write_text("shared: {training.batch_size: [4]}")
    with pytest.raises(InputError, match="holds a tuning with another space"):
        tuned(tmp_path / "tuning", ["fedavg"], 1, space=tmp_path / "space.yaml")
    # Runs that are there have other values for that reason, which is not the error.
    (tmp_path / "space.yaml").write_text("shared: {training.optimizer.lr: [0.3, 0.4]}")
    with pytest.raises(InputError, match="holds a tuning with another space"):
        tuned(tmp_path / "tuning", ["fedavg"], 2, space=tmp_path / "space.yaml")


@pytest.mark.slow
def test_the_verb_shows_what_was_chosen(tmp_path: Path) -> None:
    command = ["tune", "smoke", "resources.backend=local", "--strategies", "fedavg,fedbn"]
    more = ["--budget", "2", "--seeds", "1", "--out", str(tmp_path / "tuning")]
    done = CliRunner().invoke(cli.app, [*command, *more, "--write", str(tmp_path / "best.yaml")])
    assert done.exit_code == 0, done.output
    assert "2 draws for each method, 1 seed each, chosen by accuracy on validation" in " ".join(
        done.output.split()
    )
    assert (tmp_path / "best-fedbn.yaml").is_file()
