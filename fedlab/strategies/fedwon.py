"""FedWon, strategy: plain averaging of a network without normalisation.

FedWon: Triumphing Multi-domain Federated Learning Without Normalization, Zhuang, Lyu, ICLR 2024,
arXiv 2306.05879. Weight standardisation: Brock, De, Smith, ICLR 2021, arXiv 2101.08692. Adaptive
gradient clipping: Brock, De, Smith, Simonyan, ICML 2021, arXiv 2102.06171.

Up: the whole model (raw or standardised weights, and gains). Down: the same. Stays: nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveFloat, PositiveInt, model_validator
from torch import nn

from fedlab.config.ranges import Range, Values
from fedlab.errors import InputError
from fedlab.models.norms import Removed
from fedlab.models.weight_standardisation import (
    WSConv2d,
    standardised_kernels,
    without_normalisation,
)
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.requirements import refuse_unclear_outputs
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment

log = logging.getLogger("fedlab")


class FedWonParameters(StrategyParameters):
    """FedWon's parameters.

    Attributes:
        clipping: Threshold λ of adaptive gradient clipping; none by default. It is meant for small
            batches; values between 0.01 and 1.28 are reported, by the size of a batch, of which we
            have not seen the list. ``{1: 0.02, 8: 0.16}`` gives λ by size: a step has that of the
            largest size that its batch reaches, or of the smallest.
        transmit: What clients send of a convolution, and the server averages: the ``raw`` weights,
            or ``standardised`` ones, as others describe FedWon. A network computes the same with
            either, but means of them differ.
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
    clipping: PositiveFloat | dict[PositiveInt, PositiveFloat] | None = None
    transmit: Literal["raw", "standardised"] = "raw"
    nf_residual: bool = False
    gamma: PositiveFloat | Literal["auto"] = "auto"

    @model_validator(mode="after")
    def _has_thresholds(self) -> FedWonParameters:
        if self.clipping == {}:
            raise ValueError("clipping {} names no batch size; leave it out for no clipping")
        return self

    def clipping_of(self, batch: int) -> float | None:
        """λ of a step on so many samples; None for no clipping."""
        if not isinstance(self.clipping, dict):
            return self.clipping
        reached = [size for size in self.clipping if size <= batch]
        return self.clipping[max(reached, default=min(self.clipping))]

    def adapt(self, model: nn.Module) -> nn.Module:
        """Removes every normalisation layer and standardises the convolutions' weights."""
        return without_normalisation(model, self.gamma, self.nf_residual)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses what is said of convolutions where there are none, and logs if nothing is left.

        Raises:
            InputError: With the remedy.
        """
        if self.clipping is not None:
            refuse_unclear_outputs(scenario, model, "leaves unclipped")
        if any(isinstance(module, WSConv2d) for module in model.modules()):
            return
        said = {"transmit": self.transmit != "raw", "gamma": self.gamma != "auto"}
        for key in (key for key, is_said in said.items() if is_said):
            raise InputError(
                f"strategy.{key}: {getattr(self, key)!r} is said of two-dimensional convolutions, "
                f"and the model '{scenario.model.name}' has none; leave it out, or use another "
                "model, such as small_cnn"
            )
        removed = any(isinstance(module, Removed) for module in model.modules())
        if self.clipping is None and not removed:
            log.warning(
                "fedwon is fedavg on the model '%s', which has neither normalisation layers to "
                "remove nor two-dimensional convolutions to standardise",
                scenario.model.name,
            )


class FedWon(Strategy[FedWonParameters]):
    """FedAvg over weights, biases and gains: there are no buffers left to average."""

    def initialise(self, model: Tensors) -> None:
        """Starts with the initial model, in the form in which clients send theirs."""
        super().initialise(model)
        if self.parameters.transmit == "standardised":
            self.state["arrays"] = standardised_kernels(self.model, self.state["arrays"])
