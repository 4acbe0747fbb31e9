"""The numbers a paper reports, as pure functions of a run's history.

A metric is that of one round, as a rule the last one that was evaluated: the best round on the
test data would be chosen with their help. A frame of history has the columns of `read_history`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedlab.metrics.metric_set import ACCURACY, ACCURACY_SCORE, LOSS, Score
from fedlab.row import GLOBAL, POOLED

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Spread:
    """The spread of a metric over clients, each tested on its own test split.

    Attributes:
        clients: Clients that were tested, and for which the metric is defined.
        mean_over_clients: Every client counts the same.
        mean_over_examples: A client counts by its test samples.
        worst: The lowest value of a client; the highest where lower is better.
        worst_client: The client it belongs to.
        worst_domain: That client's domain; several are joined by a plus.
        deviation: Standard deviation over clients (of all of them, not of a sample).
        untrained: Clients among them that have never trained. Tensors that stay with a client still
            have their initial values there, so that these scores do not measure the method.
        of_trained: The same of those that have; None where all have, or none.
    """

    clients: int
    mean_over_clients: float
    mean_over_examples: float
    worst: float
    worst_client: int
    worst_domain: str
    deviation: float
    untrained: int = 0
    of_trained: Spread | None = None


def last_evaluated_round(history: pandas.DataFrame) -> int | None:
    """The last round with test rows; None if there is none."""
    rounds = history.loc[history["split"] == "test", "round"]
    return None if rounds.empty else int(rounds.max())


def of_clients(rows: pandas.DataFrame) -> pandas.DataFrame:
    """Rows of single clients, each on one of its domains."""
    return rows[(rows["client"] >= 0) & (rows["domain"] != "")]


def followed_split(history: pandas.DataFrame) -> str:
    """The split of a run's curves: ``test``, or validation where only one round was tested."""
    rounds = {
        split: history.loc[history["split"] == split, "round"].nunique()
        for split in ("test", "validation")
    }
    return "validation" if rounds["validation"] > rounds["test"] else "test"


def by_client(
    history: pandas.DataFrame, round: int, metric: str = ACCURACY, split: str = "test"
) -> pandas.DataFrame:
    """A metric of every client in a round, over all its domains.

    Returns:
        One row per client (the index): ``value`` (of all its samples; where the history does not
        have it, weighted by examples over its domains), ``examples`` and ``domain`` (several are
        joined by a plus).
    """
    rows = _select(history, round, metric, split)
    tested = split != "train"  # which has no domains
    own = of_clients(rows) if tested else rows[rows["client"] >= 0]
    table = weighted_means(own, ["client"]).join(own.groupby("client")["domain"].agg("+".join))
    if tested:
        whole = rows[(rows["client"] >= 0) & (rows["domain"] == "")].set_index("client")["value"]
        table.loc[whole.index, "value"] = whole
    return table


def by_domain(
    history: pandas.DataFrame, round: int, metric: str = ACCURACY, split: str = "test"
) -> pandas.DataFrame:
    """A metric on every domain in a round.

    Returns:
        One row per domain (the index), in the order in which domains appear: ``clients`` tested on
        it, ``examples`` they have, ``clients_value`` (their own models, on all their samples
        together) and ``global_value`` (the global model; NaN where there is none).
    """
    rows = _select(history, round, metric, split)
    rows = rows[rows["domain"] != ""]
    own, whole = rows[rows["client"] >= 0], rows[rows["client"] == GLOBAL]
    pooled = rows[rows["client"] == POOLED].set_index("domain")
    table = own.groupby("domain")["client"].nunique().to_frame("clients")
    means = pooled if len(pooled) else weighted_means(own, ["domain"])
    means = means[["value", "examples"]].rename(columns={"value": "clients_value"})
    table = table.join(means, how="outer")
    table = table.join(whole.set_index("domain")["value"].rename("global_value"), how="outer")
    table[["clients", "examples"]] = table[["clients", "examples"]].fillna(0).astype("int64")
    order = rows["domain"].drop_duplicates()
    return table.loc[order, ["clients", "examples", "clients_value", "global_value"]]


def mean_over_domains(
    history: pandas.DataFrame, round: int, metric: str = ACCURACY, split: str = "test"
) -> float:
    """Mean of a metric over the domains of a round, each counting the same.

    On a domain it is that of the clients' own models, by examples; on a domain that no client
    tests, that of the global model. NaN where nothing was tested.
    """
    return float(values_by_domain(history, round, metric, split).mean(skipna=False))


def values_by_domain(
    history: pandas.DataFrame, round: int, metric: str = ACCURACY, split: str = "test"
) -> pandas.Series:
    """The value on every domain of a round that `mean_over_domains` is the mean of."""
    domains = by_domain(history, round, metric, split)
    return domains["clients_value"].where(domains["examples"] > 0, domains["global_value"])


def trained_clients(history: pandas.DataFrame, round: int) -> frozenset[int] | None:
    """The clients that have trained in any round up to and including this one.

    Returns:
        Their indices; None where the history has no rows of training.
    """
    rows = history[_training(history, LOSS)]
    return frozenset(rows.loc[rows["round"] <= round, "client"]) if len(rows) else None


