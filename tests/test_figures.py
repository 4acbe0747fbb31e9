"""Figures in sentences of the pages of results: made of rows, and none typed by hand."""

from __future__ import annotations

import re

import pytest
import result_rows
import results_page

NOT_PROSE = re.compile(r"```.*?```|<!--.*?-->|\{\{.*?\}\}|`[^`]*`|^#.*?$", re.DOTALL | re.MULTILINE)
"""Code, tables and other directives of a template, and its headings."""

COUNTS = "a|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|half"
MEASURED = re.compile(
    rf"\d+\.\d+|\b(?:\d+|{COUNTS})(?= points?\b)|\d+(?= ?%)|\d+ of \d+|± ?\d+|\[[-+]?\d+",
    re.IGNORECASE,
)
"""Forms of accuracies and differences: decimals, points, per cent, shares, intervals."""

TYPED = {
    # settings of what was run
    r"Dirichlet ?\(?0\.\d+": "skew of labels",
    r"(?:SGD|learning rate (?:of|of all,)) 0\.\d+": "learning rate of all",
    r"learning rate, from 0\.001 to 0\.1": "where it was drawn from",
    r"since the draw of 0\.089": "a learning rate that was drawn",
    r"learning rate went no higher than 0\.04": "learning rates that were drawn",
    r"four rates here go to 0\.3": "learning rates that were tried",
    r"momentum 0\.9": "the optimiser's",
    r"[λμ] = 0\.\d+": "a method's parameter",
    r"step of 0\.\d": "a method's parameter",
    r"14\.2 million parameters": "size of a network",
    r"With 20 % of the labels": "share of labels",
    r"30 % of each hospital's patients": "share of test data",
    r"After 20 of 100 rounds": "length",
    # what data or rules have
    r"115 of 123 patients": "the data's own count",
    r"One image of dslr is 3 points": "one of 31 test images",
    r"95 % (?:confidence )?intervals?": "level of all intervals",
    r"Holm's correction takes above 0\.05": "level of all tests",
    r"though less than a point behind": "margin of a comparison",
    r"a point or two apart": "how to read tables",
    # quoted from papers, which the sentences name
    r"FedWon 88\.5, FedBN 88\.4, SiloBN and FedAvg 86\.5, local training 82\.9": "FedWon",
    r"FedWon 75\.6, FedBN 71\.4, FedAvg 66\.3, SiloBN 65\.8, FedProx 65\.2": "FedWon",
    r"\(5\.1 there\)": "the difference of two of these",
    r"FedWon 41\.9 and FedAvg 36\.0 at Dirichlet 0\.1, 70\.7 and 61\.1 at 0\.5": "FedWon",
    r"FedAvg has 98\.75 and little is left to gain": "GGEUR",
    r"published, on CLIP's features: 95\.4 against 91\.8 at 0\.09": "GGEUR",
    r"FedLabel 46\.1, UDA 31\.3, FedAvg 28\.8 and FixMatch 24\.0": "FedLabel",
    r"all labels \(44\.7\)": "FedLabel",
}
"""Numbers of such a form that are typed, and what they are. Nothing that was measured here."""


def sentences(template: str) -> str:
    """What a template says in words, on one line."""
    return " ".join(NOT_PROSE.sub(" … ", template).split())


def typed_figures(template: str) -> list[str]:
    """Figures that are typed, with the words around them."""
    text = sentences(template)
    for allowed in sorted(TYPED, key=len, reverse=True):  # a quotation before the settings in it
        text = re.sub(allowed, "…", text)
    return [text[max(m.start() - 40, 0) : m.end() + 20] for m in MEASURED.finditer(text)]


def test_no_measured_number_is_typed_in_a_template() -> None:
    for path in results_page.TEMPLATES.glob("*.md.in"):
        assert not typed_figures(path.read_text("utf-8")), (
            f"{path.name}: let a directive read it from benchmarks/results (docs/generator/"
            "figures.py), or add it to TYPED if it is a setting or quoted from a paper"
        )


def test_what_may_be_typed_is_there() -> None:
    said = sentences((results_page.TEMPLATES / "results.md.in").read_text("utf-8"))
    assert [allowed for allowed in TYPED if not re.search(allowed, said)] == []


@pytest.mark.parametrize(
    "typed",
    [
        "FedBN is ahead by 4.0 points",
        "FedBN is ahead\nby 4 points",
        "a gain of eight points",
        "GGEUR is a point ahead",
        "to 72.0 ± 6.3",
        "(-2 [-10, 5])",
        "92 of 100 pseudo-labels are right",
        "79 % right by itself",
        "its loss is 0.029",
    ],
)
def test_a_number_that_was_measured_is_known_by_its_form(typed: str) -> None:
    assert typed_figures(typed)


def test_settings_and_directives_are_no_measured_numbers() -> None:
    assert not typed_figures("SGD 0.01, Dirichlet(0.1), `lr=0.3`, {{ mean a b }} points, 9 images")


@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        ("difference office fedbn@200 fedavg@200", "9.5 points [5.7, 13.3]"),
        ("gain digits20 fedbn fedavg", "1.3 [0.8, 1.8]"),
        ("points digits20 fedbn fedavg", "1.3"),
        ("points ggeur_20_steps fedavg ggeur_one_pass:fedavg", "4.6"),
        ("points digits_five_6_layers fedbn fedavg svhn", "11.7"),
        ('points domain_skew_tuning fedavg fedavg tuned "as the scenario has it"', "18.2"),
        ("by_seed digits20 fedwon fedbn", "+0.3, 0.0 and +2.7"),
        ("mean office fedwon@100", "44.2"),
        ("mean digits_five_6_layers fedbn svhn", "83.8"),
        ("spread digits ditto", "72.0 ± 6.3"),
        ("run digits20 fedbn 0", "86.7"),
        ("cell nmtune nmtune photo", "48.0 ± 0.6"),
        ('curve fedlabel all-labels-long "fedavg, all labels" 30', "92.8"),
    ],
)
def test_a_figure_is_made_of_rows(directive: str, expected: str) -> None:
    assert results_page.filled(f"by {{{{ {directive} }}}}.") == f"by {expected}."


@pytest.mark.parametrize(
    ("directive", "problem"),
    [
        ("median digits20 fedbn", "asks for 'median'; there are difference, gain, points"),
        ("mean digits20 fedprox", "no cell 'mean' of 'fedprox' in 'digits20'"),
        ("mean office fedbn@150", "no rows of 'fedbn' in 'office'"),
        ("run digits20 fedbn 7", r"no seed 7 of 'fedbn'; there are \[0, 1, 2\]"),
        ("curve fedlabel share-0.2 fedlabel 31", "no 'fedlabel' in share-0.2 after round 31"),
    ],
)
def test_a_figure_without_rows_is_refused(directive: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        results_page.filled(f"{{{{ {directive} }}}}")


def test_a_method_may_be_of_a_round_or_of_another_table() -> None:
    assert result_rows.place("office", "fedbn@200") == ("office", "fedbn", 200)
    assert result_rows.place("office", "digits20:fedbn") == ("digits20", "fedbn", None)
    assert result_rows.place("digits", "ditto lam=0.1") == ("digits", "ditto lam=0.1", None)
