"""FedPLVM, strategy: clusters prototypes twice, on clients and on the server.

Taming Cross-Domain Representation Variance in Federated Prototype Learning with Heterogeneous Data
Domains, Wang et al., NeurIPS 2024, arXiv 2403.09048. Authors' code:
TriStonesWang/FedPLVM.

Up: the whole model, and the cluster means of the client's features of each class. Down: the whole
model, and the cluster means of these. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from fedlab.config.ranges import LogUniform, Range, Values
from fedlab.strategies.families.prototypes import (
    ClusterPrototypes,
    PrototypesParameters,
)

MOST_CLUSTERS = 64
"""Largest number of clusters that a client sends of a class; where there are more, their mean."""


class FedPLVMParameters(PrototypesParameters):
    """FedPLVM's parameters.

    A client's clusters are of the features of all its labelled samples, in an additional pass after
    training. What goes up says how many clusters a class has, and the mean of a small cluster is
    close to its samples: `smallest` keeps these at home.

    Attributes:
        lam: λ, weight of both terms; 100 in the authors' code.
        tau: Temperature τ of the contrastive term.
        alpha: α, the power of cosines; below 1, terms go on pushing where cosines are large.
            Cosines below 1e-6 count as 1e-6, where the authors' code has NaN below 0.
        smallest: Smallest number of samples of a cluster that is sent.
        weighting: Every client counts the same, as in the authors' code.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "lam": LogUniform(1.0, 200.0),
        "alpha": Values((0.25, 0.5, 1.0)),
    }
    name: str = "fedplvm"
    lam: NonNegativeFloat = 100.0
    tau: PositiveFloat = 0.07
    alpha: float = Field(default=0.25, gt=0, le=1)
    smallest: PositiveInt = 1
    weighting: Literal["examples", "uniform"] = "uniform"


class FedPLVM(ClusterPrototypes[FedPLVMParameters]):
    """The mean model, and clusters of the clients' cluster means."""

    rows_of_class = MOST_CLUSTERS
