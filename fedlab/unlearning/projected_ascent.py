"""Projected gradient ascent on the forgotten client's loss, within a ball around a reference.

Federated Unlearning: How to Efficiently Erase a Client in FL?, Halimi, Kadhe, Rawat, Baracaldo,
2022, arXiv 2207.05521. The client that leaves starts from w_ref
(`fedlab.unlearning.reference_model`), and takes steps of SGD that increase its loss; after each,
a model outside the ball is put back onto it:

    theta <- w_ref + r (theta - w_ref) / |theta - w_ref|    where |theta - w_ref| > r

As in the authors' code, r^2 is a third of the mean squared distance of w_ref from ten random
initialisations, steps have a learning rate of 0.01, momentum 0.9 and gradients of norm 5 at most.

Statistics of batch normalisation and dropout stay off. The authors' code also stops at a squared
distance from the client's local model of 2.2; no such number suits all networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from fedlab import rng
from fedlab.adaptation.choice import still_finite
from fedlab.clients.base import Carry, ClientTrainer, Phase, Received
from fedlab.data.trial_samples import trial_samples
from fedlab.engine.execution.build_trainer import initial_model
from fedlab.engine.execution.sequential import train_one
from fedlab.errors import InputError
from fedlab.records import Tensors
from fedlab.strategies.fedavg import FedAvg
from fedlab.training import lists
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec
from fedlab.training.task import Batch, Task
from fedlab.unlearning.reference_model import Reference
from fedlab.unlearning.request import Request

INITIALISATIONS = 10
"""Random initialisations that the radius is measured by."""


class Options(NamedTuple):
    """How far and how fast the ascent goes.

    Attributes:
        epochs: Passes over the client's labelled samples, at most.
        lr: Learning rate of SGD, with momentum 0.9.
        clip: Largest norm of a gradient.
        radius_share: r^2 as a share of the mean squared distance from random initialisations.
        stop_distance: Squared distance from the client's local model beyond which the ascent ends;
            None goes on to the last epoch.
    """

    epochs: int = 5
    lr: float = 0.01
    clip: float = 5.0
    radius_share: float = 1 / 3
    stop_distance: float | None = None


class Ascended(NamedTuple):
    """The end of an ascent.

    Attributes:
        model: The tensors that travel.
        steps: Steps that were taken.
        radius: The ball's radius r.
        distance: How far the model is from the centre.
    """

    model: Tensors
    steps: int
    radius: float
    distance: float


def project(parameters: Tensors, centre: Tensors, radius: float) -> Tensors:
    """The nearest point of a ball; nan for a point that is not at a finite distance.

    Args:
        parameters: A point, by name.
        centre: The ball's centre, with these names.
        radius: Its radius.
    """
    away = lists.less(parameters, centre)
    distance = lists.norm(away)
    if not torch.isfinite(distance):
        # radius / inf is 0: a step beyond all numbers would end as if none had been taken.
        return lists.times(parameters, torch.nan)
    if not distance > radius:
        return parameters
    at = {name: centre[name] for name in parameters}
    return lists.added(at, lists.times(away, radius / distance))


class ProjectedAscent(ClientTrainer):
    """A client that unlearns its samples: steps up its loss, each followed by a projection.

    What does not travel (the head of FedBABU, which stays as it was initialised) does not move.

    Args:
        task: The network, with the ascent's optimiser.
        centre: w_ref.
        local: The client's last local model.
        radius: The ball's radius.
        epochs: Passes over the samples.
        stop_distance: Squared distance from `local` beyond which no further step is taken.
    """

    def __init__(
        self,
        task: Task,
        centre: Tensors,
        local: Tensors,
        radius: float,
        epochs: int,
        stop_distance: float | None,
    ) -> None:
        super().__init__(FedAvg.Parameters(), task)
        self.centre, self.local_model, self.radius = centre, local, radius
        self.epochs, self.stop_distance = epochs, stop_distance
        self.steps, self.ended = 0, False
        self.travelling = travelling(task, centre)

    def set_train_mode(self, received: Received) -> None:
        """Keeps running statistics as they are, and dropout off."""
        self.task.model.eval()

    def phases(self) -> Sequence[Phase]:
        """One, over the labelled samples; of what the server has alone."""
        return [Phase(epochs=self.epochs, trained=self.travelling)]

    def objective(self, parameters: Tensors, carry: Carry, batch: Batch) -> tuple[Tensor, Tensor]:
        """The negative loss, which is minimised."""
        loss, outputs = super().objective(parameters, carry, batch)
        return -loss, outputs

    def step(
        self, carry: Carry, batch: Batch, phase: Phase, server_round: int
    ) -> tuple[Carry, dict[str, Tensor]]:
        """A step up, and back onto the ball; none once the ascent has ended."""
        if self.ended:
            return carry, {}
        carry, metrics = super().step(carry, batch, phase, server_round)
        moved = {name: carry.parameters[name] for name in self.travelling}
        onto = project(moved, self.centre, self.radius)
        carry = carry._replace(parameters={**carry.parameters, **onto})
        self.steps += 1
        if self.stop_distance is not None:
            away = lists.less(onto, self.local_model)
            self.ended = bool(lists.square_sum(away) > self.stop_distance)
        return carry, metrics


def travelling(task: Task, model: Tensors) -> tuple[str, ...]:
    """The names of the parameters that learn and are part of a server's model."""
    return tuple(name for name in task.anatomy.learning if name in model)


