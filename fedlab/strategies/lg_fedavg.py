"""LG-FedAvg, strategy: averages the last layers, which read each client's own representation.

Think Locally, Act Globally: Federated Learning with Local and Global Representations, Liang, Liu,
Ziyin, Allen, Auerbach, Brent, Salakhutdinov, Morency, NeurIPS 2019 Workshop on Federated Learning,
arXiv 2001.01523. Authors' code: pliang279/LG-FedAvg, which starts all clients from a model that
FedAvg has trained; here they start from the network's initial values, the same for all.

Up: the last layers. Down: the last layers. Stays: the first layers (the representation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt
from torch import nn

from fedlab.models.anatomy import anatomy_of
from fedlab.models.blocks import last_parts
from fedlab.models.norms import NormPolicy
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.local_head import refuse_few_layers
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class LGFedAvgParameters(StrategyParameters):
    """LG-FedAvg's parameters.

    Attributes:
        layers: Layers at the end of the network that are shared, each with the normalisation that
            follows it; a residual block counts as one. The authors share 2 of 5 on CIFAR-10 and 3
            of 5 on MNIST.
    """

    name: str = "lg_fedavg"
    layers: PositiveInt = 1

    def local_parameter_names(self, model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
        """All tensors but those of the last layers."""
        anatomy = anatomy_of(model)
        travels = anatomy.among(last_parts(model, self.layers))
        return tuple(name for name in anatomy.moving if name not in travels)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a network of which nothing would be local."""
        refuse_few_layers(scenario, model, self.layers, "shares", "local", "strategy.name=fedavg")


class LGFedAvg(Strategy[LGFedAvgParameters]):
    """FedAvg over the last layers."""
