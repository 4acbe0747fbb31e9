"""FedRoD, strategy: one network with a generic head for all and a personal head for each client.

On Bridging Generic and Personalized Federated Learning for Image Classification, Chen, Chao, ICLR
2022, arXiv 2107.00778.

Up: the body and the generic head. Down: the same. Stays: the personal head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import nn

from fedlab.errors import InputError
from fedlab.models.anatomy import anatomy_of
from fedlab.models.head import find_head
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.requirements import refuse_other_losses, refuse_without_head
from fedlab.strategies.parameters import StrategyParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedRoDParameters(StrategyParameters):
    """FedRoD's parameters.

    The personal head is a dense layer that learns. (The paper also makes it of the client's class
    shares by a second network, which is not here.)

    Attributes:
        start: A personal head's first values: ``zero``, with which personal and generic prediction
            agree at first, or ``copy``, the generic head as it came down, as in implementations by
            others.
    """

    tests_both: ClassVar[bool] = True
    targets: ClassVar[frozenset[str]] = ONLY_CLASS  # its generic head learns a balanced softmax
    name: str = "fedrod"
    start: Literal["zero", "copy"] = "zero"

    def client_model(self, server: Tensors, kept: Mapping[str, Tensors]) -> Tensors:
        """The personal prediction G(φ) + P(φ): one head with the sum of both heads' weights."""
        return {name: server[name] + own for name, own in kept.get("personal", {}).items()}

    def trained_beside(self, model: nn.Module) -> int:
        """Those of the personal head."""
        head = find_head(model)
        return sum(tensor.numel() for tensor in head.layer.parameters()) if head else 0

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses networks without a trainable head, and losses that would be ignored.

        Raises:
            InputError: With the remedy.
        """
        refuse_without_head(scenario, model, "puts a personal layer beside")
        head = find_head(model)
        if head is not None and not set(head.names) <= set(anatomy_of(model).learning):
            raise InputError(
                f"strategy.name: fedrod trains two heads, and that of the model "
                f"'{scenario.model.name}' is frozen, or tied to another layer; use "
                "strategy.name=fedper, or another model"
            )
        refuse_other_losses(scenario)


class FedRoD(Strategy[FedRoDParameters]):
    """Averages body and generic head; both predictions are tested.

    The server's model, on the domains' test sets, is the generic prediction; clients test their
    personal ones on their own splits.
    """

    @property
    def has_global_model(self) -> bool:
        """No, where clients test their own models; the server's is tested beside them."""
        return False
