"""Claims: what their files say, what follows from rows, and pages that are made of them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import CalledProcessError
from types import SimpleNamespace

import evidence_parts
import pandas
import pytest
import result_rows
import results_page
from scipy.stats import ttest_1samp

from benchmarks.evidence import claim as claims
from benchmarks.evidence import evidence_rows, running_claims, study_commands, summary
from benchmarks.evidence.__main__ import main
from benchmarks.evidence.claim import Claim, Pair, Study
from benchmarks.evidence.verdict import judge, p_value, verdict_of
from fedlab import load_scenario
from fedlab.comparison.statistics import paired_difference
from fedlab.preparation import prepare
from fedlab.tuning.space import read_space

STRONG = {seed: 80.0 + seed / 10 for seed in range(6)}
FIRST = Study("first", "smoke", {}, {"a": "fedavg", "b": "fedbn"})
LONGER = Study("longer", "smoke", {"rounds": 9}, {"b": "fedbn"}, chosen_in="first")


def claim(*pairs: Pair, seeds: int = 6) -> Claim:
    return Claim("c", "c", "t", "own", seeds, 1, "validation", {"shared": {}}, {}, pairs)


def above(points: float, spread: float = 0.5) -> dict[int, float]:
    """The strong method's values, so many points higher, by more in some seeds than in others."""
    return {seed: value + points + spread * (-1) ** seed for seed, value in STRONG.items()}


def verdicts(*pairs: Pair, **means: dict[int, float]) -> list[str]:
    by_place = {("s", name): values for name, values in means.items()}
    return [one.verdict for one in judge(claim(*pairs), by_place)]


def pair(method: str, over: str, no_worse_by: float | None = None) -> Pair:
    return Pair("s", method, over, "s", no_worse_by)


def test_an_order_is_confirmed_refuted_or_open() -> None:
    ways = [verdicts(pair("a", "b"), a=above(x), b=STRONG) for x in (3.0, -3.0, 0.1)]
    assert ways == [["confirmed"], ["refuted"], ["undecided"]]


def test_no_worse_is_shown_against_the_margin_and_refuted_against_zero() -> None:
    found = [verdicts(pair("a", "b", 1.0), a=above(x), b=STRONG) for x in (0.1, -0.9, -3.0)]
    assert found == [["confirmed"], ["refuted"], ["refuted"]]
    assert verdicts(pair("a", "b", 1.0), a=above(0.0, 3.0), b=STRONG) == ["undecided"]


def test_a_claim_without_all_seeds_is_not_run_yet() -> None:
    few = {seed: value for seed, value in above(3.0).items() if seed < 5}
    assert verdicts(pair("a", "b"), a=few, b=STRONG) == ["not run yet"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("confirmed confirmed", "confirmed"),
        ("confirmed undecided", "undecided"),
        ("confirmed refuted", "refuted"),
        ("refuted not-run", "refuted"),
        ("confirmed not-run", "not run yet"),
    ],
)
def test_a_claim_is_all_of_its_comparisons(found: str, expected: str) -> None:
    values = {
        "confirmed": above(3.0, 0.01),
        "undecided": above(0.0),
        "refuted": above(-3.0, 0.01),
        "not-run": {},
    }
    pairs = [pair(f"{place}", "b") for place, _ in enumerate(found.split())]
    means = {f"{place}": values[word] for place, word in enumerate(found.split())}
    judged = judge(claim(*pairs), {("s", n): v for n, v in {**means, "b": STRONG}.items()})
    assert verdict_of(judged) == expected


def test_p_is_that_of_a_paired_t_test_and_corrected_for_what_is_not_run() -> None:
    difference = paired_difference(above(0.5), STRONG)
    expected = ttest_1samp(difference.by_seed, 0.0).pvalue
    assert p_value(difference) == pytest.approx(expected)
    means = {("s", "a"): above(0.5), ("s", "b"): STRONG}
    judged = judge(claim(pair("a", "b"), pair("not run", "b")), means)
    assert judged[0].p == pytest.approx(2 * expected)
    assert math.isnan(judged[1].p)


@pytest.mark.parametrize(("shift", "against"), [(0.1, -1.0), (-3.0, 0.0)])
def test_p_of_no_worse_is_that_of_the_test_which_decides(shift: float, against: float) -> None:
    means = {("s", "a"): above(shift), ("s", "b"): STRONG}
    expected = ttest_1samp(paired_difference(above(shift), STRONG).by_seed, against).pvalue
    assert judge(claim(pair("a", "b", 1.0)), means)[0].p == pytest.approx(expected)


