"""FedWon, strategy: plain averaging of a network whose normalisation was taken out.

FedWon: Triumphing Multi-domain Federated Learning Without Normalization, Zhuang, Lyu, ICLR 2024,
arXiv 2306.05879. Weight standardisation: Brock, De, Smith, ICLR 2021, arXiv 2101.08692. Adaptive
gradient clipping: Brock, De, Smith, Simonyan, ICML 2021, arXiv 2102.06171.

Up: the whole model (raw weights and gains). Down: the same. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import PositiveFloat
from torch import nn

from fedlab.config.ranges import Range, Values
from fedlab.models.weight_standardisation import without_normalisation
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters


class FedWonParameters(StrategyParameters):
    """FedWon's parameters.

    Attributes:
        clipping: Threshold λ of adaptive gradient clipping; none by default. It is meant for small
            batches; values between 0.01 and 1.28 are reported.
        nf_residual: Whether residual blocks become those of NF-ResNets (Brock et al. 2021)
            instead of plain weight-standardised ones.
        gamma: γ, what kernels are multiplied by because activations shrink signals. ``auto``
            gives each convolution the constant of the activation that it reads; a number, such
            as 1.7129, the ReLU's, counts for all convolutions.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "clipping": Values((None, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28))
    }
    name: str = "fedwon"
    clipping: PositiveFloat | None = None
    nf_residual: bool = False
    gamma: PositiveFloat | Literal["auto"] = "auto"

    def adapt(self, model: nn.Module) -> nn.Module:
        """Takes every normalisation layer out and standardises the convolutions' weights."""
        return without_normalisation(model, self.gamma, self.nf_residual)


class FedWon(Strategy[FedWonParameters]):
    """FedAvg over raw weights, biases and gains: there are no buffers left to average."""
