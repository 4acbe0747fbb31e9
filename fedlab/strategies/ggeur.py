"""GGEUR, strategy: augments clients' features by global class covariances, before a base method.

Geometric Knowledge-Guided Localized Global Distribution Alignment for Federated Learning, Ma, Dai,
Huang, Chen, CVPR 2025, arXiv 2503.06457.

Before the first round clients send, once, the count, mean and covariance of each class of their
features; the server pools them exactly and answers with the eigen-pairs of every class's global
covariance. Clients draw new features along them, and the `base` method trains on real and new
features together.

Up, once: for each class a count, a mean and a covariance (upper triangle, or a factor of low rank).
Down, once: the eigen-pairs of each class, and the other clients' class means.
Every round: what the base sends. Stays: the new features, and what the base keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import nn

from fedlab.config.ranges import Range, Values
from fedlab.errors import InputError, RunError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Form, Free, Layout
from fedlab.federation.round_strategy import Ask
from fedlab.models.eigenspace import Geometry, Moments, unpack
from fedlab.records import Tensors
from fedlab.strategies.base import ServerSettings
from fedlab.strategies.families.in_front import InFront, InFrontParameters
from fedlab.strategies.families.requirements import refuse_images
from fedlab.strategies.fedwon import FedWonParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class GGEURParameters(InFrontParameters):
    """GGEUR's parameters; those of rounds are the base's.

    For a class with a single sample over all clients, every draw equals that sample; for a class
    whose moments no client sends, there are no draws. A client without labels sends nothing and,
    with prototypes, trains on draws alone. Draws make epochs longer: to compare methods by rounds,
    set the same ``training.local_steps`` for all of them.

    The sent moments are not private. The mean of a class with one sample is that sample; with few
    samples, mean and covariance come close to the samples, and counts reveal the client's class
    distribution. With `min_class_count`, moments of smaller classes are not sent. `noise` perturbs
    what is sent, without a bound (features are not clipped, so one sample may move a moment by any
    amount): it is not differential privacy. In a simulation it follows from the run's seed, which
    the server knows.

    Attributes:
        prototypes: Whether clients also draw around the class means of all other clients (several
            domains, Algorithm 2), or around their own samples alone (one domain, Algorithm 1).
        per_class: Features of each of a client's classes after draws around its own samples; by
            default the paper's 2000 without and 500 with prototypes.
        per_prototype: Draws around each mean of another client; there are as many means of a
            class as there are clients that sent it.
        scale: Standard deviation of draws along an axis with eigenvalue λ: ``sqrt_eig`` is √λ, so
            that draws have the measured covariance, as in the authors' code; ``eig`` is λ, as in
            the paper's formula, which gives the square of that covariance.
        rank: Eigen-pairs kept of each covariance, up and down; all by default.
        min_class_count: Smallest number of samples of a class with which a client sends its
            moments.
        noise: Standard deviation of Gaussian noise on each entry of the means, in units of the
            features, and of the covariances, in their squares.
    """

    targets: ClassVar[frozenset[str]] = (
        ONLY_CLASS  # its prototypes and moments are those of classes
    )
    space: ClassVar[Mapping[str, Range]] = {
        "per_class": Values((100, 500, 2000)),
        "per_prototype": Values((100, 500, 2000)),
    }
    name: str = "ggeur"
    prototypes: bool = True
    per_class: PositiveInt | None = None
    per_prototype: PositiveInt = 500
    scale: Literal["sqrt_eig", "eig"] = "sqrt_eig"
    rank: PositiveInt | None = None
    min_class_count: PositiveInt = 1
    noise: float = Field(default=0.0, ge=0)

    @property
    def filled_to(self) -> int:
        """Number of real and new features of a class, without draws around prototypes."""
        return self.per_class or (500 if self.prototypes else 2000)

    @model_validator(mode="after")
    def _leaves_weighting_to_the_base(self) -> GGEURParameters:
        if self.weighting != "examples":
            raise ValueError(
                f"weighting '{self.weighting}' has no meaning before the first round; write "
                "strategy.base.weighting"
            )
        return self

    def most_examples(self, scenario: Experiment, train: int, phases: int, classes: int) -> int:
        """That of the base, with drawn features counted as samples."""
        around = self.per_prototype * scenario.partition.number_of_clients if self.prototypes else 0
        drawn = classes * (self.filled_to + around)
        return super().most_examples(scenario, train + drawn, phases, classes)

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses images, and bases that would not train on the new features.

        Raises:
            InputError: With the reason and the remedy.
        """
        refuse_images(scenario, model, "draws new features")
        if isinstance(self.base, FedWonParameters):
            raise InputError(
                f"strategy.base: '{self.base.name}' is surgery on convolutions and normalisation, "
                "and a head on features has neither; choose a base such as fedavg or scaffold"
            )
        if self.base_strategy.overrides("before_rounds"):
            raise InputError(
                f"strategy.base: '{self.base.name}' itself asks the clients questions before "
                "the first round; choose a base such as fedavg or scaffold"
            )
        super().check(scenario, model)