def ball_radius(asked: Request, centre: Tensors, share: float, seed: int) -> float:
    """r: the root of a share of the mean squared distance from random initialisations.

    Args:
        asked: What is to be forgotten.
        centre: w_ref.
        share: The share.
        seed: Seed of the initialisations.
    """
    runtime = asked.trained.runtime
    samples = trial_samples(runtime.data, runtime.preprocess)
    learnt = {name: centre[name] for name in travelling(runtime.trainer.task, centre)}
    squares = []
    for number in range(INITIALISATIONS):
        own = runtime.scenario.model_copy(update={"seed": rng.seed_of(seed, "forget", number)})
        model = initial_model(own, runtime.data, samples)
        initial = {n: t.detach().to(runtime.device) for n, t in model.named_parameters()}
        squares.append(float(lists.square_sum(lists.less(learnt, initial))))
    return (share * sum(squares) / len(squares)) ** 0.5


def ascend(asked: Request, reference: Reference, options: Options, seed: int) -> Ascended:
    """Unlearns a client's samples, from the reference model.

    Args:
        asked: What is to be forgotten.
        reference: Where it starts.
        options: How far and how fast it goes.
        seed: Seed of the order of samples, and of the initialisations that give the radius.

    Raises:
        InputError: If no sample has a label, or the model is no longer finite.
    """
    runtime = asked.trained.runtime
    spec = OptimizerSpec(name="sgd", lr=options.lr, momentum=0.9, clip_norm=options.clip)
    task = replace(runtime.trainer.task, optimizer=Optimizer(spec))
    radius = ball_radius(asked, reference.model, options.radius_share, seed)
    trainer = ProjectedAscent(
        task, reference.model, reference.local, radius, options.epochs, options.stop_distance
    )
    size = runtime.scenario.training.batch_size
    data = runtime.client_data(asked.client)
    labelled = data.labelled & torch.from_numpy(asked.chosen)
    if not labelled.any():
        raise InputError(
            f"--client: none of the samples of client {asked.client} that are to be forgotten has "
            "a label, so that there is no loss to ascend; use --method label_agnostic"
        )
    with rng.preserved():
        update, _ = train_one(
            trainer,
            runtime.preprocess,
            Received({"arrays": reference.model}),
            {},
            replace(data, labelled=labelled),
            batch_size=size,
            seed=rng.seed_of(seed, "forget"),
            client=asked.client,
        )
    after = update.arrays["arrays"]
    model = {name: after.get(name, tensor) for name, tensor in reference.model.items()}
    still_finite(model, f"--lr: with {options.lr:g} the ascent is")
    learnt = {name: model[name] for name in travelling(task, model)}
    distance = float(lists.norm(lists.less(learnt, reference.model)))
    return Ascended(model, trainer.steps, radius, distance)
