"""FedBABU, strategy: averages bodies that learn under one head that never does.

FedBABU: Toward Enhanced Representation for Federated Image Classification, Oh, Kim, Yun, ICLR 2022,
arXiv 2106.06042. Authors' code: jhoon-oh/FedBABU.

Up: the body. Down: the body. Stays: the head, as it was initialised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from fedlab.models.anatomy import anatomy_of
from fedlab.models.blocks import last_parts
from fedlab.models.norms import NormPolicy
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.local_head import LocalHeadParameters, refuse_few_layers

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedBABUParameters(LocalHeadParameters):
    """FedBABU's parameters.

    Attributes:
        layers: Layers at the end of the network that keep their initial weights; a residual block
            counts as one. Their running statistics, if any, belong to the body.
    """

    name: str = "fedbabu"

    def local_parameter_names(self, model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
        """The weights of the last layers."""
        last = set(last_parts(model, self.layers))
        return tuple(name for name in anatomy_of(model).learning if name in last)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a network without trainable parameters in its body."""
        refuse_few_layers(
            scenario, model, self.layers, "never trains", "trained", "strategy.name=fedavg"
        )


class FedBABU(Strategy[FedBABUParameters]):
    """The mean of the bodies; with the initial head they are the global model."""

    @property
    def has_global_model(self) -> bool:
        """Yes: every process has the head from the network itself."""
        return True
