"""A comparison's table as people read it: Markdown, LaTeX, HTML, and flat for CSV."""

from __future__ import annotations

import html as html_text
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas

from fedlab.comparison.group import in_words
from fedlab.comparison.table import (
    ALL_DOMAINS,
    BYTES,
    BYTES_TO,
    DIFFERENCE,
    ROUNDS_TO,
    SECONDS,
    SPREAD,
    VIRTUAL,
    VIRTUAL_TO,
    WORST,
)
from fedlab.report.units import duration, size

if TYPE_CHECKING:
    from fedlab.comparison.comparison import Comparison

NONE = "-"
"""Stands where there is no number."""


@dataclass(frozen=True)
class Column:
    """A column of a table in words.

    Attributes:
        title: What stands above.
        cells: One for each group.
        best: Whether a cell holds the best of them.
        number: Whether it holds numbers, which stand on the right.
    """

    title: str
    cells: Sequence[str]
    best: Sequence[bool]
    number: bool = True


def columns(comparison: Comparison) -> list[Column]:
    """The whole table in words, accuracies in per cent."""
    return [*names(comparison), *accuracies(comparison), *spreads_and_costs(comparison)]


def names(comparison: Comparison) -> list[Column]:
    """What each group is, and how many of its runs there are."""
    groups = comparison.groups
    short = {key: key.rpartition(".")[2] for key in comparison.variant_keys}
    titles = {k: s if list(short.values()).count(s) == 1 else k for k, s in short.items()}
    return [
        _words("method", [group.strategy for group in groups]),
        *(
            _words(title, [in_words(group.variant.get(key)) for group in groups])
            for key, title in titles.items()
        ),
        _words("runs", [f"{len(g.outcomes)} of {len(g.seeds)}" for g in groups]),
    ]


def accuracies(comparison: Comparison) -> list[Column]:
    """Accuracy by domain and over all; the best of complete groups is marked, and its equals."""
    frame = comparison.table()
    several = [ALL_DOMAINS] * (len(comparison.domains) > 1)
    return [_rated(frame, measure) for measure in (*comparison.domains, *several, WORST)]


def spreads_and_costs(comparison: Comparison) -> list[Column]:
    """Spread over clients, difference to the reference, and what runs have cost."""
    frame = comparison.table()
    found = [_words(SPREAD, _percentages(frame, SPREAD, deviations=False), number=True)]
    if len(comparison.groups) > 1:
        found.append(_words(DIFFERENCE, [_difference(row) for row in _rows(frame)], number=True))
    if comparison.target is not None:
        goal = f"to {100 * comparison.target:g} %"
        for title, measure, unit in (
            ("rounds", ROUNDS_TO, "{:.0f}".format),
            ("traffic", BYTES_TO, size),
            ("virtual time", VIRTUAL_TO, duration),
        ):
            if (measure, "mean") in frame:
                cells = [_until(row, measure, unit) for row in _rows(frame)]
                found.append(_words(f"{title} {goal}", cells, number=True))
    for title, measure, unit in (
        ("traffic", BYTES, size),
        ("time", SECONDS, duration),
        ("virtual time", VIRTUAL, duration),
    ):
        if (measure, "mean") in frame:
            cells = [NONE if math.isnan(v) else unit(v) for v in frame[measure, "mean"]]
            found.append(_words(title, cells, number=True))
    return found


def notes(comparison: Comparison) -> list[str]:
    """What a reader must know of the table, and why runs are missing."""
    told = [
        "Test accuracy in per cent after the last round; ± is the standard deviation over seeds, "
        "spread over clients that over the clients of a run (mean over seeds)."
    ]
    if len(comparison.groups) > 1:
        told.append(
            f"difference: of the mean over domains, to {_reference(comparison)}, paired by seed, "
            f"with its {100 * comparison.confidence:g} % confidence interval (Student's t)."
        )
    if comparison.target is not None:
        told.append("Where not all runs reached the target, it is told how many did.")
    return told + missing(comparison)


def _reference(comparison: Comparison) -> str:
    """What groups are held against, in words."""
    first = comparison.groups[0]
    if all(group.strategy == first.strategy for group in comparison.groups):
        return first.label
    return first.strategy + " under the same setting" * bool(first.variant)


def missing(comparison: Comparison) -> list[str]:
    """Which runs are missing, and why."""
    return [
        f"missing: {group.label}, seed {seed}: {group.why_missing(seed)}"
        for group in comparison.groups
        for seed in group.seeds
        if seed not in group.outcomes
    ]


