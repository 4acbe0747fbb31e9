"""Outputs before and after a change of a model, scored by metrics: a tidy table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from fedlab.metrics.base import Metric

if TYPE_CHECKING:
    import pandas


class DomainOutputs(NamedTuple):
    """Outputs of two models for the test samples of a domain.

    Attributes:
        domain: Its name.
        before: Logits of shape (n, classes), on the CPU.
        after: Likewise.
        labels: int64 of shape (n,), on the CPU.
    """

    domain: str
    before: Tensor
    after: Tensor
    labels: Tensor


def before_and_after(
    outcomes: Iterable[DomainOutputs], metrics: Sequence[Metric]
) -> pandas.DataFrame:
    """One row per domain and figure: ``domain``, ``metric``, ``before``, ``after``, ``examples``.

    Args:
        outcomes: The domains.
        metrics: What is computed of outputs and labels.
    """
    import pandas

    rows = []
    for each in outcomes:
        for metric in metrics:
            old, new = (
                metric.compute(metric.count(outputs.float(), each.labels))
                for outputs in (each.before, each.after)
            )
            rows += [(each.domain, name, old[name], new[name], len(each.labels)) for name in old]
    return pandas.DataFrame(rows, columns=["domain", "metric", "before", "after", "examples"])
