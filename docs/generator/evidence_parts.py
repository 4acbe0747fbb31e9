"""Parts of pages that are made of the rows of claims (benchmarks/evidence)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from functools import cache

import pandas
import result_rows
import tables

from benchmarks import one_digit
from benchmarks.evidence import claim as claims
from benchmarks.evidence import evidence_rows, summary
from benchmarks.evidence.summary import Summed
from fedlab.comparison.statistics import paired_difference

QUARTERS = (0.25, 0.5, 0.75, 1.0)


def part(name: str, *words: str) -> str:
    """A part by its name, ended by a line.

    Raises:
        ValueError: If there is none.
    """
    parts: dict[str, Callable[..., str]] = {
        "overview": overview,
        "three_lines": three_lines,
        "claims": all_claims,
        "domain_skew": first_table,
        "tables": sortable,
        "ggeur_apart": ggeur_apart,
        "protocol": protocol,
        "across": across,
        "difference": difference,
    }
    if name not in parts:
        raise ValueError(f"there is no part '{name}'; there are {', '.join(parts)}")
    return parts[name](*words)


def overview() -> str:
    """One line for each claim."""
    return summary.overview(_summed())


def three_lines() -> str:
    """For the README: which claims are confirmed, refuted, open, and by how many comparisons."""
    found = _summed()
    kinds = {
        "Confirmed": ("confirmed",),
        "Refuted": ("refuted",),
        "Open": ("undecided", "not run yet"),
    }
    lines = []
    for title, verdicts in kinds.items():
        own = [one for one in found if one.verdict in verdicts]
        words = [one.claim.title.rstrip(".") + _counts(one) for one in own]
        lines.append(f"- **{title}**: {'; '.join(words) or 'none'}.\n")
    return "".join(lines)


def first_table() -> str:
    """The table of the README, of the scenario that its first command runs."""
    domains = ("handwritten", "scan", "photo", "printed", "street", "mean")
    rows = []
    for name in ("fedavg", "fedbn", "fedwon"):
        runs = result_rows.method("domain_skew", name)
        rows.append([name, *(result_rows.spread(runs.of(column)) for column in domains)])
    return tables.table(("method", *domains), rows)


def all_claims() -> str:
    """A section for each claim."""
    return "\n".join(_section(one) for one in _summed())


def sortable() -> str:
    """A table of every study: methods, domains, mean, what was chosen, and the command of a row."""
    parts = []
    for name in evidence_rows.kept():
        rows = evidence_rows.read(name)
        for study, own in rows.groupby("study", sort=False):
            parts.append(f"## {name}: {study}\n\n{_study_table(own, commands=True)}")
    return "\n".join(parts) if parts else "No study has been run yet.\n"


def ggeur_apart() -> str:
    """GGEUR's draws taken apart, by images of a class; nothing before that is run."""
    file = evidence_rows.RESULTS / "apart" / "ggeur.csv"
    if not file.is_file():
        return "The experiment that takes its draws apart is **not run yet**.\n"
    rows = pandas.read_csv(file)
    lines = []
    for images, own in rows.groupby("images", sort=False):
        by_kind = {str(kind): _by_seed(each, "mean") for kind, each in own.groupby("kind")}
        for kind, title in APART.items():
            over = "" if kind == "none" else _gain(by_kind[kind], by_kind["none"])
            cells = [result_rows.spread(by_kind[kind]), over, str(len(by_kind[kind]))]
            rate = own.loc[own["kind"] == kind, "lr"].iloc[0]
            lines.append([str(images), title, *cells, f"{rate:g}"])
    head = ("images of a class", "draws", "accuracy", "over none", "seeds", "learning rate")
    return tables.table(head, lines)


def protocol(name: str) -> str:
    """The studies of a protocol: methods in the order that came out, best first.

    Beside the mean over domains stand their standard deviation, both means over seeds, the
    difference to FedAvg, paired by seed, and what the mean gained in the last quarter of rounds.
    """
    rows, curve = evidence_rows.read(name), evidence_rows.read_curve(name)
    found = claims.read(name)
    parts = []
    for study in found.studies:
        own, line = (table[table["study"] == study] for table in (rows, curve))
        parts.append(f"`{study}`: " + ("**not run yet**.\n" if own.empty else _order(own, line)))
    return "\n".join(parts)


