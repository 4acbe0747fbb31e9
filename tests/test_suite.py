"""Several scenarios in one table."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fedlab
from fedlab import InputError, Suite, cli
from fedlab.comparison.critical_difference import level_groups
from fedlab.comparison.suite_numbers import BETTER, IQM, RANK
from helpers.toy import scenario

SMALL = {"model": "linear", "rounds": 2}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Three methods, two scenarios, two seeds."""
    sources = [scenario(**SMALL, name="one"), scenario(**SMALL | {"rounds": 4}, name="two")]
    return fedlab.compare_scenarios(
        sources,
        "fedavg,fedprox mu=10,local_only",
        2,
        out=tmp_path_factory.mktemp("suite"),
        progress=False,
    )


@pytest.mark.slow
def test_numbers_are_those_of_each_comparison(suite: Suite) -> None:
    table = suite.table()
    for name, comparison in suite.comparisons.items():
        own = comparison.table()["all domains", "mean"]
        assert table[name, "mean"].tolist() == pytest.approx(own.tolist())
    every = [
        [run.mean for run in suite.comparisons[name].groups[place].outcomes.values()]
        for place in range(3)
        for name in suite.comparisons
    ]
    four = sorted(every[0] + every[1])
    assert table[IQM, "mean"].iloc[0] == pytest.approx(np.mean(four[1:3]))
    assert math.isnan(table[BETTER, "mean"].iloc[0])
    assert table[RANK, "mean"].sum() == pytest.approx(6)


@pytest.mark.slow
def test_it_is_opened_from_its_folder_and_written(suite: Suite, tmp_path: Path) -> None:
    folder = suite.comparisons["one"].runs[0].folder.parents[1]
    again = Suite.open(folder)
    assert again.to_csv() == suite.to_csv()
    assert again.to_markdown().startswith("| method | one | two | average rank |")
    assert "Friedman's test" in again.to_markdown()
    assert (
        "Claims about one scenario with 2 differences, corrected by Holm, take 7 seeds or more; "
        "here are 2."
    ) in again.to_markdown()
    assert "toprule" in again.to_latex()
    again.plot().savefig(tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").stat().st_size > 5000


def test_bars_join_what_is_level() -> None:
    assert level_groups([1.0, 1.5, 2.2, 4.0], 1.0) == [(0, 1), (1, 2)]
    assert level_groups([1.0, 1.5, 1.9, 4.0], 1.0) == [(0, 2)]
    assert level_groups([1.0, 3.0], 1.0) == []


@pytest.mark.slow
def test_other_methods_are_refused(suite: Suite) -> None:
    one, two = suite.comparisons.values()
    with pytest.raises(InputError, match="compare other methods"):
        Suite.of({"one": one, "two": type(two)(two.groups[:2])})
    with pytest.raises(InputError, match="two scenarios or more"):
        Suite.of({"one": one})
    with pytest.raises(InputError, match="two are called one"):
        fedlab.compare_scenarios([scenario(name="one")] * 2, "fedavg")
    with pytest.raises(InputError, match="compared by methods; name them"):
        fedlab.compare_scenarios([scenario(name="one"), scenario(name="two")], ())


def test_other_metrics_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    sources = [
        scenario(**SMALL, name="one"),
        scenario(**SMALL, name="two", evaluation={"metrics": ["f1", "loss"]}),
    ]
    words = (
        r"one is scored by accuracy and two by f1; .* such as loss, .*evaluation.metrics=\[loss\]"
    )
    with pytest.raises(InputError, match=words):
        fedlab.compare_scenarios(sources, "fedavg", 1, out=tmp_path / "suite", progress=False)
    assert not (tmp_path / "suite").exists()


def test_the_verb_takes_several_scenarios(tmp_path: Path) -> None:
    command = ["compare", "smoke", "label_skew", "resources.backend=local", "--seeds", "1"]
    more = ["--strategies", "fedavg,local_only", "--out", str(tmp_path / "suite")]
    data = "{name: digits, domains: [scan, photo], train_per_domain: 40, test_per_domain: 20}"
    short = [
        f"data.sources=[{data}]",
        *("rounds=1", "model=linear", "participation.fraction=1"),
        "partition={clients: 2, labels: iid}",
    ]
    done = CliRunner().invoke(cli.app, [*command, *short, *more])
    assert done.exit_code == 0, done.output
    assert "all scenarios" in done.output
    refused = CliRunner().invoke(cli.app, [*command, "rounds=1,2", *more])
    assert "compared by methods alone" in str(refused.exception)


def test_no_scenario_is_trained_before_all_are_checked(tmp_path: Path) -> None:
    bad = scenario(**SMALL, name="two", evaluation={"fraction": 0, "domains": False})
    with pytest.raises(InputError, match="test nothing"):
        fedlab.compare_scenarios(
            [scenario(**SMALL, name="one"), bad],
            "fedavg",
            1,
            out=tmp_path / "suite",
            progress=False,
        )
    assert not list(tmp_path.rglob("*.csv"))
