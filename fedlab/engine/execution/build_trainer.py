"""The network and the client trainer of a scenario, built and tried."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from fedlab.clients.base import ClientTrainer
from fedlab.config.signatures import is_ours
from fedlab.data.preprocess import Preprocess
from fedlab.data.samples import FederatedData
from fedlab.data.trial_samples import TrialSamples, trial_samples
from fedlab.engine.execution.captured.capturable import CAPTURING
from fedlab.engine.execution.low_rank_rule import Form, takes_usual_steps
from fedlab.engine.step_check import tried
from fedlab.methods import client_trainer_class
from fedlab.models.anatomy.observed import Observed
from fedlab.models.build import build_model
from fedlab.scenario import Scenario
from fedlab.targets.base import Target
from fedlab.targets.classes import Classes
from fedlab.targets.proportions import Proportions
from fedlab.training.optimizer import Optimizer
from fedlab.training.task import Task


def build_client_trainer(
    scenario: Scenario,
    data: FederatedData,
    device: torch.device,
    preprocess: Preprocess | None = None,
    observed: Observed | None = None,
) -> ClientTrainer:
    """The method's client trainer with the scenario's network and optimiser.

    Args:
        scenario: The experiment.
        data: The pooled samples.
        device: Where to compute.
        preprocess: Normalises samples; created if not given.
        observed: Observations of the network from another process.

    Raises:
        InputError: If the network cannot be built, or cannot be trained correctly.
    """
    samples = trial_samples(data, preprocess or Preprocess(scenario.data, data))
    classes = len(data.class_names)
    model = initial_model(scenario, data, samples, observed)
    if is_ours(type(scenario.model)):  # `fedlab.prepare` tries it once for all processes
        return client_trainer_of(scenario, model.to(device), classes, data.target)
    built = client_trainer_of(scenario, model, classes, data.target)
    trainer, _ = tried_trainer(built, scenario, samples)
    task = replace(trainer.task, model=model.to(device))
    return client_trainer_class(scenario)(scenario.strategy, task)


def initial_model(
    scenario: Scenario,
    data: FederatedData,
    samples: TrialSamples,
    observed: Observed | None = None,
) -> nn.Module:
    """The network that all clients start from.

    Args:
        scenario: The experiment.
        data: The pooled samples, or a server's description of them.
        samples: Samples for a trial run of the network.
        observed: Observations of such a run in another process.

    Raises:
        InputError: If the network cannot be built.
    """
    return build_model(
        scenario.model,
        scenario.strategy,
        data.input_shape,
        len(data.class_names),
        scenario.seed,
        samples.inputs,
        observed,
    )


def target_in_training(scenario: Scenario, target: Target) -> Target:
    """What clients train on: the target of the data, or shares of its classes in bags."""
    bags = scenario.partition.label_proportions
    return Proportions(bag_size=bags.fixed_size) if bags else target


def client_trainer_of(
    scenario: Scenario, model: nn.Module, classes: int, target: Target | None = None
) -> ClientTrainer:
    """The method's client trainer with a given network; for classes by default."""
    loss = scenario.training.loss
    if bags := scenario.partition.label_proportions:
        loss = loss.of_bags(bags.fixed_size)
    task = Task(
        model=model,
        optimizer=Optimizer(scenario.training.optimizer),
        classes=classes,
        loss=loss,
        local_epochs=scenario.training.local_epochs,
        local_steps=scenario.training.local_steps,
        remainder=scenario.training.remainder,
        precision=scenario.training.precision,
        target=target_in_training(scenario, target or Classes()),
    )
    return client_trainer_class(scenario)(scenario.strategy, task)


def tried_trainer(
    trainer: ClientTrainer, scenario: Scenario, samples: TrialSamples
) -> tuple[ClientTrainer, str | None]:
    """A client trainer whose steps were checked (see `fedlab.engine.step_check.tried`)."""
    alone = ("sequential", *CAPTURING)
    stacks = trainer.supports_vmap and scenario.engine.execution not in alone
    form: Form = "dense"
    if takes_usual_steps(trainer):
        asked = scenario.engine.dense_layers
        form = "low_rank" if asked == "measured" else asked  # any layer's form may be chosen
    task, why = tried(trainer.task, samples, scenario.model.name, stacks, form)
    if task is not trainer.task:
        trainer = client_trainer_class(scenario)(scenario.strategy, task)
    return trainer, why
