"""FPL, strategy: clusters the clients' class means into several prototypes of each class.

Rethinking Federated Learning with Domain Shift: A Prototype View, Huang, Ye, Shi, Li, Du, CVPR
2023. Authors' code: WenkeHuang/RethinkFL; formulas and constants are those of the code. Clustering
by first neighbours (FINCH): Sarfraz, Sharma, Stiefelhagen, CVPR 2019, arXiv 1902.11266.

Up: the whole model, and for each class the client has the mean of its features. Down: the whole
model, and the cluster means of these means, one or more for each class. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat

from fedlab.config.ranges import LogUniform, Range
from fedlab.strategies.families.prototypes import ClusterPrototypes, PrototypesParameters


class FPLParameters(PrototypesParameters):
    """FPL's parameters.

    A client's class means are those of the features that its last local epoch has trained on, each
    as it was computed for its step; with ``training.local_steps``, of all steps of the round.

    Attributes:
        tau: Temperature τ of the contrastive term.
        contrast: Weight of the term that compares a sample with all prototypes.
        unbiased: Weight of the squared distance to the mean of a class's prototypes, in which every
            cluster counts the same, and so every domain.
    """

    space: ClassVar[Mapping[str, Range]] = {"tau": LogUniform(0.01, 0.5)}
    name: str = "fpl"
    tau: PositiveFloat = 0.02
    contrast: NonNegativeFloat = 1.0
    unbiased: NonNegativeFloat = 1.0


class FPL(ClusterPrototypes[FPLParameters]):
    """The mean model, and the clusters of the clients' prototypes by first neighbours."""
