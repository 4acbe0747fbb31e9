"""FixMatch, strategy: FedAvg of clients that also learn from confident pseudo-labels.

FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence, Sohn, Berthelot, Li,
Zhang, Carlini, Cubuk, Kurakin, Zhang, Raffel, NeurIPS 2020, arXiv 2001.07685.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from fedlab.strategies.base import Strategy
from fedlab.strategies.families.semi_supervised import SemiSupervisedParameters


class FixMatchParameters(SemiSupervisedParameters):
    """FixMatch's parameters, with the paper's defaults: threshold τ 0.95, weight λ 1.

    Strong views are others: there, two operations of random strength and Cutout; here, as for UDA
    and FedLabel, a random crop and one operation at a third of its strength.
    """

    name: str = "fixmatch"


class FixMatch(Strategy[FixMatchParameters]):
    """Averages as FedAvg does; the client trainer uses the unlabelled samples."""
