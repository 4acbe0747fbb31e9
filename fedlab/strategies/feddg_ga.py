"""FedDG-GA, strategy: weights clients by how much worse the mean model is for them than their own.

Federated Domain Generalization with Generalization Adjustment, Zhang et al., CVPR 2023.
Authors' code: MediaBrain-SJTU/FedDG-GA; the formula as in VectorInstitute/FL4Health, by whose
numbers it is tested. Its benchmark, PACS, is Li, Yang, Song, Hospedales, arXiv 1710.03077.

Up: the whole model, and two losses on the client's validation samples: of the model that came down,
and of the one that it has trained. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveFloat
from torch import nn

from fedlab.config.ranges import Range, Values
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import METRICS
from fedlab.federation.weighted_mean import weighted_mean
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.client_table import client_table, column_of
from fedlab.strategies.parameters import (
    VALIDATION_RECEIVED,
    VALIDATION_TRAINED,
    ClientsCount,
    StrategyParameters,
)

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedDGGAParameters(StrategyParameters):
    """FedDG-GA's parameters.

    Attributes:
        step: d, by which weights move at most in the first round; it falls to zero in the last.
        centred: Whether the mean gap is taken off the gaps before they are divided by the largest;
            otherwise it is not, and steps are divided by the number of clients, as in the authors'
            code.
    """

    reports_validation: ClassVar[bool] = True
    space: ClassVar[Mapping[str, Range]] = {"step": Values((0.05, 0.1, 0.2, 0.5))}
    why_unheeded: ClassVar[str] = "clients of feddg_ga count by their gaps"
    name: str = "feddg_ga"
    step: PositiveFloat = 0.2
    centred: bool = True

    @property
    def clients_count(self) -> ClientsCount:
        """``rule``: by their generalisation gaps."""
        return "rule"

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses scenarios without validation samples, or in which not all clients train.

        Raises:
            InputError: With the remedy.
        """
        if scenario.evaluation.validation is None:
            raise InputError(
                "strategy.name: feddg_ga weighs clients by losses on validation samples, and "
                "none are set aside; add evaluation.validation=0.2"
            )
        if scenario.participation.fraction < 1:
            raise InputError(
                f"participation.fraction: feddg_ga compares all clients in every round, and "
                f"{scenario.participation.fraction:g} of them train; use 1, or another strategy"
            )


class FedDGGA(Strategy[FedDGGAParameters]):
    """w = Σ a_i θ_i, a_i ← clip(a_i + d_r G_i, 0, 1), divided by their sum.

    G_i is what client i loses by the mean of a round: the loss of w less that of θ_i, less the mean
    over clients, divided by the largest. The loss of w comes up with the next round's update, in
    time for the mean of that round. Client i keeps its weight where either loss is missing, and all
    clients do where their new weights would all be 0 (a large `step` without `centred`).
    """

    metrics = METRICS | {VALIDATION_RECEIVED, VALIDATION_TRAINED}
    asks_for_means = False

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Adjusts the weights by the gaps of the round before, and averages."""
        known = self.state.get("adjustment", {})
        weights = column_of(known, "weights")
        trained = column_of(known, "trained")
        start = 1 / max(self.population, 1)
        weights = {u.client: start for u in updates} | weights
        gaps = {
            u.client: float(u.metrics[VALIDATION_RECEIVED]) - trained[u.client]
            for u in updates
            if u.client in trained and VALIDATION_RECEIVED in u.metrics
        }
        if gaps:
            weights = self.adjusted(server_round - 1, weights, gaps)
        trained = {
            u.client: float(u.metrics[VALIDATION_TRAINED])
            for u in updates
            if VALIDATION_TRAINED in u.metrics
        }
        self.weights = weights
        self.state = {
            "arrays": self.weighted_mean(updates, "arrays"),
            "adjustment": client_table(weights=weights, trained=trained),
        }

    def adjusted(
        self, server_round: int, weights: Mapping[int, float], gaps: Mapping[int, float]
    ) -> dict[int, float]:
        """The weights after a round.

        Args:
            server_round: The round, from 1.
            weights: Every client's weight.
            gaps: Loss of the mean less loss of the own model, of each client that has both.
        """
        own, rounds = self.parameters, max(self.rounds, 1)
        step = own.step * (1 - (server_round - 1) / rounds)
        middle = sum(gaps.values()) / len(gaps) if own.centred else 0.0
        largest = max(abs(gap - middle) for gap in gaps.values())
        scale = step / largest if largest else 0.0
        scale = scale if own.centred else scale / len(gaps)
        moved = {
            client: min(max(weight + scale * (gaps.get(client, middle) - middle), 0.0), 1.0)
            for client, weight in weights.items()
        }
        total = sum(moved.values())
        if not total:  # without `centred`, all gaps may be negative
            return dict(weights)
        return {client: weight / total for client, weight in moved.items()}

    def weighted_mean(self, updates: Sequence[ClientUpdate], record: str) -> Tensors:
        """The mean by the adjusted weights; by examples, where those of all clients are 0."""
        sent = [dict(update.arrays[record]) for update in updates]
        weights = [self.weights[u.client] if self.weight(u) > 0 else 0.0 for u in updates]
        if not sum(weights):
            return super().weighted_mean(updates, record)
        return weighted_mean(sent, weights, self.anatomy.kept_whole)
