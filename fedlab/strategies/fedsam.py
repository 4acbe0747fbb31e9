"""FedSAM, strategy: FedAvg of networks trained with sharpness-aware minimisation.

Generalized Federated Learning via Sharpness Aware Minimization, Qu, Li, Duan, Liu, Tang, Lu,
ICML 2022, arXiv 2206.02618. MoFedSAM, of the same paper, is `own_share` below 1; its formula was
read in other people's code (woodenchild95/FL-Simulator), not in the paper. Sharpness-aware
minimisation: Foret, Kleiner, Mobahi, Neyshabur, ICLR 2021, arXiv 2010.01412.

Up: the whole model. Down: the whole model; for MoFedSAM also the mean step of the last round.
Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveFloat
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Layout
from fedlab.records import Tensors, tensor_bytes
from fedlab.strategies.families.requirements import refuse_unless_plain_sgd
from fedlab.strategies.families.server_update import ServerStep
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedSAMParameters(StrategyParameters):
    """FedSAM's parameters.

    Attributes:
        rho: ρ, distance from the parameters at which the gradient is taken; commonly 0.05 to 0.5.
        own_share: β, what a client's own gradient counts in its steps; the rest is the mean
            gradient of all clients in the last round, and nothing in the first. 1 is FedSAM; less
            is MoFedSAM, commonly 0.1.
    """

    space: ClassVar[Mapping[str, Range]] = {"rho": LogUniform(0.005, 0.5)}
    name: str = "fedsam"
    rho: PositiveFloat = 0.05
    own_share: float = Field(default=1.0, gt=0, le=1)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses MoFedSAM with local optimisers other than plain SGD."""
        if self.own_share < 1:
            refuse_unless_plain_sgd(scenario)


class FedSAM(ServerStep[FedSAMParameters]):
    """Averages as FedAvg does; MoFedSAM also keeps the mean step, which clients follow."""

    needs_only_mean = True

    @property
    def _goes_on(self) -> bool:
        return self.parameters.own_share < 1

    def initialise(self, model: Tensors) -> None:
        """Sets the model and, for MoFedSAM, a mean step of zeros."""
        super().initialise(model)
        if self._goes_on:
            self.state["step"] = self.filled(0.0)

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """The model, and the last round's mean change in one of its clients' steps."""
        return {record: self.state[record] for record in ("arrays", "step") if record in self.state}

    def upload_bytes(self, down: int) -> int:
        """The model alone comes back."""
        return tensor_bytes(self.state["arrays"])

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The model alone."""
        return {"arrays": down["arrays"]}

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Adopts the mean."""
        average = self.weighted_mean(updates, "arrays")
        state = {"arrays": average}
        if self._goes_on:
            weights = [self.weight(update) for update in updates]
            taken = [
                weight * float(u.metrics["steps"])
                for weight, u in zip(weights, updates, strict=True)
            ]
            steps, change = sum(taken) / sum(weights), self.change(average)
            state["step"] = {name: value / max(steps, 1.0) for name, value in change.items()}
        self.state = state
