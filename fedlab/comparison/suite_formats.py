"""A suite's table in text: columns, Markdown, LaTeX."""

from __future__ import annotations

import math

from fedlab.comparison.formats import latex_of, markdown_of
from fedlab.comparison.sentences import NONE, Column, as_good, words
from fedlab.comparison.significance import enough_pairs
from fedlab.comparison.suite_numbers import BETTER, IQM, RANK, SuiteNumbers


def columns(suite: SuiteNumbers) -> list[Column]:
    """The table's columns in words; the best of each bold."""
    frame, score = suite.table(), suite.score
    found = [words("method", suite.labels)]
    for name in suite.comparisons:
        means, deviations = frame[name, "mean"], frame[name, "deviation"]
        cells = [
            NONE
            if math.isnan(mean)
            else score.text(mean) + ("" if math.isnan(spread) else f" ± {score.text(spread)}")
            for mean, spread in zip(means, deviations, strict=True)
        ]
        found.append(Column(name, cells, list(as_good(means, score))))
    ranks = frame[RANK, "mean"]
    cells = [NONE if math.isnan(rank) else f"{rank:.2f}" for rank in ranks]
    found.append(Column(RANK, cells, list(ranks == ranks.min())))
    cells = [
        NONE
        if math.isnan(row[IQM, "mean"])
        else f"{score.text(row[IQM, 'mean'])} [{score.text(row[IQM, 'low'])}, "
        f"{score.text(row[IQM, 'high'])}]"
        for _, row in frame.iterrows()
    ]
    found.append(Column(IQM, cells, list(as_good(frame[IQM, "mean"], score))))
    better = [NONE if math.isnan(value) else f"{value:.2f}" for value in frame[BETTER, "mean"]]
    found.append(words(BETTER, better, number=True))
    return found


def notes(suite: SuiteNumbers) -> list[str]:
    """The notes below the table."""
    score = suite.score
    lines = [
        f"Test {score.words}{score.unit}, mean over domains; ± is the standard deviation over "
        "seeds.",
        "interquartile mean: of all runs without the lowest and highest quarter, with a 95 % "
        "stratified bootstrap interval (too narrow below ten runs of a scenario).",
        f"probability of improvement: that a run is better than one of {suite.labels[0]}, the mean "
        "over scenarios.",
    ]
    left_out = [name for name in suite.comparisons if name not in suite.complete]
    if left_out:
        lines.append(
            f"{', '.join(left_out)}: a method has no finished run there, or no mean over all "
            "domains, so that the scenario counts in no number over scenarios."
        )
    if suite.ranks is not None:
        lines.append(
            f"average rank over {len(suite.complete)} scenarios: Friedman's test has p = "
            f"{suite.ranks.p:.2g}; at 5 %, ranks differ that lie {suite.ranks.critical:.2f} apart "
            "(Nemenyi)."
        )
    fewest = min(
        (len(v) for by_method in suite.values.values() for v in by_method.values()), default=0
    )
    many = max(len(suite.labels) - 1, 1)
    enough = enough_pairs(many)
    if fewest < enough:
        corrected = f" with {many} differences, corrected by Holm," * (many > 1)
        lines.append(
            f"Claims about one scenario{corrected} take {enough} seeds or more; here are {fewest}."
        )
    return lines


def markdown(suite: SuiteNumbers) -> str:
    """See `Suite.to_markdown`."""
    return markdown_of(columns(suite), notes(suite))


def latex(suite: SuiteNumbers) -> str:
    """See `Suite.to_latex`."""
    return latex_of(columns(suite), notes(suite))
