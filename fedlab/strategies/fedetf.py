"""FedETF, strategy: all clients learn features for one classifier that is fixed from the start.

No Fear of Classifier Biases: Neural Collapse Inspired Federated Learning with Synthetic and Fixed
Classifier, Li, Shang, He, Lin, Wu, ICCV 2023, arXiv 2303.10058. Authors' code:
ZexiLee/ICCV-2023-FedETF.

Up: the whole model without the classifier's vectors. Down: the same. Stays: the classifier's
vectors, which every process draws from the scenario's seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveFloat, PositiveInt
from torch import nn

from fedlab.config.ranges import Range, Values
from fedlab.errors import InputError
from fedlab.models.etf import SimplexETF
from fedlab.models.head import find_head, why_no_head
from fedlab.models.surgery import replace_modules
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.requirements import refuse_other_losses
from fedlab.strategies.parameters import StrategyParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedETFParameters(StrategyParameters):
    """FedETF's parameters.

    Attributes:
        width: d, outputs of the dense layer between features and classifier; by default the number
            of classes, as in the authors' code, and not less.
        scale: β at the start; it learns, and is averaged. With C classes the loss cannot fall below
            ln(1 + (C-1) e^(-βC/(C-1))).
    """

    targets: ClassVar[frozenset[str]] = ONLY_CLASS  # its vectors are those of classes
    space: ClassVar[Mapping[str, Range]] = {"scale": Values((1.0, 4.0, 16.0))}
    name: str = "fedetf"
    width: PositiveInt | None = None
    scale: PositiveFloat = 1.0

    def adapt(self, model: nn.Module) -> nn.Module:
        """Replaces the last dense layer by a dense layer and the fixed classifier.

        Raises:
            InputError: If the width is below the number of classes.
        """
        head = find_head(model)
        if head is None:
            return model
        classes = head.layer.out_features
        width = self.width or classes
        if width < classes:
            raise InputError(
                f"strategy.width: {width} dimensions have no room for the {classes} orthogonal "
                f"vectors that the classifier is made of; use at least {classes}"
            )
        layers = nn.Linear(head.features, width), SimplexETF(width, classes, self.scale)
        new = nn.Sequential(*layers)
        return replace_modules(model, lambda module: new if module is head.layer else module)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses networks without a classifier to replace, and losses that would be ignored.

        Raises:
            InputError: With the remedy.
        """
        if not any(isinstance(module, SimplexETF) for module in model.modules()):
            raise InputError(
                f"strategy.name: fedetf replaces the last dense layer, and the model "
                f"'{scenario.model.name}' {why_no_head(model)}"
            )
        refuse_other_losses(scenario)


class FedETF(Strategy[FedETFParameters]):
    """Averages all trainable tensors as FedAvg does; the classifier is the same everywhere."""