def across(name: str) -> str:
    """The studies of a protocol in one table: methods in the order of their mean over studies.

    The mean is taken seed by seed; beside it stand its difference to FedAvg's, paired by seed, and
    the number of studies in which the method's mean still rose in the last quarter of rounds.
    """
    rows, curve = evidence_rows.read(name), evidence_rows.read_curve(name)
    every = claims.read(name).studies
    studies = [study for study in every if study in set(rows["study"])]
    if not studies:
        return "**Not run yet**.\n"
    means = {
        str(method): {study: _by_seed(own[own["study"] == study], "mean") for study in studies}
        for method, own in rows.groupby("method", sort=False)
    }
    overall = {
        method: {
            seed: sum(values[seed] for values in by_study.values()) / len(studies)
            for seed in set.intersection(*(set(values) for values in by_study.values()))
        }
        for method, by_study in means.items()
    }
    lines = []
    for method in sorted(overall, key=lambda each: -_mean(overall[each])):
        cells = [result_rows.spread(values) if values else "" for values in means[method].values()]
        own, reference = overall[method], overall["fedavg"]
        over = "" if method == "fedavg" or not own else _gain(own, reference)
        lines_of = (curve[(curve["study"] == s) & (curve["method"] == method)] for s in studies)
        rises = sum(summary.last_quarter(line) >= summary.FLAT for line in lines_of)
        lines.append([method, *cells, result_rows.spread(own) if own else "", over, str(rises)])
    head = ("method", *studies, "mean", "over fedavg", "not flat in")
    days = sorted(rows["date"].unique())
    missing = ", ".join(f"`{study}`" for study in every if study not in studies)
    left = f"; not run yet: {missing}" if missing else ""
    return f"{rows['seed'].nunique()} seeds, {', '.join(days)}{left}\n\n{tables.table(head, lines)}"


def _mean(values: dict[int, float]) -> float:
    return sum(values.values()) / len(values) if values else -math.inf


def _order(rows: pandas.DataFrame, curve: pandas.DataFrame) -> str:
    """A study's methods, the one with the largest mean first."""
    domains = _domains(rows)
    rows = rows.assign(apart=rows[domains].std(axis="columns", ddof=0))
    over_all = ["mean", "apart"] if len(domains) > 1 else []
    reference = _by_seed(rows[rows["method"] == "fedavg"], "mean")
    means = rows.groupby("method")["mean"].mean().sort_values(ascending=False, kind="stable")
    lines = []
    for method in means.index:
        own = rows[rows["method"] == method]
        cells = [result_rows.spread(_by_seed(own, name)) for name in [*domains, *over_all]]
        over = "" if method == "fedavg" else _gain(_by_seed(own, "mean"), reference)
        rise = f"{summary.last_quarter(curve[curve['method'] == method]):+.1f}"
        seconds = f"{own['seconds'].median():.0f}"
        lines.append([str(method), *cells, over, rise, _chosen(own["chosen"].iloc[0]), seconds])
    titles = {"mean": "mean", "apart": "over domains"}
    head = ["method", *domains, *(titles[name] for name in over_all), "over fedavg"]
    head += ["last quarter", "chosen", "seconds a run"]
    days = sorted(rows["date"].unique())
    return f"{rows['seed'].nunique()} seeds, {', '.join(days)}\n\n{tables.table(head, lines)}"


def _domains(rows: pandas.DataFrame) -> list[str]:
    first = [*evidence_rows.FIRST, *evidence_rows.LAST]
    return [name for name in rows.columns if name not in first and rows[name].notna().any()]


def difference(
    claim: str, study: str, method: str, reference: str, of: str = "", column: str = "mean"
) -> str:
    """``+2.3 [+0.2, +4.4]``: points of a study's method over a reference, paired by seed.

    Args:
        claim: The claim whose rows they are.
        study: The study of the method.
        method: Its label.
        reference: The other one's label.
        of: The study of the reference; the same by default.
        column: A domain, or the mean over all.
    """
    rows = evidence_rows.read(claim)
    first, second = (
        _by_seed(rows[(rows["study"] == where) & (rows["method"] == label)], column)
        for where, label in ((study, method), (of or study, reference))
    )
    if not first or not second:
        raise ValueError(f"{claim} has no rows of '{method}' in {study} and '{reference}'")
    return _gain(first, second)


APART = {
    "none": "none (FedAvg)",
    "repeated": "repeated samples",
    "diagonal": "noise along each feature",
    "full": "noise of the pooled covariance (GGEUR)",
    "central": "all samples in one place, no draws",
}
"""What rows of `benchmarks.evidence.ggeur_apart` are called."""


