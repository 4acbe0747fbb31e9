"""The display of a run in notebooks: domains, clients, cost, and learning curves."""

from __future__ import annotations

import io
from html import escape
from typing import TYPE_CHECKING

import matplotlib

from fedlab.report.facts import (
    client_facts,
    domain_titles,
    held_out_facts,
    other_scores,
    undefined_facts,
    unjudged_facts,
    work_of,
)
from fedlab.report.figures.learning_curves import run_figure
from fedlab.report.units import duration, number_or_dash, size
from fedlab.runs import metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fedlab.runs.run_record import RunRecord


def run_html(run: RunRecord) -> str:
    """A run as a piece of HTML; of one that was never evaluated, its name alone."""
    history, scenario = run.history, run.scenario
    state = "finished" if run.finished else "not finished"
    title = (
        f"<p><b>{escape(scenario.name)}</b>, {escape(scenario.strategy.name)}, seed "
        f"{scenario.seed}: {run.rounds} of {scenario.rounds} rounds, {state}</p>"
    )
    last = metrics.last_evaluated_round(history)
    if last is None:
        return title
    names = {
        "clients_value": "client models",
        "global_value": "global model",
        "untrained": "never trained",
        "trained_value": "trained clients' models",
    }
    domains = metrics.by_domain_and_training(history, last, run.metric_set.first.name)
    domains = domains.rename(columns=names, index=domain_titles(scenario))
    if not domains["clients"].any():
        domains = domains.drop(columns=["clients"])
    table = domains.dropna(axis="columns", how="all").to_html(
        float_format="{:.3f}".format, border=0
    )
    facts = "".join(
        f"<tr><td>{name}</td><td>{escape(text)}</td></tr>" for name, text in _facts(run, last)
    )
    return f"{title}{table}<table><tbody>{facts}</tbody></table>{svg(run_figure(run))}"


def svg(figure: Figure) -> str:
    """A figure as an SVG element with text as text."""
    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    text = written.getvalue()
    return text[text.index("<svg") :]


def _facts(run: RunRecord, last: int) -> list[tuple[str, str]]:
    history = run.history
    score = run.metric_set.first
    spread = metrics.spread_in(history, last, score)
    facts = [
        ("mean over domains", number_or_dash(metrics.mean_over_domains(history, last, score.name))),
        *(client_facts(run, spread) if spread else ()),
        *held_out_facts(run, last),
        *other_scores(run, last),
        *undefined_facts(run, last),
        *unjudged_facts(run),
    ]
    up, down = (size(metrics.round_total(history, f"bytes_{way}")) for way in ("up", "down"))
    return [
        *facts,
        ("a client's round", work_of(run)),
        ("traffic", f"{up} up, {down} down (evaluation included)"),
        ("time", duration(metrics.round_total(history, "seconds_"))),
        ("folder", str(run.folder)),
    ]
