"""FRAug, strategy: averages the classifier and the generator of synthetic representations.

FRAug: Tackling Federated Learning with Non-IID Features via Representation Augmentation, Chen,
Frikha, Krompass, Gu, Tresp, ICCV 2023, arXiv 2205.14900. All formulas and defaults here follow
the authors' code (HaokunChen245/FRAug), not the text of the paper. Two things differ from that
code: generator and RTNet learn by plain SGD, there with momentum 0.5, and the network's optimiser
starts anew in every round, as for every method here.

Up: the network without running statistics, the generator. Down: the same. Stays: running
statistics, the transformation network (RTNet), the class means; if the scenario says so, the
generator's normalisation layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn

from fedlab import rng
from fedlab.config.ranges import LogUniform, Range, Uniform
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.models.distances import DistanceName
from fedlab.models.fraug_networks import Generator, RTNet
from fedlab.models.head import Head, find_head, why_no_head
from fedlab.models.layers import learning
from fedlab.models.norms import NormPolicy, shared_names
from fedlab.records import Tensors
from fedlab.strategies.base import ServerSettings, Strategy
from fedlab.strategies.parameters import StrategyParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FRAugParameters(StrategyParameters):
    """FRAug's parameters; defaults are those of the authors' code for PACS.

    For OfficeHome it has `rtnet_distance` ``mmd``, weights of the distances from 0 to 1.5,
    `lr_rtnet` 0.025 and `share_generator` ``without_norm``. For digits (the scenario
    ``fraug_digits``) it has `gamma` 0.002, no interpolation, `generator_distance` ``l2`` of weight
    1, and `rtnet_distance` ``mmd`` of weight 0.1 to 10.

    Attributes:
        latent: Length of a noise vector and width of RTNet's hidden layer; by default half the
            number of features.
        noise: Distribution of the noise: uniform on [0, 1) as in the authors' code, or a standard
            normal.
        schedule: The ratio r of round t = 0, 1, ... of T: ``exponential`` is
            exp(gamma (t - T)), ``inverse`` 1 - 1 / (gamma t + 1), ``constant`` 0.5.
        gamma: The schedule's rate, which ``constant`` has not; by default 3 / T, which is the
            authors' 0.01 in 300 rounds.
        interpolate: Whether a synthetic representation x with anchor a becomes r x + (1 - r) a.
        memory_rate: Weight of a batch in the class means.
        lr_generator: The generator's learning rate (plain SGD).
        lr_rtnet: RTNet's learning rate (plain SGD).
        generator_distance: The distance that the generator maximises: ``l2`` from the client's
            class means, ``mmd`` and ``mean_cov`` from its representations.
        lambda_generator: Weight of that distance.
        rtnet_distance: The distance from their anchors that RTNet's representations minimise.
        lambda_rtnet: Weight of that distance.
        share_generator: Whether the generator's normalisation layers are averaged as well.
        criterion: What RTNet makes large: the ``entropy`` of the head's predictions, or, with
            ``non_saturating``, the probability of all classes but the wanted one: it minimises
            -Σ_c t_c log(1 - p_c), t the label smoothed by 0.1. Both are in the authors' code.
        first_round: First round with synthetic representations; in earlier ones generator and
            RTNet do not learn either, and only class means are gathered.
        unseen_classes: Whether synthetic samples ``skip`` classes that were in none of the
            client's batches yet, or ``use`` them, with a class mean of zeros, as in the authors'
            code.
    """

    targets: ClassVar[frozenset[str]] = ONLY_CLASS  # its generators make features of a class
    space: ClassVar[Mapping[str, Range]] = {
        "lambda_generator": LogUniform(0.1, 10.0),
        "lambda_rtnet": LogUniform(0.1, 10.0),
        "memory_rate": Uniform(0.1, 0.9),
    }
    name: str = "fraug"
    latent: PositiveInt | None = None
    noise: Literal["uniform", "normal"] = "uniform"
    schedule: Literal["exponential", "inverse", "constant"] = "exponential"
    gamma: PositiveFloat | None = None
    interpolate: bool = True
    memory_rate: float = Field(default=0.3, gt=0, le=1)
    lr_generator: PositiveFloat = 0.05
    lr_rtnet: PositiveFloat = 0.05
    generator_distance: DistanceName = "mmd"
    lambda_generator: NonNegativeFloat = 10.0
    rtnet_distance: DistanceName = "l2"
    lambda_rtnet: NonNegativeFloat = 1.0
    share_generator: Literal["all", "without_norm"] = "all"
    criterion: Literal["entropy", "non_saturating"] = "entropy"
    first_round: PositiveInt = 1
    unseen_classes: Literal["skip", "use"] = "skip"

    def without_effect(self) -> Mapping[str, str]:
        """The rate of a constant ratio."""
        return {"gamma": "schedule is 'constant'"} if self.schedule == "constant" else {}

    def ratio(self, server_round: int, rounds: int) -> float:
        """The ratio r of round `server_round` (from 1) of `rounds`."""
        t, gamma = server_round - 1, self.gamma or 3 / rounds
        if self.schedule == "exponential":
            return math.exp(gamma * (t - rounds))
        return 0.5 if self.schedule == "constant" else 1 - 1 / (gamma * t + 1)

    def latent_of(self, head: Head) -> int:
        """Length of the noise vector of one representation."""
        return self.latent or max(1, head.features // 2)

    def generator(self, head: Head) -> Generator:
        """A generator of the head's inputs."""
        return Generator(self.latent_of(head), head.layer.out_features, head.features)

    def rtnet(self, head: Head) -> RTNet:
        """A transformation network for the head's inputs."""
        return RTNet(self.latent_of(head), head.layer.out_features, head.features)

    def shared_of(self, generator: Generator) -> tuple[str, ...]:
        """Names of the generator's tensors that travel."""
        norm = self.share_generator == "without_norm"
        return shared_names(generator, NormPolicy.LOCAL_ALL if norm else NormPolicy.SHARE_ALL)

    def trained_beside(self, model: nn.Module) -> int:
        """Those of the generator and of the transformation network."""
        head = cast(Head, find_head(model))
        with torch.device("meta"):  # initialisation there draws no random numbers
            return learning(self.generator(head)) + learning(self.rtnet(head))

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses networks without representations, and what leaves nothing to be synthesised."""
        if find_head(model) is None:
            raise InputError(
                f"strategy.name: fraug makes representations for a dense layer at the end, and the "
                f"model '{scenario.model.name}' {why_no_head(model)}"
            )
        if scenario.training.batch_size == 1:
            raise InputError(
                "training.batch_size: fraug's generator normalises over a batch, which takes two "
                "samples, not 1; use 2 or more"
            )
        if self.first_round > scenario.rounds:
            raise InputError(
                f"strategy.first_round: {self.first_round} of {scenario.rounds} rounds would never "
                "come, so that there would be no synthetic representations; use at most "
                f"{scenario.rounds}, or strategy.name=silobn"
            )


class FRAug(Strategy[FRAugParameters]):
    """The mean of classifiers and the mean of generators."""

    norm_policy = NormPolicy.SHARE_AFFINE

    def __init__(
        self,
        model: nn.Module,
        parameters: FRAugParameters | None = None,
        settings: ServerSettings | None = None,
    ) -> None:
        super().__init__(model, parameters, settings)
        self.head = cast(Head, find_head(model))

    def initialise(self, model: Tensors) -> None:
        """Starts from the initial model and a generator drawn from the scenario's seed."""
        super().initialise(model)
        method = self.parameters
        with rng.torch_seed(self.settings.seed, "generator"):
            generator = method.generator(self.head)
        values = generator.state_dict()
        self.state["generator"] = {name: values[name] for name in method.shared_of(generator)}

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """The shared part of the model, and of the generator."""
        return {record: self.state[record] for record in ("arrays", "generator")}

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Averages both."""
        self.state = {
            record: self.weighted_mean(updates, record) for record in ("arrays", "generator")
        }