def by_domain_and_training(
    history: pandas.DataFrame, round: int, metric: str = ACCURACY
) -> pandas.DataFrame:
    """`by_domain`, and the same without clients that have never trained.

    Returns:
        Where such clients were tested, there are ``untrained`` (how many of a domain's) and
        ``trained_value`` (the others' own models, weighted by examples; NaN where there is none).
    """
    domains, trained = by_domain(history, round, metric), trained_clients(history, round)
    own = of_clients(_select(history, round, metric, "test"))
    learnt = own["client"].isin(list(trained or ()))
    if trained is None or learnt.all():
        return domains
    untrained = own[~learnt].groupby("domain")["client"].nunique()
    return domains.assign(
        untrained=untrained.reindex(domains.index).fillna(0).astype("int64"),
        trained_value=weighted_means(own[learnt], ["domain"])["value"],
    )


def spread_in(
    history: pandas.DataFrame, round: int, score: Score = ACCURACY_SCORE
) -> Spread | None:
    """The spread of a metric over the clients tested in a round; None without any."""
    return spread(by_client(history, round, score.name), trained_clients(history, round), score)


def has_global_rows(history: pandas.DataFrame, round: int) -> bool:
    """Whether a global model was tested in a round."""
    rows = history[(history["round"] == round) & (history["split"] == "test")]
    return bool((rows["client"] == GLOBAL).any())


def generalisation(
    history: pandas.DataFrame,
    round: int,
    score: Score = ACCURACY_SCORE,
    adapted: bool = False,
) -> Spread | None:
    """The spread of a metric over the held-out clients; None without such clients.

    Args:
        history: Of a run.
        round: An evaluated round.
        score: Which metric it is.
        adapted: Whether after a few steps on their own samples (``evaluation.adapt_steps``), and
            not with the model as it came down.
    """
    return spread(
        by_client(history, round, score.name, "adapted" if adapted else "held_out"), None, score
    )


def spread(
    clients: pandas.DataFrame,
    trained: Collection[int] | None = None,
    score: Score = ACCURACY_SCORE,
) -> Spread | None:
    """The spread of a metric over clients.

    Args:
        clients: From `by_client`.
        trained: Clients that have trained; None counts all of them as such.
        score: Which metric it is. Clients for which it is not defined are left out.

    Returns:
        The spread; None if it is defined for no client that was tested.
    """
    if not score.averages:
        clients = clients[clients["value"].notna()]
    if clients.empty:
        return None
    values, examples = clients["value"], clients["examples"]
    worst = int((score.sign * values).to_numpy().argmin())
    learnt = clients if trained is None else clients[clients.index.isin(list(trained))]
    untrained = len(clients) - len(learnt)
    return Spread(
        clients=len(clients),
        mean_over_clients=float(values.mean()),
        mean_over_examples=float((values * examples).sum() / examples.sum()),
        worst=float(values.iloc[worst]),
        worst_client=int(clients.index[worst]),
        worst_domain=str(clients["domain"].iloc[worst]),
        deviation=float(values.std(ddof=0)),
        untrained=untrained,
        of_trained=spread(learnt, None, score) if untrained else None,
    )


def round_total(history: pandas.DataFrame, metric: str) -> float:
    """Sum over all rounds of a value of the whole round, e.g. ``bytes_up``.

    ``seconds_`` sums up all phases.
    """
    rows = history[history["split"] == "round"]
    chosen = (
        rows["metric"].str.startswith(metric) if metric[-1] == "_" else rows["metric"] == metric
    )
    return float(rows.loc[chosen, "value"].sum())


def virtual_time(history: pandas.DataFrame) -> pandas.Series:
    """Virtual seconds since the start, by round.

    Returns:
        By round (the index); empty for a run without devices.
    """
    rows = history[(history["split"] == "round") & (history["metric"] == "virtual_seconds")]
    return rows.set_index("round")["value"].sort_index().cumsum()


def mean_steps(history: pandas.DataFrame) -> float:
    """Optimiser steps of a client in a round, the mean over all that trained; NaN if none did."""
    return float(history.loc[_training(history, "steps"), "value"].mean())


def bytes_per_client(history: pandas.DataFrame, way: str) -> float:
    """Bytes of tensors of a client in a round, the mean over all that were asked to train.

    What a method asks before the first round counts, and on the way down evaluation does, too.

    Args:
        history: Of a run.
        way: ``up`` or ``down``.
    """
    asked = round_total(history, "clients")
    return round_total(history, f"bytes_{way}") / asked if asked else float("nan")


def unequal_clients(history: pandas.DataFrame) -> bool:
    """Whether clients have learnt from different numbers of samples."""
    rows = history[_training(history, LOSS)]
    return bool(rows["examples"].nunique() > 1)


def _training(history: pandas.DataFrame, metric: str) -> pandas.Series:
    return (history["split"] == "train") & (history["metric"] == metric)


def weighted_means(rows: pandas.DataFrame, keys: list[str]) -> pandas.DataFrame:
    """Means of ``value`` weighted by ``examples``, and the sums of these, by group.

    A loss that is no number makes its group's mean none: pandas alone would count it as 0.
    """
    groups = rows.assign(value=rows["value"] * rows["examples"]).groupby(keys)
    sums, whole = groups[["value", "examples"]].sum(), groups["value"].count() == groups.size()
    return sums.assign(value=(sums["value"] / sums["examples"]).where(whole))


def _select(history: pandas.DataFrame, round: int, metric: str, split: str) -> pandas.DataFrame:
    return history[
        (history["round"] == round) & (history["metric"] == metric) & (history["split"] == split)
    ]