def _gain(values: dict[int, float], reference: dict[int, float]) -> str:
    return one_digit.with_interval(paired_difference(values, reference))


def _section(one: Summed) -> str:
    claim = one.claim
    rows = evidence_rows.read(claim.name)
    command = f"`make evidence CLAIM={claim.name}`"
    lines = [f'<a id="{summary.anchor(claim)}"></a>\n', f"### ({claim.letter}) {claim.title}\n"]
    if rows.empty:
        return "\n".join([*lines, f"**Not run yet**: {command}.\n"])
    days = sorted(rows["date"].unique())
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    machines = "; ".join(sorted(rows["machine"].unique()))
    lines += [
        f"**{one.verdict.capitalize()}.** {command}, {when}, {machines}; {claim.budget} draws for "
        f"each method, chosen by {claim.select.replace('_', ' ')}.\n",
        summary.details(one),
    ]
    for study, own in rows.groupby("study", sort=False):
        curve = evidence_rows.read_curve(claim.name)
        lines += [f"`{study}`:\n", _study_table(own), _quarters(curve[curve["study"] == study])]
    if missing := [name for name in claim.studies if name not in set(rows["study"])]:
        lines.append(
            f"Not run yet, beside the others: {', '.join(f'`{each}`' for each in missing)}.\n"
        )
    if one.steep:
        still = ", ".join(f"{method} in `{study}`" for study, method in one.steep)
        lines.append(
            f"Not flat ({summary.FLAT:g} point or more in the last quarter of rounds): {still}.\n"
        )
    return "\n".join(lines)


def _study_table(rows: pandas.DataFrame, commands: bool = False) -> str:
    domains = _domains(rows)
    shown = domains if len(domains) > 1 else []
    head = ["method", *shown, "mean", "chosen", "validation", "seeds", "seconds a run"]
    lines = []
    for method, own in rows.groupby("method", sort=False):
        cells = [result_rows.spread(_by_seed(own, column)) for column in [*shown, "mean"]]
        chosen = _chosen(own["chosen"].iloc[0])
        validation = f"{own['validation'].iloc[0]:.1f}"
        seconds = f"{own['seconds'].median():.0f}"
        command = [f"`{own['command'].iloc[0]}`"] if commands else []
        lines.append([str(method), *cells, chosen, validation, str(len(own)), seconds, *command])
    return tables.table([*head, *["command of seed 0"] * commands], lines)


def _quarters(curve: pandas.DataFrame) -> str:
    """The curve in four numbers: the mean after each quarter of the rounds."""
    lines, marks = [], []
    for method, own in curve.groupby("method", sort=False):
        by_round = own.set_index("round")
        last = by_round.index.max()
        marks = [by_round.index[by_round.index <= share * last].max() for share in QUARTERS]
        rows = [by_round.loc[mark] for mark in marks]
        lines.append([str(method), *map(_with_ends, rows)])
    head = ["curve: mean [95 % interval]", *(f"round {mark}" for mark in marks)]
    return tables.table(head, lines) if lines else ""


def _with_ends(row: pandas.Series) -> str:
    """A mean with its interval, which a single seed has not."""
    mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
    texts = [one_digit.plain(value) for value in (mean, low, high)]
    return texts[0] if math.isnan(low) else "{} [{}, {}]".format(*texts)


def _by_seed(rows: pandas.DataFrame, column: str) -> dict[int, float]:
    return {int(s): float(v) for s, v in zip(rows["seed"], rows[column], strict=True)}


def _chosen(written: str) -> str:
    """What was chosen, in short: ``lr 0.027, clipping 0.32``."""
    values = json.loads(written)
    words = [f"{key.rpartition('.')[2]} {_short(value)}" for key, value in values.items()]
    return ", ".join(words) or "as it stands"


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else "none" if value is None else str(value)


def _counts(one: Summed) -> str:
    """How many comparisons of a claim came out which way: its verdict alone says little of ten."""
    names = {"confirmed": "confirmed", "refuted": "refuted", "undecided": "open"}
    found = [
        (sum(each.verdict == kind for each in one.judged), name) for kind, name in names.items()
    ]
    words = [f"{count} {name}" for count, name in found if count]
    missing = sum(each.verdict == "not run yet" for each in one.judged)
    words += [f"{missing} not run yet"] if missing else []
    return f" (of {len(one.judged)} comparisons {', '.join(words)})"


@cache
def _summed() -> Sequence[Summed]:
    return summary.summed()
