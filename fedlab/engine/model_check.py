"""Builds a scenario's network and checks it before training, in simulations and for devices."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import nn

from fedlab import rng
from fedlab.clients.base import ClientTrainer
from fedlab.config.signatures import is_ours
from fedlab.data.preprocess import Preprocess
from fedlab.data.samples import FederatedData
from fedlab.data.trial_samples import trial_samples
from fedlab.engine.execution.build_trainer import (
    client_trainer_of,
    initial_model,
    tried_trainer,
)
from fedlab.engine.execution.captured.capturable import CAPTURING, why_not
from fedlab.engine.rehearsal.left_behind import first_difference
from fedlab.errors import InputError
from fedlab.methods import client_trainer_class
from fedlab.models.adapters.adapter_checks import check_adapters
from fedlab.models.anatomy import anatomy_of
from fedlab.models.normalisation import looks_like_normalisation
from fedlab.models.norms import NormPolicy
from fedlab.models.output_check import check_outputs
from fedlab.models.per_client import PerClient
from fedlab.models.pretrained.transfer import transfer_of
from fedlab.scenario import Scenario
from fedlab.strategies.families.requirements import refuse_batches_of_one

SAME_INPUTS = 0.02
"""Largest difference of a mean or std from that of pretrained weights: 5 of 255 levels of grey."""

_SEEDED = (
    "from torch, numpy.random or random, whose seeds the scenario sets, not from a generator that "
    "the system seeds (default_rng())"
)
"""Where a network's random numbers have to come from."""

log = logging.getLogger("fedlab")


def checked_model(scenario: Scenario, data: FederatedData) -> nn.Module:
    """The initial network of a scenario (see `checked_trainer`)."""
    return checked_trainer(scenario, data).task.model


def checked_trainers(scenario: Scenario, data: FederatedData, clients: int) -> list[ClientTrainer]:
    """A client trainer for each of a scenario's networks (see `checked_trainer`).

    Raises:
        InputError: Also if the networks do not go together, or with the clients.
    """
    trainers = [checked_trainer(each, data) for each in scenario.networks]
    if isinstance(scenario.model, PerClient):
        scenario.model.check(clients)
        scenario.strategy.check_networks([trainer.task.model for trainer in trainers])
    return trainers


def checked_trainer(scenario: Scenario, data: FederatedData) -> ClientTrainer:
    """A client trainer with the scenario's initial network, after all checks of the network.

    Args:
        scenario: The experiment.
        data: The pooled samples, or a server's description of them.

    Raises:
        InputError: If the network cannot be built, does not fit the data or the method, or would
            not learn as it does in plain PyTorch.
    """
    classes = len(data.class_names)
    preprocess = Preprocess(scenario.data, data)
    samples = trial_samples(data, preprocess)
    _refuse_other_inputs(scenario, preprocess)
    model = initial_model(scenario, data, samples)
    _refuse_other_values(scenario, data)
    check_outputs(scenario.model, model, samples.inputs, classes, data.target.nouns)
    check_adapters(model, samples.inputs)
    _refuse_what_remembers(scenario, model)
    scenario.strategy.check(scenario, model)
    client_trainer_class(scenario).check(scenario, model)
    refuse_batches_of_one(scenario, model)
    trainer = client_trainer_of(scenario, model, classes, data.target)
    _refuse_views_of_no_images(scenario, trainer, preprocess)
    trainer, why_alone = tried_trainer(trainer, scenario, samples)
    asked = scenario.engine.execution
    if asked in CAPTURING and (why := why_not(asked, trainer, scenario.training.batch_size)):
        log.warning("engine.execution: clients train without '%s': %s", asked, why)
    for line in _remarks(model, trainer.norm_policy, why_alone):
        log.warning("model '%s': %s", scenario.model.name, line)
    return trainer


def _refuse_other_values(scenario: Scenario, data: FederatedData) -> None:
    """Refuses a custom network with other initial values the second time that it is made.

    Every process makes it: clients would not start from the same tensors.

    Raises:
        InputError: With the remedy.
    """
    spec = scenario.model
    if is_ours(type(spec)):
        return
    states = []
    for _ in range(2):
        with rng.torch_seed(scenario.seed, "model"):
            states.append(spec.network(data.input_shape, len(data.class_names)).state_dict())
    if name := first_difference(*states):
        raise InputError(
            f"model: '{spec.name}' has other values of '{name}' each time that it is made, so that "
            f"no run could be repeated; draw them {_SEEDED}"
        )


