"""FedSR, strategy: FedAvg of networks with a simple, probabilistic representation.

FedSR: A Simple and Effective Domain Generalization Method for Federated Learning, Nguyen, Torr,
Lim, NeurIPS 2022. Authors' code: atuannguyen/FedSR, where formulas and constants are from; its
benchmark is PACS, Li, Yang, Song, Hospedales, arXiv 1710.03077.

Up: the network. Down: the network. Stays: the description of each class's representation, by which
one penalty is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import NonNegativeFloat, PositiveInt
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.errors import InputError
from fedlab.models.anatomy import anatomy_of
from fedlab.models.gaussian_head import GaussianHead, find_gaussian_head
from fedlab.models.head import find_head, why_no_head
from fedlab.models.norms import NormPolicy
from fedlab.models.surgery import replace_modules
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment

LOCAL = ("reference_mean", "reference_scale", "factor")


class FedSRParameters(StrategyParameters):
    """FedSR's parameters.

    The authors' code counts every client the same (``weighting: uniform``).

    Attributes:
        length: α_1, weight of the mean length of representations; a length, not its square, as in
            the authors' code.
        conditional: α_2, weight of the divergence of a sample's representation from that of its
            class, which the client learns.
        width: Length of representations; by default as many as the features of the network. The
            authors' code has 512 with ResNet-18, and 2048 with ResNet-50.
        draws: Draws over which probabilities are averaged in tests; the same in every test.
    """

    targets: ClassVar[frozenset[str]] = ONLY_CLASS  # a reference for each class
    space: ClassVar[Mapping[str, Range]] = {
        "length": LogUniform(0.001, 0.1),
        "conditional": LogUniform(0.0001, 0.01),
    }
    name: str = "fedsr"
    length: NonNegativeFloat = 0.01
    conditional: NonNegativeFloat = 0.001
    width: PositiveInt | None = None
    draws: PositiveInt = 20

    def adapt(self, model: nn.Module) -> nn.Module:
        """Replaces the last dense layer, if there is one, by a probabilistic head."""
        head = find_head(model)
        if head is None:
            return model
        classes = head.layer.out_features
        new = GaussianHead(head.features, classes, self.width or head.features, self.draws)
        return replace_modules(model, lambda module: new if module is head.layer else module)

    def local_parameter_names(self, model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
        """The descriptions of the classes."""
        return anatomy_of(model).among(references(model))

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a network without a last dense layer."""
        if find_gaussian_head(model) is None:
            raise InputError(
                "strategy.name: fedsr makes what the last dense layer reads probabilistic, and the "
                f"model '{scenario.model.name}' {why_no_head(model)}"
            )


class FedSR(Strategy[FedSRParameters]):
    """Averages as FedAvg does; predictions do not use the local tensors."""

    @property
    def has_global_model(self) -> bool:
        """True: no forward pass in tests reads the local tensors."""
        return True


def references(model: nn.Module) -> tuple[str, ...]:
    """Names of the tensors that describe the classes' representations, as in `LOCAL`."""
    found = find_gaussian_head(model)
    if found is None:
        return ()
    prefix = f"{found[0]}." if found[0] else ""
    return tuple(prefix + name for name in LOCAL)
