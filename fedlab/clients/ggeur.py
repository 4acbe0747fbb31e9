"""GGEUR, client trainer: sends class moments once, then trains on real and drawn features.

See `fedlab.strategies.ggeur` for the paper and what travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fedlab import rng
from fedlab.clients.base import ClientState, ClientTrainer, Received, Update
from fedlab.clients.families.in_front import InFrontTrainer, trainer_of
from fedlab.data.client_data import ClientData
from fedlab.errors import InputError
from fedlab.models.eigenspace import Geometry, Moments, pack
from fedlab.models.head import find_head
from fedlab.records import Tensors
from fedlab.strategies.ggeur import GGEURParameters
from fedlab.training.optimizer import Optimizer
from fedlab.training.task import Task

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class GGEUR(InFrontTrainer):
    """Two answers before the first round, and drawn training features; otherwise the base."""

    # `copy` calls `__new__` without arguments.
    def __init__(  # pyright: ignore[reportInconsistentConstructor]
        self, parameters: GGEURParameters, task: Task
    ) -> None:
        super().__init__(parameters, task)
        self.ggeur = parameters

    @classmethod
    def check(cls, scenario: Experiment, model: nn.Module) -> None:
        """Refuses a base that could not train on the drawn features.

        Raises:
            InputError: With the reason.
        """
        refuse_base(scenario.model_copy(update={"strategy": scenario.strategy.base}), model)

    def answer(self, question: str, received: Received, samples: ClientData) -> Update:
        """Sends the client's moments, or draws its new features.

        Args:
            question: ``moments`` or ``draw``.
            received: With the question, a seed and the client's index; to ``draw``, the geometry.
            samples: The client's samples.

        Raises:
            InputError: If the samples are images.
        """
        if samples.inputs.dim() != 2:
            raise InputError("ggeur needs features: set data.features and model=linear")
        known = samples.labelled.to(samples.labels.device)
        features, labels = samples.inputs[known], samples.labels[known]
        key = int(received.config["seed"]), f"ggeur {question}", int(received.config["client"])
        generator = rng.torch_generator(*key)
        if question == "moments":
            record = moments_record(features, labels, self.ggeur, generator)
            return Update({"moments": record}, {})
        return Update({}, {"synthetic": self._draw(features, labels, received, generator)})

    def training_data(
        self, samples: ClientData, received: Received, client_state: ClientState
    ) -> ClientData:
        """Real and drawn features together; both count as the client's examples."""
        new = client_state.get("synthetic")
        if new is None:
            return samples
        return replace(
            samples,
            inputs=torch.cat([samples.inputs, new["inputs"]]),
            labels=torch.cat([samples.labels, new["labels"]]),
            labelled=torch.cat(
                [samples.labelled, torch.ones(len(new["labels"]), dtype=torch.bool)]
            ),
        )

    def _draw(
        self, features: Tensor, labels: Tensor, received: Received, generator: torch.Generator
    ) -> Tensors:
        """New features, class after class (Algorithms 1 and 2 of the paper)."""
        record = received.arrays["geometry"]
        inputs, classes = [features[:0].float()], [labels[:0]]
        for label, *pairs in zip(
            record["classes"].tolist(), record["values"], record["vectors"], strict=True
        ):
            geometry = Geometry(*pairs)
            lengths = geometry.values.sqrt() if self.ggeur.scale == "sqrt_eig" else geometry.values
            centres = torch.cat(
                [
                    _repeated(features[labels == label], self.ggeur.filled_to, generator),
                    self._around_prototypes(label, received, features),
                ]
            )
            inputs.append(geometry.around(centres, lengths, generator))
            classes.append(labels.new_full((len(centres),), label))
        return {"inputs": torch.cat(inputs), "labels": torch.cat(classes)}

    def _around_prototypes(self, label: int, received: Received, features: Tensor) -> Tensor:
        """The other clients' means of a class, each repeated for every draw around it."""
        prototypes = received.arrays.get("prototypes")
        if prototypes is None:
            return features[:0]
        others = prototypes["clients"] != int(received.config["client"])
        means = prototypes["means"][others & (prototypes["classes"] == label)]
        return means.repeat_interleave(self.ggeur.per_prototype, dim=0)