def _refuse_other_inputs(scenario: Scenario, preprocess: Preprocess) -> None:
    """Refuses pretrained weights where images are normalised in another way than theirs were.

    Raises:
        InputError: With the numbers that they want.
    """
    spec = scenario.model
    if spec.said("weights") != "pretrained" or spec.trained_on is None:
        return
    given = (preprocess.mean, preprocess.std)
    pairs = zip(given, spec.trained_on, strict=True)
    if any(bool((numbers - wanted).abs().max() > SAME_INPUTS) for numbers, wanted in pairs):
        mean, std = spec.trained_on
        raise InputError(
            f"data.normalisation: the pretrained weights of '{spec.name}' want images with mean "
            f"{mean:.3f} and std {std:.3f}, and these have other ones; leave data.normalisation "
            "out (auto)"
        )


def _refuse_views_of_no_images(
    scenario: Scenario, trainer: ClientTrainer, preprocess: Preprocess
) -> None:
    """Refuses a method that changes images strongly where the samples are none.

    Raises:
        InputError: With the remedies.
    """
    if not preprocess.images and any(phase.strong_views for phase in trainer.phases()):
        raise InputError(
            f"strategy.name: {scenario.strategy.name} trains on strongly changed views of images, "
            "and the samples are none; choose sources of images, without data.features, or "
            "strategy.name=fedavg, which uses the labelled samples alone"
        )


def _refuse_what_remembers(scenario: Scenario, model: nn.Module) -> None:
    """Refuses a network whose outputs depend on earlier forward passes.

    One module serves all clients of a process: state outside of buffers would leak from client to
    client, and be lost after a resume.

    Raises:
        InputError: With the remedy.
    """
    observed = anatomy_of(model).observed
    if observed is not None and observed.remembers:
        effect = "give other outputs"
        if observed.kept:
            effect = f"leave another value in '{observed.kept[0]}'"
        raise InputError(
            f"model: '{scenario.model.name}' keeps something between steps that is in no buffer "
            f"(the same samples {effect} the second time), which would go from client to "
            "client; make it a tensor with register_buffer, and say with fedlab_buffers what "
            "becomes of it"
            + (not observed.kept)
            * f". If it draws random numbers instead, take them {_SEEDED}"
        )
    if observed is not None and observed.counts_tests:
        raise InputError(
            f"model: '{scenario.model.name}' changes '{observed.counts_tests[0]}' in evaluation "
            "mode, so that the same samples have other outputs the second time, and a test's "
            "result would depend on the tests before it; change it in training mode alone "
            "(if self.training)"
        )


def _remarks(model: nn.Module, policy: NormPolicy, why_alone: str | None) -> list[str]:
    """Warnings about unexpected treatment of the network, a line each."""
    anatomy = anatomy_of(model)
    lines = []
    transferred = transfer_of(model)
    if transferred is not None and not transferred.is_whole:
        lines.append(str(transferred))
    if anatomy.unknown:
        lines.append(
            f"training changes {_some(anatomy.unknown)}, whose role is not declared; clients' "
            "values are averaged. If their mean means nothing, give its module an attribute "
            "fedlab_buffers = {name: 'last', 'local' or 'none'} ('mean' says that it does)"
        )
    like = list(looks_like_normalisation(model))
    if like and policy is not NormPolicy.SHARE_ALL:
        lines.append(
            f"{like[0][1]} ('{like[0][0]}') looks like a normalisation, and is of no type that is "
            "known for one, so that it is shared; if it is one, give the class an attribute "
            "fedlab_normalises = 'batch' or 'samples'"
        )
    if anatomy.observed is not None and anatomy.observed.mixes_in_tests:
        lines.append(
            "a sample's outputs depend on the other samples of a test batch; each client's test "
            "samples are tested as one batch, by themselves"
        )
    if why_alone is not None:
        lines.append(f"clients train one by one, because as one it goes wrong: {why_alone}")
    return lines


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"the buffer '{names[0]}'{more}"
