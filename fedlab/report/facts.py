"""Facts about a run's clients and domains, in the same words in terminal and notebook."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fedlab.report.units import number_or_dash, short, size
from fedlab.runs import metrics
from fedlab.runs.best_round import unscored
from fedlab.runs.metrics import Spread
from fedlab.scenario import Scenario

if TYPE_CHECKING:
    from fedlab.runs.run_record import RunRecord

LONGEST = 40
"""Letters of the domains of a client: one that has samples of all of them would fill lines."""


def client_facts(run: RunRecord, spread: Spread) -> list[tuple[str, str]]:
    """How a score is spread over clients, as titles and words.

    Clients that have never trained are counted, and the mean and the worst client are also given
    without them.
    """
    lines = [
        (
            "mean over clients",
            f"{spread.mean_over_clients:.3f} ± {spread.deviation:.3f} (standard deviation over "
            f"{spread.clients} clients)",
        ),
        ("mean over examples", f"{spread.mean_over_examples:.3f}"),
        ("worst client", _worst(run, spread)),
    ]
    if spread.untrained:
        words = f"{spread.untrained} of the {spread.clients} clients have not been drawn to train"
        lines.append(("never trained", words))
    trained = spread.of_trained
    if trained:
        lines += [
            (
                "mean over trained",
                f"{trained.mean_over_clients:.3f} ± {trained.deviation:.3f} (over the "
                f"{trained.clients} that have trained)",
            ),
            ("worst trained", _worst(run, trained)),
        ]
    return lines


def undefined_facts(run: RunRecord, last: int) -> list[tuple[str, str]]:
    """The number of clients for which each metric is not defined, as titles and words."""
    lines = []
    for score in (run.metric_set.first, *run.metric_set.others):
        values = metrics.by_client(run.history, last, score.name)["value"]
        undefined = 0 if score.averages else int(values.isna().sum())
        if undefined:
            words = f"{score.words}: for {undefined} of {len(values)} clients, which are left out"
            lines.append(("not defined", words))
    return lines


def unjudged_facts(run: RunRecord) -> list[tuple[str, str]]:
    """Rounds that validation could not judge, as title and words; empty without any."""
    words = "" if run.chosen_round is None else unscored(run)
    return [("not judged", words)] if words else []


def held_out_facts(run: RunRecord, last: int) -> list[tuple[str, str]]:
    """The score of a run on held-out clients, which are never trained, as titles and words."""
    score, steps = run.metric_set.first, run.scenario.evaluation.adapt_steps
    whole = metrics.has_global_rows(run.history, last)
    lines = []
    for title, adapted in (("held-out clients", False), (f"after {steps} steps", True)):
        spread = metrics.generalisation(run.history, last, score, adapted)
        if spread is not None:
            lines.append(
                (
                    title,
                    f"{spread.mean_over_clients:.3f} ± {spread.deviation:.3f} (over "
                    f"{spread.clients} clients"
                    + ("" if whole else ", with initial values in what stays with clients")
                    + ")",
                )
            )
    return lines


def other_scores(run: RunRecord, last: int) -> list[tuple[str, str]]:
    """The other metrics of the scenario, as titles and words: over domains, and the worst."""
    lines = []
    for score in run.metric_set.others:
        mean = metrics.mean_over_domains(run.history, last, score.name)
        spread = metrics.spread_in(run.history, last, score)
        words = f"{number_or_dash(mean)} mean over domains"
        words += f", worst client {_worst(run, spread)}" if spread else ""
        lines.append((score.words, words))
    return lines


def work_of(run: RunRecord) -> str:
    """The mean work of a client's round, in words."""
    history, trained = run.history, run.trained_parameters
    steps = metrics.mean_steps(history)
    up = metrics.bytes_per_client(history, "up")
    lines = [
        "" if math.isnan(steps) else f"{steps:.1f} steps".replace(".0 ", " "),
        "" if trained is None else f"{trained:,} parameters trained",
        "" if math.isnan(up) else f"{size(up)} sent up",
    ]
    return ", ".join(filter(None, lines))


def domain_titles(scenario: Scenario) -> dict[str, str]:
    """Titles of unseen domains, by domain.

    Returns:
        Titles by name; domains that clients learn from are left out.
    """
    return {name: f"{name} (unseen)" for name in scenario.data.unseen_domains}


def _worst(run: RunRecord, spread: Spread) -> str:
    domain = short(spread.worst_domain, LONGEST)
    return f"{spread.worst:.3f} ({run.client_label(spread.worst_client)}, {domain})"
