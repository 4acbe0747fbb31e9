"""What a run will test is known before it trains: results that it lacks are said at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fedlab
from fedlab import InputError
from fedlab.preparation import prepare
from helpers.toy import scenario

FEW: dict[str, Any] = {"rounds": 4, "model": "linear", "evaluation": {"fraction": 0.34}}
"""One of three clients, which have a domain each, tests in a round."""


@pytest.mark.parametrize(
    ("strategy", "evaluation", "said"),
    [
        ("fedavg", {"fraction": 0, "domains": False}, "evaluation.domains=false test nothing"),
        ("local_only", {"fraction": 0}, "local_only has no global model to test on the domains"),
    ],
)
def test_a_comparison_of_runs_that_test_nothing_is_refused(
    strategy: str, evaluation: dict[str, Any], said: str, tmp_path: Path
) -> None:
    asked = scenario(model="linear", evaluation=evaluation)
    with pytest.raises(InputError, match=f"evaluation.fraction: 0 .*{said}.*evaluation.fraction=1"):
        fedlab.compare(asked, strategy, 1, out=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_comparison_counts_the_tests_of_a_method_that_has_a_global_model(tmp_path: Path) -> None:
    asked = scenario(model="linear", evaluation={"fraction": 0})
    found = fedlab.compare(asked, "fedavg", 1, out=tmp_path / "out", progress=False)
    assert found.table()["all domains", "mean"].notna().all()


@pytest.mark.parametrize(
    ("select", "strategy", "evaluation"),
    [
        ("oracle", "local_only", {"fraction": 0}),
        ("leave_one_domain_out", "fedavg", {"fraction": 0, "domains": False}),
    ],
)
def test_a_tuning_whose_choice_or_comparison_would_be_of_nothing_is_refused(
    select: Any, strategy: str, evaluation: dict[str, Any], tmp_path: Path
) -> None:
    asked = scenario(model="linear", evaluation=evaluation)
    with pytest.raises(InputError, match=r"evaluation.fraction: 0 .*; set evaluation"):
        fedlab.tune(asked, strategy, 1, 1, select=select, out=tmp_path / "out", progress=False)
    assert not list(tmp_path.rglob("history.csv"))


@pytest.mark.parametrize("select", ["validation", "oracle"])
def test_draws_whose_clients_test_in_turn_are_judged_by_those_that_did(
    select: Any, tmp_path: Path
) -> None:
    evaluation = {"fraction": 0.34, "domains": False}
    asked = scenario(**FEW | {"evaluation": evaluation})
    tuning = fedlab.tune(asked, "fedavg", 2, 1, select=select, out=tmp_path / "t", progress=False)
    column = "score" if select == "validation" else "oracle"
    assert tuning.ledger[column].notna().all()
    run = fedlab.load_run(tmp_path / "t" / "draws" / "fedavg-d0-s1000")
    split = "validation" if select == "validation" else "test"
    rows = run.history.query("round == 4 and metric == 'accuracy' and client >= 0")
    tested = rows[rows["split"] == split]
    assert tested["domain"].nunique() == 1
    first = tuning.ledger[tuning.ledger["draw"] == 0]
    assert first[column].item() == pytest.approx(tested["value"].mean())


@pytest.mark.parametrize(
    ("strategy", "evaluation", "said"),
    [
        ("fedavg", {"fraction": 0, "domains": False}, "has no result but its model"),
        ("fedbn", {"fraction": 0.34}, "round 2, the last, tests nothing on d"),
        (
            "fedavg",
            {"fraction": 0.34, "domains": False},
            "no mean over domains includes them; set evaluation.fraction=1 or evaluation.domains",
        ),
    ],
)
def test_a_run_says_before_training_what_it_will_not_test(
    strategy: str,
    evaluation: dict[str, Any],
    said: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fedlab.simulate(
        scenario(evaluation=evaluation), strategy=strategy, out=tmp_path / "run", progress=False
    )
    messages = [record.getMessage() for record in caplog.records]
    (place,) = (place for place, message in enumerate(messages) if said in message)
    assert not any("clients in this process" in each for each in messages[:place])


@pytest.mark.parametrize(
    ("strategy", "unseen", "said"),
    [
        ("fedavg", [], True),
        ("local_only", [], True),
        ("fedrod", [], False),
        ("fedavg", ["d1"], False),
    ],
)
def test_domains_that_are_tested_in_any_case_are_said(
    strategy: str, unseen: list[str], said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    asked = scenario(strategy=strategy, evaluation={"domains": False})
    prepare(
        asked.model_copy(update={"data": asked.data.model_copy(update={"unseen_domains": unseen})})
    )
    assert said == any("evaluation.domains: false has no effect" in m for m in caplog.messages)


@pytest.mark.parametrize("evaluation", [{}, {"fraction": 0.34}, {"fraction": 0}])
def test_a_run_that_tests_all_domains_says_nothing(
    evaluation: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = scenario(model="linear", evaluation=evaluation)
    run = fedlab.simulate(asked, out=tmp_path / "run", progress=False)
    assert len(run.summary()) == 3
    assert "evaluation" not in caplog.text


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({"fraction": 0.5, "select": "validation"}, "lets other clients judge each round"),
        ({"fraction": 0.5, "patience": 1}, "(evaluation.patience=1)"),
        ({"patience": 3}, "cannot end the run early, for 4 rounds are evaluated 4 times"),
        ({"patience": 1, "every": 3}, "(evaluation.every=3)"),
        ({"patience": 2}, ""),
        ({"fraction": 0.5}, ""),
    ],
)
def test_a_choice_of_rounds_that_is_not_what_it_seems_is_remarked(
    evaluation: dict[str, Any], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluation = {"validation": 0.2, **evaluation}
    asked = scenario(rounds=4, model="linear", evaluation=evaluation)
    fedlab.simulate(asked, out=tmp_path / "run", progress=False)
    messages = [record.getMessage() for record in caplog.records]
    remarks = [each for each in messages if "judge each round" in each or "cannot end" in each]
    assert len(remarks) == bool(said)
    assert said in "".join(remarks)


def test_a_finished_run_without_a_test_says_how_to_get_one(tmp_path: Path) -> None:
    asked = scenario(model="linear", evaluation={"fraction": 0, "domains": False})
    run = fedlab.simulate(asked, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match=r"finished without a test.* rounds=3 evaluation.frac"):
        run.summary()
    longer = fedlab.resume(run.folder, ["rounds=3", "evaluation.fraction=1"], progress=False)
    assert len(longer.summary()) == 3
