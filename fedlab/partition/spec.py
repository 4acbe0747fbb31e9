"""The ``partition`` block of a scenario."""

from __future__ import annotations

from pydantic import PositiveInt

from fedlab.config.component import Chosen, ConfigBlock
from fedlab.partition.base import DomainSkew, LabelNoise, LabelSkew, QuantitySkew
from fedlab.partition.label_budget import LabelBudget


class PartitionSpec(ConfigBlock):
    """How the pooled samples are divided among clients.

    The generators compose: domains first, then labels within the domains a client sees, then
    sizes, then which labels are known and which are wrong.

    Attributes:
        clients: Number of clients.
        domains: Which domains a client sees.
        labels: How the classes are divided among the clients that see a domain.
        quantity: How many samples a client has.
        label_budget: Which of them are labelled.
        label_noise: Which of their labels are wrong.
    """

    clients: PositiveInt
    domains: Chosen[DomainSkew] = "one_per_client"  # type: ignore[assignment]
    labels: Chosen[LabelSkew] = "iid"  # type: ignore[assignment]
    quantity: Chosen[QuantitySkew] = "natural"  # type: ignore[assignment]
    label_budget: LabelBudget = LabelBudget()
    label_noise: Chosen[LabelNoise] = "none"  # type: ignore[assignment]
