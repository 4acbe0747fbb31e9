"""The ``partition`` block of a scenario."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from fedlab.component import Chosen, Section
from fedlab.scenarios.skews import DomainSkew, LabelNoise, LabelSkew, QuantitySkew


class LabelBudget(Section):
    """Which share of a client's training samples is labelled.

    Attributes:
        share: Share of labelled samples, in (0, 1].
        stratified: Whether each class of a client keeps that share (at least one sample).
    """

    share: float = Field(default=1.0, gt=0, le=1)
    stratified: bool = True


class PartitionSpec(Section):
    """How the pooled samples are divided among clients.

    The generators compose: domains first, then labels within the domains a client sees, then
    sizes, then which labels are known and which are wrong.
    """

    clients: PositiveInt
    domains: Chosen[DomainSkew] = "one_per_client"  # type: ignore[assignment]
    labels: Chosen[LabelSkew] = "iid"  # type: ignore[assignment]
    quantity: Chosen[QuantitySkew] = "natural"  # type: ignore[assignment]
    label_budget: LabelBudget = LabelBudget()
    label_noise: Chosen[LabelNoise] = "none"  # type: ignore[assignment]
