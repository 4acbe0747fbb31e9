"""The head of the page: the experiment and its main result."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from fedlab.comparison.comparison import Comparison
from fedlab.comparison.significance import LEVEL
from fedlab.comparison.table import DIFFERENCE, P
from fedlab.config.yaml_text import in_words
from fedlab.metrics.metric_set import ACCURACY_SCORE
from fedlab.report.html.format import formatted, joined, plural
from fedlab.report.html.results import headline
from fedlab.scenario import Scenario


@dataclass(frozen=True)
class Overview:
    """The head of the page.

    Attributes:
        title: The page's title.
        description: What the scenario says of itself.
        lede: What came out.
        facts: What was run, by what it is.
    """

    title: str
    description: str
    lede: Markup
    facts: dict[str, str]


def overview(comparison: Comparison) -> Overview:
    """The head of the page, from the first run's scenario and the comparison's table."""
    scenarios = [run.scenario for run in comparison.runs]
    first = scenarios[0]
    names = dict.fromkeys(scenario.name for scenario in scenarios)
    title = joined([name.replace("_", " ") for name in names])
    rounds = sorted({scenario.rounds for scenario in scenarios})
    local = first.training
    steps = (
        plural(local.local_steps, "step")
        if local.local_steps
        else plural(local.local_epochs, "epoch")
    )
    batch = "full batches" if local.batch_size == "full" else f"batches of {local.batch_size}"
    return Overview(
        title=title[:1].upper() + title[1:],
        description=" ".join(first.description.split()),
        lede=_lede(comparison),
        facts={
            "Methods": str(len(comparison.groups)),
            "Seed" + "s" * (len(comparison.seeds) > 1): ", ".join(map(str, comparison.seeds)),
            "Clients": _clients(comparison.runs[0].counted),
            "Domains": str(len(comparison.domains)),
            "Rounds": " or ".join(f"{number:,}" for number in rounds),
            "Model": first.model.name,
            "Local training": f"{steps}, {batch}",
            "Optimiser": f"{local.optimizer.name}, lr {in_words(local.optimizer.lr)}",
        },
    )


def _clients(scenario: Scenario) -> str:
    """The number of clients, and of those that train in a round, in words."""
    if not scenario.partition.is_counted:
        return "natural"
    clients, cohort = scenario.partition.number_of_clients, scenario.cohort_size
    owners = "" if isinstance(scenario.partition.clients, int) else " owners of the data"
    return f"{clients:,}{owners}" + f", {cohort:,} a round" * (cohort < clients)


def _lede(comparison: Comparison) -> Markup:
    """The best method, and its difference to the first."""
    best = headline(comparison)
    if best is None:
        return Markup("No round was evaluated on all domains.")
    groups, mean, deviation = best
    score = comparison.score
    named = "" if score == ACCURACY_SCORE else f" {score.words}"
    reached = f"{formatted(mean, score)}{' %' * score.share}{named}"
    more = "more" if score.higher_is_better else "less"
    over = comparison.domains[0] if len(comparison.domains) == 1 else "all domains"
    if len(groups) > 1:
        every = len(groups) == len(comparison.groups)
        who = "" if every else f", {more} than the other {len(comparison.groups) - len(groups)}"
        return Markup("<strong>{}</strong> reach the same <strong>{}</strong> on {}{}.").format(
            joined([group.label for group in groups]), reached, over, who
        )
    (group,) = groups
    words = Markup("<strong>{}</strong> reaches <strong>{}</strong>{} on {}").format(
        group.label,
        reached,
        f" ± {score.text(deviation)}" if deviation == deviation else "",
        over,
    )
    if len(comparison.groups) == 1:
        return words + "."
    most = "most" if score.higher_is_better else "least"
    words = Markup("{}, the {} of {}").format(words, most, plural(len(comparison.groups), "method"))
    place = comparison.groups.index(group)
    row = comparison.table()[DIFFERENCE].iloc[place]
    if row["mean"] == row["mean"]:
        reference = comparison.reference(group).label
        words += Markup(": {}{} {} {}").format(
            score.text(abs(row["mean"])),
            " points" * score.share,
            "above" if row["mean"] >= 0 else "below",
            reference,
        )
        if row["low"] == row["low"]:
            ends = f"{score.text(row['low'], '+')} to {score.text(row['high'], '+')}"
            words += f" ({100 * comparison.confidence:g} % interval {ends}; {_p(row[P])})"
    return words + "."


def _p(corrected: float) -> str:
    """The p-value of a difference, and whether it is significant."""
    verdict = "" if corrected < LEVEL else f": not significant at {100 * LEVEL:g} %"
    return f"{P} {corrected:.2g}{verdict}"
