"""FedRep, strategy: averages the representation; every client keeps its own head.

Exploiting Shared Representations for Personalized Federated Learning, Collins, Hassani, Mokhtari,
Shakkottai, ICML 2021, arXiv 2102.07078.

Up: the body. Down: the body. Stays: the head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import PositiveInt

from fedlab.config.ranges import Integers, Range
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.local_head import LocalHeadParameters


class FedRepParameters(LocalHeadParameters):
    """FedRep's parameters.

    Attributes:
        head_epochs: Passes that train the head alone, before those that train the body alone
            (``training.local_epochs`` or ``local_steps``; one or five epochs in the paper).
        weighting: Every client's body counts the same, as in Algorithm 1.
    """

    space: ClassVar[Mapping[str, Range]] = {"head_epochs": Integers(1, 15)}
    name: str = "fedrep"
    head_epochs: PositiveInt = 10
    weighting: Literal["examples", "uniform"] = "uniform"


class FedRep(Strategy[FedRepParameters]):
    """The mean of the bodies."""