class GGEUR(InFront):
    """Exchanges moments and geometry before the first round; all rounds are the base's."""

    Parameters = GGEURParameters

    def __init__(
        self,
        model: nn.Module,
        parameters: GGEURParameters,
        settings: ServerSettings | None = None,
    ) -> None:
        super().__init__(model, parameters, settings)
        self.ggeur = parameters
        dense = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        self.features = dense[0].in_features if dense else 0
        """Number of features of a sample, the inputs of the first dense layer."""
        self.classes = dense[-1].out_features if dense else 0

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The layout of moments (`fedlab.clients.ggeur.moments_record`), or of the base's reply.

        Answers to ``draw`` have no tensors.
        """
        if not question:
            return super().sent_up(down)
        if question != "moments":
            return {}
        classes, size = Free("classes", self.classes), self.features
        rank = self.ggeur.rank
        spread = {"covariances": Form("float32", (classes, size * (size + 1) // 2))}
        if rank is not None:
            spread = {"factors": Form("float32", (classes, size, min(rank, size)))}
        return {
            "moments": {
                "classes": Form("int64", (classes,), low=0, high=self.classes - 1, distinct=True),
                "counts": Form("int64", (classes,), low=1, counts=True),
                "means": Form("float32", (classes, size)),
                **spread,
            }
        }

    def before_rounds(self, ask: Ask) -> None:
        """Gathers the moments, sends the geometry (phase 0 of the paper)."""
        answers = ask("moments", {}, seed=self.settings.seed)
        clouds = pool(answers)
        if not clouds:
            raise RunError(
                "ggeur: no client has strategy.min_class_count "
                f"({self.ggeur.min_class_count}) labelled samples of any class; lower it"
            )
        down = {"geometry": _geometry(clouds, self.ggeur.rank)}
        if self.ggeur.prototypes:
            down["prototypes"] = _prototypes(answers)
        ask("draw", down, seed=self.settings.seed)


def pool(answers: Sequence[ClientUpdate]) -> dict[int, Moments]:
    """The moments of each class over all clients that sent some, in float64."""
    clouds: dict[int, Moments] = {}
    for answer in answers:
        for label, part in moments_of(answer.arrays["moments"]).items():
            clouds[label] = clouds[label].merge(part) if label in clouds else part
    return dict(sorted(clouds.items()))


def moments_of(record: Tensors) -> dict[int, Moments]:
    """What a client sent (`fedlab.clients.ggeur.moments_record`), by class."""
    means = record["means"].double()
    if "factors" in record:
        factors = record["factors"].double()
        covariances = factors @ factors.mT
    else:
        covariances = unpack(record["covariances"].double(), means.shape[1])
    return {
        int(label): Moments(int(count), mean, covariance)
        for label, count, mean, covariance in zip(
            record["classes"], record["counts"], means, covariances, strict=True
        )
    }


def _geometry(clouds: dict[int, Moments], rank: int | None) -> Tensors:
    """The record that goes down: for every class its eigen-pairs, float32."""
    axes = [Geometry.of(cloud.covariance, rank) for cloud in clouds.values()]
    return {
        "classes": torch.tensor(list(clouds)),
        "values": torch.stack([each.values for each in axes]).float(),
        "vectors": torch.stack([each.vectors for each in axes]).float(),
    }


def _prototypes(answers: Sequence[ClientUpdate]) -> Tensors:
    """The record that goes down: client, class and mean of each prototype."""
    records = [answer.arrays["moments"] for answer in answers]
    owners = [
        torch.full_like(record["classes"], answer.client)
        for answer, record in zip(answers, records, strict=True)
    ]
    return {
        "clients": torch.cat(owners),
        "classes": torch.cat([record["classes"] for record in records]),
        "means": torch.cat([record["means"] for record in records]),
    }