def test_a_study_may_take_what_was_chosen_for_some_of_the_methods_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "tuned.yaml").touch()
    lrs = {"fedavg": {"training.optimizer.lr": 0.1}, "fedbn": {"training.optimizer.lr": 0.2}}
    tuning = SimpleNamespace(chosen=lrs, summary=lambda: {"score": dict.fromkeys(lrs, 0.9)})
    monkeypatch.setattr(evidence_rows.Tuning, "open", lambda folder: tuning)
    asked = replace(claim(), studies={"first": FIRST, "longer": LONGER})
    assert evidence_rows.rows_of(asked, LONGER, tmp_path) == []


def test_what_was_chosen_is_read_from_kept_rows_where_the_tuning_is_not_at_hand(
    tmp_path: Path,
) -> None:
    asked = replace(claim(), studies={"first": FIRST, "longer": LONGER})
    line = {"study": "first", "chosen": '{"training.optimizer.lr": 0.2}', "validation": 90.0}
    kept = pandas.DataFrame([line | {"method": name} for name in FIRST.methods])
    kept.to_csv(tmp_path / "c.csv", index=False)
    found = evidence_rows.chosen_for(asked, LONGER, tmp_path / "runs", tmp_path)
    assert found["b"] == ({"training.optimizer.lr": 0.2}, pytest.approx(0.9))


def test_a_choice_that_nobody_made_is_asked_for(tmp_path: Path) -> None:
    asked = replace(claim(), studies={"first": FIRST, "longer": LONGER})
    with pytest.raises(ValueError, match="run --study first first"):
        running_claims.run(asked, {}, tmp_path / "runs", studies=("longer",), results=tmp_path)


def test_curves_that_still_rise_are_named() -> None:
    curve = pandas.DataFrame(
        [("s", name, r, m) for name, ms in CURVES.items() for r, m in zip(ROUNDS, ms, strict=True)],
        columns=["study", "method", "round", "mean"],
    )
    assert summary.not_flat(claim(pair("steep", "flat")), curve) == [("s", "steep")]


ROUNDS = (10, 20, 30, 40)
CURVES = {"steep": (10.0, 50.0, 64.7, 65.7), "flat": (10.0, 50.0, 60.0, 60.9)}


@pytest.mark.parametrize("name", [*claims.names(), *claims.protocols()])
def test_every_study_is_a_scenario_with_its_methods(name: str, tmp_path: Path) -> None:
    found = claims.read(name)
    for study in found.studies.values():
        changes = study_commands.changes(study, str(tmp_path))
        scenarios = [
            load_scenario(study.scenario, [*changes, *_strategy(method)])
            for method in study.methods.values()
        ]
        assert {scenario.resources.backend for scenario in scenarios} == {"local"}
        if study.chosen_in is None:
            study_commands.tune_command(found, study, str(tmp_path), tmp_path / study.name)
            space = read_space(tmp_path / f"{study.name}-space.yaml", scenarios[0])
            space.refuse_own([scenario.strategy.name for scenario in scenarios])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*claims.names(), *claims.protocols()])
def test_every_study_without_files_is_one_that_would_train(name: str) -> None:
    found = claims.read(name)
    for study in found.studies.values():
        if study.root is None:
            changes = study_commands.changes(study, None)
            if study_commands.sets_aside(found, study):
                changes = [*changes, "evaluation.validation=0.2"]  # as a tuning does
            for method in study.methods.values():
                prepare(load_scenario(study.scenario, [*changes, *_strategy(method)]))


def _strategy(method: str) -> list[str]:
    name, *words = method.split(" ")
    return [f"strategy={{name: {name}}}", *(f"strategy.{word}" for word in words)]


def test_the_command_of_a_row_is_one_that_can_be_typed() -> None:
    study = claims.read("ggeur").studies["cifar-scaffold"]
    values = {"training.optimizer.lr": 0.1}
    words = study_commands.row_command(study, study.methods["ggeur over scaffold"], values, 3, True)
    assert words.startswith("fedlab simulate pretrained_features data.root=DATA rounds=40 ")
    assert "strategy.base=scaffold" in words
    assert words.endswith("evaluation.validation=0.2 seed=3 --out runs/cifar-scaffold-ggeur-3")


