"""FedProto, strategy: averages class prototypes; no model travels.

FedProto: Federated Prototype Learning across Heterogeneous Clients, Tan, Long, Liu, Zhou, Lu,
Jiang, Zhang, AAAI 2022, arXiv 2105.00243. Authors' code: yuetan031/FedProto.

Up: for each class the client has, the mean of its features and the number of samples behind it.
Down: the global prototype of each class that any client has. Stays: the whole model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import NonNegativeFloat
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Form, Free, Layout
from fedlab.models.anatomy import anatomy_of
from fedlab.models.head import find_head
from fedlab.models.norms import NormPolicy
from fedlab.records import Tensors
from fedlab.strategies.families.prototypes import Prototypes, PrototypesParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedProtoParameters(PrototypesParameters):
    """FedProto's parameters.

    Attributes:
        lam: Weight λ of the distance between local and global prototypes. The paper's best values
            are 1 on MNIST and FEMNIST and 0.1 on CIFAR-10.
        distance: ``samples`` is the mean squared difference between each sample's features and
            its class's global prototype, over samples and features, as in the authors' code;
            ``classes`` is the paper's formula (equations 7 and 8): squared distances between the
            mean features of a batch's classes and their global prototypes, summed over classes
            and features. The default is the code's, and so is the scale of λ: the paper's term, a
            sum in the place of a mean, is up to features times classes as large, and wants a
            smaller λ.
        prediction: What a client is tested with: the ``head`` of its model, or the nearest of the
            global ``prototypes``, which then go down for tests, too; outputs are squared distances
            to them, less one that all classes share. A class without prototype is never predicted,
            and its samples have a loss beyond all measure.
        weighting: ``examples`` weighs clients by their samples of the class (equation 6, without
            its further division by the number of clients, with which it would be no mean);
            ``uniform`` does not, as in the authors' code.
    """

    space: ClassVar[Mapping[str, Range]] = {"lam": LogUniform(0.1, 10.0)}
    name: str = "fedproto"
    lam: NonNegativeFloat = 1.0
    distance: Literal["samples", "classes"] = "samples"
    prediction: Literal["head", "prototypes"] = "head"

    def local_parameter_names(self, model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
        """Every tensor."""
        return anatomy_of(model).moving

    @property
    def tests_more_than_the_model(self) -> bool:
        """Prototypes, where clients predict by them."""
        return self.prediction == "prototypes"

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a network without features: the samples themselves would be averaged and sent.

        Raises:
            InputError: Also if its head has no place for distances to prototypes.
        """
        head = find_head(model)
        if self.prediction == "prototypes" and head is not None and head.layer.bias is None:
            raise InputError(
                "strategy.prediction: 'prototypes' puts distances into weight and bias of the last "
                f"dense layer, and that of the model '{scenario.model.name}' has no bias; use a "
                "layer with one, or prediction: head"
            )
        super().check(scenario, model)

    def check_networks(self, models: Sequence[nn.Module]) -> None:
        """Refuses networks whose features have different sizes.

        Raises:
            InputError: With the sizes.
        """
        heads = [find_head(model) for model in models]
        sizes = [head.features for head in heads if head is not None]
        if len(set(sizes)) > 1:
            raise InputError(
                "model.per_client: fedproto averages the features of all clients, what the last "
                f"dense layer is given, and those of the networks are {sizes} numbers; choose "
                "widths such that all are the same"
            )


class FedProto(Prototypes[FedProtoParameters]):
    """The mean of every class's prototypes; a class that no client sent keeps its last one."""

    asks_for_means = False

    def upload_bytes(self, down: int) -> int:
        """A mean, a class and a count for each of all classes; an upper bound."""
        if self.head is None:
            return down
        each = self.head.features * torch.float32.itemsize + 2 * torch.int64.itemsize
        return self.head.layer.out_features * each

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The prototypes of the classes that a client has."""
        if self.head is None:
            return down
        classes = Free("classes", self.head.layer.out_features)
        return {
            "prototypes": {
                "classes": Form("int64", (classes,), low=0, high=classes.most - 1, distinct=True),
                "counts": Form("int64", (classes,), low=1, counts=True),
                "features": Form("float32", (classes, self.head.features)),
            }
        }

    def sent_to_test(self, server_round: int) -> dict[str, Tensors]:
        """The global prototypes, where clients predict by them."""
        if self.parameters.prediction == "prototypes":
            return self.broadcast(server_round)
        return super().sent_to_test(server_round)

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Means over the clients that have a class (equation 6), in float64."""
        sent = [dict(update.arrays["prototypes"]) for update in updates]
        fresh = _means(sent, by_count=self.parameters.weighting == "examples")
        self.state["prototypes"] = self.renewed(fresh)


def _means(sent: Sequence[Tensors], by_count: bool) -> Tensors:
    """The mean prototype of each class that occurs, in the order of classes.

    Args:
        sent: From each client ``classes`` of shape (k,), ``counts`` of shape (k,) and ``features``
            of shape (k, features).
        by_count: Whether clients count by their samples of the class.

    Returns:
        ``classes`` and ``features``.
    """
    features = torch.cat([record["features"] for record in sent])
    counts = torch.cat([record["counts"] for record in sent]).double()
    weights = counts if by_count else torch.ones_like(counts)
    labels = torch.cat([record["classes"] for record in sent])
    classes, place = labels.unique(return_inverse=True)
    sums = features.new_zeros(len(classes), features.shape[1], dtype=torch.float64)
    sums.index_add_(0, place, weights[:, None] * features)
    total = weights.new_zeros(len(classes)).index_add_(0, place, weights)
    return {"classes": classes, "features": (sums / total[:, None]).to(features.dtype)}
