"""Ditto, strategy: FedAvg; each client also trains a personal model, regularised towards it.

Ditto: Fair and Robust Federated Learning Through Personalization, Li, Hu, Beirami, Smith, ICML
2021, arXiv 2012.04221. Authors' code: litian96/ditto.

Up: the global model, trained. Down: the global model. Stays: the personal model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveInt
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.errors import InputError
from fedlab.models.layers import learning
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters


class DittoParameters(StrategyParameters):
    """Ditto's parameters.

    Attributes:
        lam: Weight λ of the distance between a personal model and the global one; 0 is local
            training. The authors' code chooses among 0.1, 1 and 2.
        personal_epochs: Passes that train the personal model; by default as long as the global one
            is trained (``training.local_epochs`` or ``local_steps``).
        personal_steps: Steps instead of passes.
    """

    space: ClassVar[Mapping[str, Range]] = {"lam": LogUniform(0.01, 10.0)}
    name: str = "ditto"
    lam: NonNegativeFloat = 1.0
    personal_epochs: PositiveInt | None = None
    personal_steps: PositiveInt | None = None

    def without_effect(self) -> Mapping[str, str]:
        """Passes, where steps say how long the personal model is trained."""
        if self.personal_steps is None:
            return {}
        return {"personal_epochs": f"personal_steps {self.personal_steps} is instead of passes"}

    def client_model(self, server: Tensors, kept: Mapping[str, Tensors]) -> Tensors:
        """The personal model.

        Raises:
            InputError: If the client has not trained: its personal model is the initial one, and
                never the server's.
        """
        if "model" not in kept:
            raise InputError(
                "it has not trained, and its personal model is the network that training starts "
                "from, which is not kept with the run; ask for a client that has trained, or for "
                "the server's tensors, without a client"
            )
        return dict(kept["model"])

    def trained_beside(self, model: nn.Module) -> int:
        """Those of the personal model."""
        return learning(model)


class Ditto(Strategy[DittoParameters]):
    """Averages the global models; the personal ones stay with the clients."""

    @property
    def has_global_model(self) -> bool:
        """No: clients test their personal models, and the global one is what FedAvg gives."""
        return False