@pytest.mark.parametrize(
    ("name", "study", "aside"),
    [
        ("fraug", "images-62", True),
        ("fraug", "images-20", False),  # takes what was chosen elsewhere
        ("unseen_domain", "without-scan", False),  # chosen by domains that are left out
    ],
)
def test_samples_are_set_aside_where_a_tuning_chooses_by_them(
    name: str, study: str, aside: bool
) -> None:
    found = claims.read(name)
    assert study_commands.sets_aside(found, found.studies[study]) is aside


def test_a_study_that_a_claim_has_not_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "domain_skew", "--study", "batch-3", "--out", str(tmp_path)]
    assert main(words) == 2
    assert "domain_skew has no study 'batch-3'; choose one of embedded, " in capsys.readouterr().err


def test_a_command_that_fails_ends_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise CalledProcessError(2, ["fedlab", "tune", "office_caltech"])

    monkeypatch.setattr(running_claims, "run", fail)
    assert main(["run", "domain_skew", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "domain_skew: fedlab tune failed, as it says above\n"


def test_a_claim_that_compares_what_no_study_has_is_refused(tmp_path: Path) -> None:
    text = (claims.CLAIMS / "fraug.yaml").read_text("utf-8")
    (tmp_path / "wrong.yaml").write_text(text.replace("over: silobn", "over: nobody"))
    with pytest.raises(ValueError, match="the study 'images-62' has no 'nobody'"):
        claims.read("wrong", tmp_path)
    with pytest.raises(ValueError, match="there is no claim 'none'"):
        claims.read("none", tmp_path)


def test_data_that_are_not_given_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--data FOLDER"):
        running_claims.run(claims.read("ggeur"), {"DATA": None}, tmp_path)


def test_pages_are_up_to_date() -> None:
    for path, text in results_page.pages():
        assert path.read_text("utf-8") == text, f"{path}: run python -m benchmarks.pages"


def test_tables_are_made_of_rows_and_say_what_is_not_there() -> None:
    text = results_page.filled(
        "<!-- table digits20\nrows: fedavg; fedbn\ncolumns: mean difference seeds\n-->"
    )
    assert text.splitlines()[2:] == [
        "| fedavg | 84.0 ± 1.6 |  | 3 |",
        "| fedbn | 85.3 ± 1.6 | +1.3 [+0.8, +1.8] | 3 |",
    ]
    assert results_page.filled("{{ gain digits20 fedbn fedavg }}") == "1.3 [0.8, 1.8]"
    with pytest.raises(ValueError, match="no cell 'colour' of 'fedavg'"):
        results_page.filled("<!-- table digits20\nrows: fedavg\ncolumns: colour\n-->")
    with pytest.raises(ValueError, match="rows of several rounds"):
        result_rows.method("office", "fedavg")
    with pytest.raises(ValueError, match="there is no part 'nothing'"):
        evidence_parts.part("nothing")


def test_a_protocols_methods_stand_in_the_order_that_came_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    same = {
        "claim": "fpl",
        "study": "digits",
        "date": "2026-12-01",
        "chosen": '{"training.optimizer.lr": 0.03}',
    }
    rows = [
        same | {"method": method, "seed": seed, "mean": (low + high) / 2, "a": low, "b": high}
        for method, pairs in {"fedavg": [(60, 80), (62, 82)], "fpl": [(70, 80), (70, 82)]}.items()
        for seed, (low, high) in enumerate(pairs)
    ]
    first = dict.fromkeys([*evidence_rows.FIRST, *evidence_rows.LAST], "") | {"seconds": 9}
    pandas.DataFrame([first | row for row in rows]).to_csv(tmp_path / "fpl.csv", index=False)
    points = {"fedavg": [60.0, 71.0], "fpl": [75.0, 75.5]}
    curve = [
        {"study": "digits", "method": method, "round": r, "mean": mean}
        for method, means in points.items()
        for r, mean in zip((15, 20), means, strict=True)
    ]
    pandas.DataFrame(curve).to_csv(tmp_path / "fpl_curve.csv", index=False)
    for name in ("read", "read_curve"):
        read = partial(getattr(evidence_rows, name), results=tmp_path)
        monkeypatch.setattr(evidence_rows, name, read)
    shown = evidence_parts.part("protocol", "fpl")
    lines = [line for line in shown.splitlines() if line.startswith(("| fpl", "| fedavg"))]
    assert lines[0].startswith("| fpl | 70.0 ± 0.0 | 81.0 ± 1.4 | 75.5 ± 0.7 | 5.5 ± 0.7 | +4.5 [")
    assert lines[1].startswith(
        "| fedavg | 61.0 ± 1.4 | 81.0 ± 1.4 | 71.0 ± 1.4 | 10.0 ± 0.0 |  | +11.0 |"
    )
    assert "`office`: **not run yet**" in shown
    assert evidence_parts.part("difference", "fpl", "digits", "fpl", "fedavg").startswith("+4.5 [")
    with pytest.raises(ValueError, match="no rows of 'fdse' in digits"):
        evidence_parts.part("difference", "fpl", "digits", "fdse", "fedavg")


def test_studies_of_a_protocol_stand_in_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = dict.fromkeys([*evidence_rows.FIRST, *evidence_rows.LAST], "")
    means = {
        ("street", "fedavg"): (10, 12),
        ("street", "fedwon"): (20, 24),
        ("printed", "fedavg"): (30, 30),
        ("printed", "fedwon"): (40, 40),
        ("street", "moon"): (90, 90),  # not run on the other domain yet
    }
    rows = [
        first | {"study": study, "method": method, "seed": seed, "mean": mean, "date": "a day"}
        for (study, method), pair in means.items()
        for seed, mean in enumerate(pair)
    ]
    pandas.DataFrame(rows).to_csv(tmp_path / "unseen_domains.csv", index=False)
    curve = [
        {"study": "street", "method": method, "round": r, "mean": mean}
        for method, ends in {"fedavg": (9, 11), "fedwon": (21.9, 22)}.items()
        for r, mean in zip((45, 60), ends, strict=True)
    ]
    pandas.DataFrame(curve).to_csv(tmp_path / "unseen_domains_curve.csv", index=False)
    for name in ("read", "read_curve"):
        read = partial(getattr(evidence_rows, name), results=tmp_path)
        monkeypatch.setattr(evidence_rows, name, read)
    lines = evidence_parts.part("across", "unseen_domains").splitlines()
    shown = [line for line in lines if line.startswith(("| fed", "| moon"))]
    assert shown[0].startswith("| fedwon | 22.0 ± 2.8 | 40.0 ± 0.0 | 31.0 ± 1.4 | +10.5 [")
    assert shown[0].endswith("| 0 |")
    assert shown[1] == "| fedavg | 11.0 ± 1.4 | 30.0 ± 0.0 | 20.5 ± 0.7 |  | 1 |"
    assert lines[0].endswith("not run yet: `scan`, `photo`, `handwritten`")
    assert shown[2].startswith("| moon | 90.0 ± 0.0 |  |  |  | 0 |")


def test_rows_are_kept_where_other_studies_are_written(tmp_path: Path) -> None:
    found = claims.read("fraug")
    file = tmp_path / "fraug.csv"
    first = [*evidence_rows.FIRST, *evidence_rows.LAST]
    old = dict.fromkeys(first, "") | {"study": "images-10", "method": "fraug", "mean": 1.0}
    new = old | {"study": "images-62", "mean": 2.0}
    evidence_rows._replace(file, [old], first, found)
    evidence_rows._replace(file, [new], first, found)
    evidence_rows._replace(file, [new | {"mean": 3.0}], first, found)
    kept = pandas.read_csv(file)
    assert list(kept["study"]) == ["images-62", "images-10"]
    assert list(kept["mean"]) == [3.0, 1.0]


def test_a_run_that_was_stopped_takes_no_rows_away(tmp_path: Path) -> None:
    found, first = claims.read("fraug"), [*evidence_rows.FIRST, *evidence_rows.LAST]
    one = dict.fromkeys(first, "") | {"study": "images-10", "method": "fraug"}
    rows, curves = tmp_path / "fraug.csv", tmp_path / "fraug_curve.csv"
    for mean, seeds in ((1.0, 3), (2.0, 2), (3.0, 3)):
        new = [one | {"seed": seed, "mean": mean} for seed in range(seeds)]
        evidence_rows._replace(rows, new, first, found)
        points = ("images-10", "fraug", 5, mean, mean, mean, seeds)
        curve = [dict(zip(evidence_rows.CURVE, points, strict=True))]
        evidence_rows._replace(curves, curve, evidence_rows.CURVE, found)
        expected = 1.0 if seeds == 2 else mean
        assert list(pandas.read_csv(rows)["mean"]) == [expected] * 3
        assert list(pandas.read_csv(curves)["mean"]) == [expected]


def test_a_run_whose_time_is_over_says_that_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "fraug", "--study", "images-62", "--for", "0", "--out", str(tmp_path)]
    assert main(words) == 3
    assert "the same command goes on" in capsys.readouterr().err
