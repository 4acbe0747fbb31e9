"""What a comparison writes on the console while its runs go on."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedlab import cli

TABLE = """who,a,b,y
ann,1,2,u
Ann,2,1,v
ann,3,1,v
Ann,1,3,u
ann,1,2,u
Ann,2,2,v
"""
SCENARIO = """name: alike
rounds: 1
data: {root: ., sources: [{name: csv, files: {d: d.csv}, label: y, owner: who, test_share: 0.3}]}
partition: {clients: natural}
model: linear
resources: {backend: local}
"""


def test_a_warning_of_several_runs_stands_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("d.csv").write_text(TABLE, "utf-8")
    Path("alike.yaml").write_text(SCENARIO, "utf-8")
    words = ["compare", "alike.yaml", "--strategies", "fedavg,fedprox", "--seeds", "2"]
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.output.count("a pair of owners differs in the spelling") == 1
    assert "4/4" in done.output


@pytest.mark.parametrize("verb", ["compare", "tune"])
def test_the_extraction_of_features_is_shown(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedlab.features.frozen.LOG_EVERY", 0.0)
    monkeypatch.setenv("FEDLAB_CACHE", str(tmp_path / "cache"))
    words = [verb, "pretrained_features", "--strategies", "fedavg", "rounds=1"]
    words += ["data.sources=[{name: digits, train_per_domain: 200, test_per_domain: 20}]"]
    words += ["data.features={name: warm_up, rounds: 1}", "data.image_size=16"]
    words += ["partition.labels.alpha=100", "evaluation.fraction=1"]
    words += ["resources.backend=local", "--out", str(tmp_path / "out")]
    words += ["--budget", "1"] if verb == "tune" else []
    done = CliRunner().invoke(cli.app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "of 1000 images" in done.output
    assert "features of each of 1100 images" in done.output
