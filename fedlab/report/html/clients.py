"""The section on the spread of the first metric over clients."""

from __future__ import annotations

from fedlab.comparison.comparison import Comparison
from fedlab.comparison.group import Group
from fedlab.comparison.table import SPREAD, WORST
from fedlab.report.html.client_chart import Clients, client_chart
from fedlab.report.html.figure import Figure, PageSection
from fedlab.report.html.format import capital, formatted
from fedlab.runs import metrics


def clients(comparison: Comparison) -> PageSection:
    """The section with every client of every run."""
    table, score = comparison.table(), comparison.score
    drawn = []
    for style, group in enumerate(comparison.groups):
        values, names = _tested(group)
        worst, spread = (float(table.iloc[style][m, "mean"]) for m in (WORST, SPREAD))
        words = f"worst {formatted(worst, score)}   spread {formatted(spread, score)}"
        drawn.append(Clients(group.label, style, values, names, words))
    if not any(method.values for method in drawn):
        return PageSection(
            "clients", "Clients", missing="No client was tested (evaluation.fraction is 0)."
        )
    ends = ", ".join(f"{method.label}: {method.words}" for method in drawn)
    label = f"Test {score.words} of clients{score.unit}, by method: {ends}"
    wide, narrow = (
        client_chart(drawn, width, label=label, score=score) for width in (1040.0, 330.0)
    )
    several = " in each seed" if len(comparison.seeds) > 1 else ""
    say = (
        f"Each dot is a client{several}, tested with its own model on its own test samples; the "
        "line across is the median. Spread is the standard deviation over the clients of a run."
    )
    figure = Figure(f"{capital(score.words)} of every client", wide, narrow=narrow)
    return PageSection("clients", "Clients", say, [figure])


def _tested(group: Group) -> tuple[list[float], list[str]]:
    """Values of all clients of all seeds, and their names."""
    values: list[float] = []
    names: list[str] = []
    for seed, outcome in group.outcomes.items():
        run = group.runs[seed]
        own = metrics.by_client(run.history, outcome.round, group.score.name)
        own = own[own["value"].notna()]
        several = f", seed {seed}" if len(group.outcomes) > 1 else ""
        values += own["value"].tolist()
        names += [
            f"{run.client_label(int(index))} ({domain}){several}"  # type: ignore[arg-type]
            for index, domain in own["domain"].items()
        ]
    return values, names
