"""Strategies that send prototypes: one or several features that represent a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Form, Free, Layout
from fedlab.models.finch import cluster_labels, cluster_means, of_each_class
from fedlab.models.head import find_head
from fedlab.records import Tensors, tensor_bytes
from fedlab.strategies.base import ServerSettings, Strategy
from fedlab.strategies.families.requirements import refuse_without_features
from fedlab.strategies.parameters import P, StrategyParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class PrototypesParameters(StrategyParameters):
    """Parameters of a method that compares features with prototypes."""

    targets: ClassVar[frozenset[str]] = ONLY_CLASS  # prototypes are means of a class

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a network without features, where samples themselves would be sent."""
        refuse_without_features(scenario, model)


class Prototypes(Strategy[P]):
    """A state with prototypes, once clients have sent some; each prototype is a row.

    A class that no client sent in a round keeps its prototypes.
    """

    needs_only_mean = False

    def __init__(
        self,
        model: nn.Module,
        parameters: P | None = None,
        settings: ServerSettings | None = None,
    ) -> None:
        super().__init__(model, parameters, settings)
        self.head = find_head(model)

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """The model and, once there are some, the prototypes; the state may hold a clock, too."""
        names = ("arrays", "prototypes")
        return {record: self.state[record] for record in names if record in self.state}

    def renewed(self, fresh: Tensors) -> Tensors:
        """All prototypes; those of a class with new ones are replaced.

        Args:
            fresh: ``classes`` of shape (rows,) and ``features`` of shape (rows, features).
        """
        known = self.state.get("prototypes")
        if known is None:
            return fresh
        old = ~torch.isin(known["classes"], fresh["classes"])
        classes, order = torch.cat([known["classes"][old], fresh["classes"]]).sort(stable=True)
        features = torch.cat([known["features"][old], fresh["features"]])
        return {"classes": classes, "features": features[order]}


class ClusterPrototypes(Prototypes[P]):
    """The mean of the models, and the cluster means of the clients' prototypes of each class."""

    rows_of_class: ClassVar[int] = 1
    """Most prototypes of a class that a client sends."""

    def upload_bytes(self, down: int) -> int:
        """The model, and a class and a prototype for each of all rows; an upper bound."""
        model = tensor_bytes(self.state["arrays"])
        if self.head is None:
            return model
        row = self.head.features * torch.float32.itemsize + torch.int64.itemsize
        return model + self.head.layer.out_features * self.rows_of_class * row

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The model, and the prototypes of the classes that a client has."""
        if self.head is None:
            return down
        classes = self.head.layer.out_features
        rows = Free("rows", classes * self.rows_of_class)
        return {
            "arrays": down["arrays"],
            "prototypes": {
                "classes": Form(
                    "int64", (rows,), low=0, high=classes - 1, distinct=self.rows_of_class == 1
                ),
                "features": Form("float32", (rows, self.head.features)),
            },
        }

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Averages the models, and clusters the prototypes of each class."""
        fresh = clustered([dict(update.arrays["prototypes"]) for update in updates])
        self.state = {
            "arrays": self.weighted_mean(updates, "arrays"),
            "prototypes": self.renewed(fresh),
        }


def clustered(sent: Sequence[Tensors]) -> Tensors:
    """The cluster means of the prototypes of each class, all weighted equally.

    Args:
        sent: From each client ``classes`` of shape (rows,) and ``features`` of shape (rows,
            features).

    Returns:
        ``classes``, ascending, with a row for each cluster, and ``features``.
    """
    labels = torch.cat([record["classes"] for record in sent])
    features = torch.cat([record["features"] for record in sent])

    def means(points: torch.Tensor) -> torch.Tensor:
        points = points.double()
        return cluster_means(points, cluster_labels(points))

    return of_each_class(labels, features, means)