def markdown(comparison: Comparison) -> str:
    """See `Comparison.to_markdown`."""
    table = columns(comparison)
    lines = [[column.title for column in table]]
    lines.append(["---:" if column.number else "---" for column in table])
    for place in range(len(comparison.groups)):
        cells = ((c.cells[place].replace("|", "\\|"), c.best[place]) for c in table)
        lines.append([f"**{text}**" if best else text for text, best in cells])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return rows + "\n\n" + "\n".join(f"{note}  " for note in notes(comparison)) + "\n"


def latex(comparison: Comparison) -> str:
    """See `Comparison.to_latex`."""
    table = columns(comparison)
    lines = [r"% \usepackage{booktabs}", *(f"% {note}" for note in notes(comparison))]
    lines.append(rf"\begin{{tabular}}{{{''.join('r' if c.number else 'l' for c in table)}}}")
    lines += [r"\toprule", _latex_row([_latex(column.title) for column in table]), r"\midrule"]
    for place in range(len(comparison.groups)):
        cells = ((_latex(column.cells[place]), column.best[place]) for column in table)
        lines.append(_latex_row([rf"\textbf{{{text}}}" if best else text for text, best in cells]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def html(comparison: Comparison) -> str:
    """See `Comparison._repr_html_`."""
    table = columns(comparison)

    def cell(kind: str, column: Column, text: str, best: bool = False) -> str:
        side = "right" if column.number else "left"
        inner = html_text.escape(text)
        return f'<{kind} style="text-align: {side}">{f"<b>{inner}</b>" if best else inner}</{kind}>'

    head = "".join(cell("th", column, column.title) for column in table)
    body = "".join(
        "<tr>" + "".join(cell("td", c, c.cells[place], c.best[place]) for c in table) + "</tr>"
        for place in range(len(comparison.groups))
    )
    told = "<br>".join(html_text.escape(note) for note in notes(comparison))
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p><small>{told}"
        "</small></p>"
    )


def flat(comparison: Comparison) -> pandas.DataFrame:
    """The table's numbers with one level of columns, groups told in columns of their own."""
    frame = comparison.table()
    frame.columns = [" ".join(column) for column in frame.columns]
    return frame.reset_index()


def _words(title: str, cells: Sequence[str], number: bool = False) -> Column:
    return Column(title, cells, [False] * len(cells), number)


def _rows(frame: pandas.DataFrame) -> list[Any]:
    return [frame.iloc[place] for place in range(len(frame))]


def _rated(frame: pandas.DataFrame, measure: str) -> Column:
    """A column of accuracies; what is as good as the best after rounding is best, too."""
    rounded = (100 * frame[measure, "mean"]).round(1)
    complete = frame["runs", "finished"] == frame["runs", "planned"]
    best = complete & (rounded == rounded[complete].max())
    several = rounded[complete].count() > 1
    return Column(measure, _percentages(frame, measure), [bool(b and several) for b in best])


def _percentages(frame: pandas.DataFrame, measure: str, deviations: bool = True) -> list[str]:
    told = []
    for row in _rows(frame):
        mean, deviation = 100 * row[measure, "mean"], 100 * row[measure, "deviation"]
        spread = f" ± {deviation:.1f}" if deviations and not math.isnan(deviation) else ""
        told.append(NONE if math.isnan(mean) else f"{mean:.1f}{spread}")
    return told


def _difference(row: Any) -> str:
    mean, low, high = (100 * row[DIFFERENCE, name] for name in ("mean", "low", "high"))
    if math.isnan(mean):
        return NONE
    return f"{mean:+.1f}" + ("" if math.isnan(low) else f" [{low:+.1f}, {high:+.1f}]")


def _until(row: Any, measure: str, unit: Any) -> str:
    """A mean if all finished runs reached the target, else how many of them did."""
    finished, reached = int(row["runs", "finished"]), int(row[measure, "reached"])
    if not finished:
        return NONE
    return unit(row[measure, "mean"]) if reached == finished else f"{reached} of {finished}"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex(text: str) -> str:
    """Text with LaTeX's own characters escaped, and ours put into its words."""
    if text == NONE:
        return "--"
    special = {
        **{character: "\\" + character for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
    }
    escaped = "".join(special.get(character, character) for character in text)
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)
