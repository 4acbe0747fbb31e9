"""F2DC, strategy: features are divided into robust and domain-related ones, which are calibrated.

Federated domain-skew learning by feature decoupling and calibration, CVPR 2026, arXiv 2603.14238.
Authors' code: mala-lab/F2DC.

The paper weighs clients by a rule for domains (equations 10 and 11), and the authors' code by their
examples: it reads the rule's α and β, and uses neither. The default is the code's form. The rule
needs the number of domains, which neither updates nor devices tell a server, and is written here in
the form of a third party's reproduction, for classes that are balanced; ``domains`` turns it on.

Up: the network without the modules that divide and calibrate. Down: the same. Stays: these modules,
and the auxiliary head; with ``modules: shared`` they travel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.weighted_mean import weighted_mean
from fedlab.models.anatomy import anatomy_of
from fedlab.models.feature_split import find_split, split_before_pooling
from fedlab.models.norms import NormPolicy
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import ClientsCount, StrategyParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class F2DCParameters(StrategyParameters):
    """F2DC's parameters.

    In tests there is no noise on the mask; the authors' code leaves it on, so that its accuracies
    are random. It trains F2DC with another optimiser than its baselines, plain SGD with 0.1.

    Attributes:
        modules: ``local`` keeps both modules and the auxiliary head on the client, so that there is
            no global model; ``shared`` averages them with the rest, as the authors' code does.
        split: λ₁, weight of the terms that divide features.
        calibration: λ₂, weight of the term that calibrates the domain-related part.
        tau: τ, by which the cosine of the two parts is divided.
        sigma: σ, temperature of the mask.
        width: Channels within the modules.
        domains: Q, the number of domains, with which clients count by the paper's rule,
            sigmoid(α n_k/N - β d_k), d_k = √(C/2) |n_k/N - 1/Q|: a form for balanced classes and
            clients of one domain each. null counts them by their examples, as the authors' code
            does, which lacks the rule.
        alpha: α of that rule.
        beta: β of that rule.
    """

    targets: ClassVar[frozenset[str]] = ONLY_CLASS  # its parts are judged by class
    space: ClassVar[Mapping[str, Range]] = {
        "split": LogUniform(0.08, 8.0),
        "calibration": LogUniform(0.1, 10.0),
    }
    name: str = "f2dc"
    modules: Literal["local", "shared"] = "local"
    split: NonNegativeFloat = 0.8
    calibration: NonNegativeFloat = 1.0
    tau: PositiveFloat = 0.06
    sigma: PositiveFloat = 0.1
    width: PositiveInt = 50
    domains: PositiveInt | None = None
    alpha: float = 1.0
    beta: float = 0.4

    @model_validator(mode="after")
    def _counts_in_one_way(self) -> F2DCParameters:
        if self.domains is not None and self.weighting != "examples":
            raise ValueError(
                f"domains has a rule for clients' weights, and weighting says '{self.weighting}'; "
                "leave one of them out"
            )
        return self

    def without_effect(self) -> Mapping[str, str]:
        """The parameters of the rule for clients' weights, where `domains` does not ask for it."""
        if self.domains is not None:
            return {}
        return dict.fromkeys(("alpha", "beta"), "the rule it belongs to needs domains")

    @property
    def clients_count(self) -> ClientsCount:
        """``rule`` where `domains` is given."""
        return self.weighting if self.domains is None else "rule"

    def adapt(self, model: nn.Module) -> nn.Module:
        """Inserts the modules before the last pooling."""
        return split_before_pooling(model, self.width, self.sigma)

    def local_parameter_names(self, model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
        """The tensors of the modules and the auxiliary head, unless they are shared."""
        found = find_split(model)
        if found is None or self.modules == "shared":
            return super().local_parameter_names(model, policy)
        own = [name for name in model.state_dict() if name.startswith(f"{found[0]}.")]
        return anatomy_of(model).among(own)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses networks whose head does not read a pooled feature map."""
        if find_split(model) is None:
            raise InputError(
                "strategy.name: f2dc divides the feature map that is pooled for the head, and the "
                f"model '{scenario.model.name}' has no adaptive average pooling "
                "(torch.nn.AdaptiveAvgPool2d) right before its head; choose a model such as "
                "resnet10 or small_cnn"
            )


class F2DC(Strategy[F2DCParameters]):
    """The mean of what clients share."""

    def weighted_mean(self, updates: Sequence[ClientUpdate], record: str) -> Tensors:
        """By examples, or by the rule for domains."""
        if self.parameters.domains is None:
            return super().weighted_mean(updates, record)
        sent = [dict(update.arrays[record]) for update in updates]
        return weighted_mean(sent, self.domain_weights(updates), self.anatomy.kept_whole)

    def domain_weights(self, updates: Sequence[ClientUpdate]) -> list[float]:
        """sigmoid(α n_k/N - β d_k) of each client, not divided by their sum; 0 without examples."""
        own, domains = self.parameters, self.parameters.domains or 1
        total = sum(update.examples for update in updates)
        found = find_split(self.model)
        classes = found[1].auxiliary.out_features if found else 2
        weights = []
        for update in updates:
            share = update.examples / total
            distance = math.sqrt(classes / 2) * abs(share - 1 / domains)
            weight = 1 / (1 + math.exp(own.beta * distance - own.alpha * share))
            weights.append(weight if update.examples else 0.0)
        return weights
