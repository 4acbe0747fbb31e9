"""UDA, strategy: FedAvg of clients trained for consistency between views of unlabelled samples.

Unsupervised Data Augmentation for Consistency Training, Xie, Dai, Hovy, Luong, Le, NeurIPS 2020,
arXiv 1904.12848.

Up: the whole model. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, PositiveFloat

from fedlab.config.ranges import LogUniform, Range, Uniform
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.semi_supervised import SemiSupervisedParameters


class UDAParameters(SemiSupervisedParameters):
    """UDA's parameters; defaults are those of the authors' code for CIFAR-10 (google-research/uda).

    Strong views are others: there, Cutout comes after the operations of RandAugment; here, as for
    FixMatch and FedLabel, they are a random crop and one operation at a third of its strength.

    Attributes:
        threshold: β, the probability that a prediction needs to teach.
        temperature: Divides the logits of the usual views; below 1 it sharpens predictions.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "threshold": Uniform(0.5, 0.95),
        "temperature": LogUniform(0.1, 1.0),
    }
    name: str = "uda"
    threshold: float = Field(default=0.8, ge=0, le=1)
    temperature: PositiveFloat = 0.4


class UDA(Strategy[UDAParameters]):
    """Averages as FedAvg does; the client trainer uses the unlabelled samples."""
