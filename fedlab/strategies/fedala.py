"""FedALA, strategy: clients mix the average into their own last model, entry by entry.

FedALA: Adaptive Local Aggregation for Personalized Federated Learning, Zhang, Hua, Wang, Song, Xue,
Ma, Guan, AAAI 2023, arXiv 2212.01197. Authors' code: TsingZ0/FedALA and TsingZ0/PFLlib.

Up: the whole model. Down: the whole model. Stays: the last layers of the client's last model, and
the weights by which they are mixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat, PositiveInt
from torch import nn

from fedlab.config.ranges import Range, Values
from fedlab.errors import InputError
from fedlab.federation.record_layout import METRICS
from fedlab.models.anatomy import anatomy_of
from fedlab.models.blocks import last_parts
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.local_head import refuse_unknown_layers
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedALAParameters(StrategyParameters):
    """FedALA's parameters; defaults are those of the authors' code.

    Attributes:
        layers: Layers at the end of the network that are mixed; all others are those of
            the received model, also running statistics. The authors count the weight and bias of
            the last one, 2.
        eta: η, learning rate of the weights.
        share: Share of the client's samples that a pass over the weights reads, drawn anew in every
            round (authors: a stretch of the samples as they are stored).
        threshold: In the client's first mixing, passes go on until the standard deviation of the
            last losses is below this. Later there is one pass in a round.
        window: Number of these losses.
        most_passes: Passes after which the first mixing ends in any case; the authors have no end.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "eta": Values((0.1, 1.0, 10.0)),
        "layers": Values((1, 2, 3)),
    }
    name: str = "fedala"
    layers: PositiveInt = 1
    eta: PositiveFloat = 1.0
    share: float = Field(default=0.8, gt=0, le=1)
    threshold: PositiveFloat = 0.1
    window: PositiveInt = 10
    most_passes: PositiveInt = 100

    def mixed(self, model: nn.Module) -> tuple[str, ...]:
        """Names of the parameters that are mixed."""
        last = set(last_parts(model, self.layers))
        return tuple(name for name in anatomy_of(model).learning if name in last)

    def client_model(self, server: Tensors, kept: Mapping[str, Tensors]) -> Tensors:
        """The server's last layers mixed into the client's; empty before its first mixing."""
        weights, old = kept.get("weights", {}), kept.get("last", {})
        return {n: old[n] + (server[n] - old[n]) * weight for n, weight in weights.items()}

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses layers without trainable parameters, and unknown ones.

        Raises:
            InputError: With the remedy.
        """
        refuse_unknown_layers(scenario, model, self.layers, "mixes")
        if not self.mixed(model):
            raise InputError(
                f"strategy.layers: fedala mixes the last {self.layers} layer(s), and in the model "
                f"'{scenario.model.name}' none of these learns; choose more layers"
            )


class FedALA(Strategy[FedALAParameters]):
    """Averages as FedAvg does; clients mix the average into their own models."""

    metrics = METRICS | {"mixing_passes"}

    @property
    def has_global_model(self) -> bool:
        """No: clients test what they mix, and the global model is what FedAvg gives."""
        return False