def moments_record(
    features: Tensor, labels: Tensor, parameters: GGEURParameters, generator: torch.Generator
) -> Tensors:
    """The record sent up: the moments of each class with enough samples, in float32.

    Args:
        features: Shape (n, features).
        labels: int64 of shape (n,).
        parameters: Says how many samples are enough, the noise, and the rank.
        generator: Draws the noise.

    Returns:
        ``classes`` and ``counts``, int64 of shape (c,); ``means`` of shape (c, features); and
        ``covariances`` of shape (c, features (features + 1) / 2), or ``factors`` of shape
        (c, features, rank).
    """
    present, counts = labels.unique(return_counts=True)
    present = present[counts >= parameters.min_class_count]
    clouds = [
        _blurred(Moments.of(features[labels == label]), parameters.noise, generator)
        for label in present
    ]
    size = features.shape[1]
    record = {
        "classes": present,
        "counts": torch.tensor([cloud.count for cloud in clouds], dtype=torch.int64),
        "means": _stacked([cloud.mean for cloud in clouds], size),
    }
    if parameters.rank is None:
        packed = [pack(cloud.covariance) for cloud in clouds]
        return {**record, "covariances": _stacked(packed, size * (size + 1) // 2)}
    factors = [Geometry.of(cloud.covariance, parameters.rank).factor for cloud in clouds]
    return {**record, "factors": _stacked(factors, size, min(parameters.rank, size))}


def refuse_base(scenario: Experiment, model: nn.Module) -> None:
    """Refuses a base that could not train on the drawn features.

    Args:
        scenario: The experiment, with the base as its strategy.
        model: The network.

    Raises:
        InputError: With the reason.
    """
    base = scenario.strategy
    half_class = trainer_of(base)
    remedy = "choose a base such as fedavg or scaffold"
    for member in ("answer", "training_data"):
        if getattr(half_class, member) is not getattr(ClientTrainer, member):
            raise InputError(
                f"strategy.base: '{base.name}' decides itself what its clients train on; {remedy}"
            )
    head = find_head(model)
    optimizer = Optimizer(scenario.training.optimizer)
    task = Task(model, optimizer, classes=head.layer.out_features if head else 1)
    for phase in half_class(base, task).phases():
        if phase.split != "labelled" or phase.strong_views:
            raise InputError(
                f"strategy.base: '{base.name}' learns from unlabelled samples or changed images, "
                f"and ggeur draws labelled features; {remedy}"
            )


def _blurred(cloud: Moments, noise: float, generator: torch.Generator) -> Moments:
    """Moments with Gaussian noise; the covariance stays symmetric."""
    if noise == 0:
        return cloud
    size = len(cloud.mean)
    drawn = noise * torch.randn(size + 1, size, generator=generator, dtype=torch.float64)
    drawn = drawn.to(cloud.mean.device)
    upper = drawn[1:].triu()
    symmetric = upper + upper.triu(diagonal=1).T
    return Moments(cloud.count, cloud.mean + drawn[0], cloud.covariance + symmetric)


def _repeated(samples: Tensor, filled_to: int, generator: torch.Generator) -> Tensor:
    """The samples in random order, over and over, as many as are missing to `filled_to`."""
    missing = max(0, filled_to - len(samples)) if len(samples) else 0
    order = torch.randperm(len(samples), generator=generator)
    return samples[order.repeat(-(-missing // max(1, len(samples))))[:missing]]


def _stacked(tensors: Sequence[Tensor], *shape: int) -> Tensor:
    """Float32 of shape (count, *shape), also for none."""
    return torch.stack(list(tensors)).float() if tensors else torch.zeros(0, *shape)
