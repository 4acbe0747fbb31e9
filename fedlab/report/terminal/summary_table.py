"""The closing table of a run: its results on one screen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.bar import Bar
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fedlab.report.facts import (
    LONGEST,
    client_facts,
    domain_titles,
    held_out_facts,
    other_scores,
    undefined_facts,
    unjudged_facts,
    work_of,
)
from fedlab.report.units import duration, number_or_dash, short, size
from fedlab.runs import metrics
from fedlab.runs.best_round import unscored_rounds
from fedlab.runs.run import Run

if TYPE_CHECKING:
    import pandas

NO_MODEL = "has no global model, and a domain without clients has no other"


def print_closing_table(run: Run, console: Console) -> None:
    """Prints the first metric by domain, its spread over clients, and what the run has cost.

    Args:
        run: The run; one without any evaluated round has no scores to print.
        console: Where to print.
    """
    history = run.history
    last = metrics.last_evaluated_round(history)
    if last is not None:
        console.print(_domains(run, last))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    if last is not None:
        for title, words in [
            *_scores(run, last),
            *other_scores(run, last),
            *undefined_facts(run, last),
            *unjudged_facts(run),
        ]:
            facts.add_row(title, Text(words))
    if run.scenario.privacy:
        facts.add_row("privacy", _privacy(run))
    up, down = (size(metrics.round_total(history, f"bytes_{way}")) for way in ("up", "down"))
    if asked := work_of(run):
        facts.add_row("a client's round", asked)
    facts.add_row("traffic", f"{up} up, {down} down (evaluation included)")
    facts.add_row("time", _time(run))
    times = metrics.virtual_time(history)
    if not times.empty:
        facts.add_row("virtual time", _virtual_time(history, float(times.iloc[-1])))
    facts.add_row("run", Text(str(run.folder), style="bold"))
    console.print(facts)


def _scores(run: Run, last: int) -> list[tuple[str, str]]:
    """Means over domains and clients, and what is missing of them."""
    score = run.metric_set.first
    domains = metrics.by_domain(run.history, last, score.name)
    mean = metrics.mean_over_domains(run.history, last, score.name)
    lines = [("mean over domains", number_or_dash(mean))]
    lines *= len(domains) > 1
    spread = metrics.spread_in(run.history, last, score)
    lines += client_facts(run, spread) if spread else []
    lines += held_out_facts(run, last)
    untested = [name for name in run.scenario.data.unseen_domains if name not in domains.index]
    if untested and run.scenario.evaluation.domains:
        named = short(", ".join(untested), LONGEST)
        lines.append(("not tested", f"{named} (unseen): {run.scenario.strategy.name} {NO_MODEL}"))
    return lines


def _domains(run: Run, last: int) -> Table:
    """The score by domain: of the clients' own models, and of the global one if there is one."""
    scenario, score = run.scenario, run.metric_set.first
    chosen = run.chosen_round is not None and last not in unscored_rounds(run.history, score)
    domains = metrics.by_domain(run.history, last, score.name)
    table = Table(
        title=f"{scenario.name} · {scenario.strategy.name} · seed {scenario.seed} · "
        f"test {score.words} after round {last}{' (best on validation)' * chosen}",
        title_style="bold",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    has_global = domains["global_value"].notna().any()
    has_clients = domains["clients_value"].notna().any()
    tested = domains["clients"].any()
    titles = domain_titles(scenario)
    table.add_column("domain", style="cyan", overflow="fold")
    if tested:
        table.add_column("clients", justify="right")
    if has_clients:
        table.add_column("client models", justify="right")
    if has_global:
        table.add_column("global model", justify="right")
    if score.share:
        table.add_column("")
    for domain, clients, own, whole in zip(
        domains.index,
        domains["clients"],
        domains["clients_value"],
        domains["global_value"],
        strict=True,
    ):
        shown = [own] * bool(has_clients) + [whole] * bool(has_global)
        length = whole if math.isnan(own) else own
        cells = [Text(number_or_dash(value)) for value in shown]
        bar = [Bar(1, 0, 0.0 if math.isnan(length) else length, width=16, color="cyan")]
        title = Text(titles.get(str(domain), str(domain)))
        table.add_row(title, *[f"{clients}"] * bool(tested), *cells, *bar * score.share)
    return table


def _privacy(run: Run) -> str:
    """The ε that the sent models have spent."""
    history = run.history
    spent = history[history["metric"] == "epsilon"]["value"].max()
    assert run.scenario.privacy is not None
    return f"ε = {spent:.3g} at δ = {run.scenario.privacy.delta:g} for every client"


def _virtual_time(history: pandas.DataFrame, seconds: float) -> str:
    """The run's virtual time, and how many requests were late or dropped out."""
    asked, late, dropped = (
        round(metrics.round_total(history, metric)) for metric in ("clients", "late", "dropped")
    )
    return f"{duration(seconds)} ({asked} times asked: {late} late, {dropped} dropped out)"


def _time(run: Run) -> str:
    """Seconds in all, and by phase."""
    timings = run.history[run.history["metric"].str.startswith("seconds_")]
    phases = timings.groupby("metric", sort=False)["value"].sum()
    parts = [
        f"{str(phase).removeprefix('seconds_')} {duration(spent)}"
        for phase, spent in phases.items()
    ]
    return f"{duration(phases.sum())} ({', '.join(parts)})" if parts else duration(0)
