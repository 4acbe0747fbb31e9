"""The server's setup for a scenario whose samples are on devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import nn

from fedlab.config.signatures import is_ours
from fedlab.data.load import load_data
from fedlab.data.samples import FederatedData, Samples
from fedlab.deploy.device.own_tensors import sketch
from fedlab.deploy.handshake import Invitation
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.model_check import checked_model
from fedlab.engine.start import make_runtime
from fedlab.engine.worker import Worker
from fedlab.errors import InputError
from fedlab.features.base import NoExtractor
from fedlab.methods import client_trainer_class, strategy_class
from fedlab.models.per_client import PerClient
from fedlab.partition.partition import Partition
from fedlab.preparation import domains_to_test
from fedlab.privacy.privacy_checks import check_privacy, refuse_known_noise
from fedlab.rng import generator
from fedlab.scenario import Scenario
from fedlab.scenario_file import to_yaml
from fedlab.scenarios.domain_skew import OnePerClient
from fedlab.scenarios.label_noise import NoNoise
from fedlab.server_app import build_strategy
from fedlab.strategies.parameters import StrategyParameters
from fedlab.targets.base import Target
from fedlab.updates.updates_checks import check_updates
from fedlab.version import __version__


@dataclass(frozen=True)
class ServeSetup:
    """The learning task without the samples.

    Attributes:
        model: The initial network.
        classes: Names of the classes.
        shape: Shape of one sample.
        target: What is learnt, fitted to the server's data, so that all devices learn the same.
        homes: Every client's domain in a simulation; None for any.
        test_domains: Domains that the server tests the global model on.
        tester: The worker for these tests; None without test data.
        phases: Number of phases of a client's local round that learn.
        own_tensors: Checksums of the network's tensors that are not in messages.
        features: Names of a table's features, in the order in which the network gets them.
    """

    model: nn.Module
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    target: Target
    homes: tuple[str | None, ...]
    test_domains: tuple[str, ...] = ()
    tester: Worker | None = None
    phases: int = 1
    own_tensors: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    features: tuple[str, ...] = ()

    def invitation(self, run: str, scenario: Scenario) -> Invitation:
        """The invitation to devices.

        Args:
            run: The run's id, which is kept over restarts of the server.
            scenario: The experiment.
        """
        return Invitation(
            run,
            __version__,
            to_yaml(scenario.with_target(self.target)),
            self.classes,
            self.shape,
            own_tensors=tuple(self.own_tensors),
            own_sums=tuple(value for pair in self.own_tensors.values() for value in pair),
            features=self.features,
        )


def setup_of(scenario: Scenario, classes: Sequence[str] | None = None) -> ServeSetup:
    """Builds the setup of a scenario.

    If the server has the scenario's data, classes and shapes are taken from them, and the server
    also tests on domains that no device has. Otherwise the classes must be given.

    Args:
        scenario: The experiment.
        classes: Names of the classes, in place of the data.

    Raises:
        InputError: If the scenario cannot be run on devices.
    """
    strategy = strategy_class(scenario)
    client_trainer_class(scenario)
    _refuse_what_is_simulated(scenario)
    refuse_known_noise(scenario)
    data = _no_data(scenario, classes) if classes else _own_data(scenario)
    _refuse_own_vocabulary(scenario, data)
    if data.is_measured and scenario.data.normalisation == "auto":
        raise InputError(
            "data.normalisation: 'auto' takes mean and deviation from all tables together, which "
            "no device sees; give them as numbers, e.g. data.normalisation={mean: 0, std: 1} for "
            "tables that are standardised already"
        )
    data.target.check_known()
    scenario.metric_set.check(len(data.class_names))
    shape, names, clients = data.input_shape, data.class_names, scenario.partition.number_of_clients
    model = checked_model(scenario, data)
    check_privacy(scenario, strategy, model, data, clients)
    check_updates(scenario, strategy, model)
    if scenario.evaluation.select == "validation" and not (
        build_strategy(scenario, model).has_global_model
    ):
        raise InputError(
            f"evaluation.select: {scenario.strategy.name} keeps tensors on its devices, which "
            "cannot be put back to the round that is chosen; use select: last"
        )
    test_domains = domains_to_test(scenario, data)
    tester = _tester(scenario, data) if test_domains else None
    trainer = _runtime(scenario, data).trainer
    return ServeSetup(
        model,
        names,
        shape,
        data.target,
        _homes(scenario, data),
        test_domains,
        tester,
        phases=sum(phase.learns for phase in trainer.phases()),
        own_tensors=sketch(model, trainer.shared),
        features=data.feature_names,
    )


def _refuse_own_vocabulary(scenario: Scenario, data: FederatedData) -> None:
    """Refuses a vocabulary that is taken from the samples: no two devices would have the same."""
    fixed = all(source.vocabulary_is_fixed for source in scenario.data.sources)
    stated = scenario.data.ids.vocabulary is not None or fixed
    matters = scenario.data.inputs == "ids" or is_ours(type(scenario.model))
    if data.ids is None or stated or not matters:
        return
    raise InputError(
        f"data.ids.vocabulary: it is taken from all samples together ({data.ids.vocabulary}), "
        "which no device sees; state it, with data.inputs=ids (for texts: a tokenizer file or "
        "tokenizer: bytes)"
    )


def _no_data(scenario: Scenario, classes: Sequence[str]) -> FederatedData:
    """A description of data that the server does not have: image shape and class names."""
    spec = scenario.data
    if spec.inputs in ("numbers", "ids"):
        raise InputError(
            f"--classes: the shape of samples is only known without data where they are images, "
            f"and data.inputs is '{spec.inputs}'; let the server read samples of that shape "
            "(data.sources), and leave --classes out"
        )
    nothing = np.zeros(0, np.int64)
    images = np.zeros((0, spec.channels, spec.image_size, spec.image_size), np.uint8)
    labels = spec.target.example(0, len(classes)).numpy()
    samples = Samples(images, labels, nothing)
    return FederatedData(samples, samples, (), tuple(classes), target=spec.target)


def _own_data(scenario: Scenario) -> FederatedData:
    try:
        return load_data(scenario.data)
    except InputError as error:
        raise InputError(
            f"{error}; or, where the server is to do without data, name the classes of the "
            "devices' images with --classes"
        ) from error


def _refuse_what_is_simulated(scenario: Scenario) -> None:
    """Refuses settings that need all data in one place.

    Raises:
        InputError: With the key and the remedy.
    """
    if type(scenario.strategy).reassign is not StrategyParameters.reassign:
        raise InputError(
            f"strategy.name: {scenario.strategy.name} moves samples between clients, which devices "
            "do not; choose another strategy"
        )
    if isinstance(scenario.model, PerClient):
        raise InputError(
            "model.per_client: all devices build the one network of their invitation; name one, or "
            "simulate"
        )
    if not isinstance(scenario.data.features, NoExtractor):
        raise InputError(
            f"data.features: '{scenario.data.features.name}' is computed where all data are; on "
            "devices, use data.features=none"
        )
    for index, source in enumerate(scenario.data.sources):
        if getattr(source, "categorical", ()):
            raise InputError(
                f"data.sources.{index}.categorical: categories are those of all tables together, "
                "which no device sees; save them as numbers, and leave the key out"
            )
    if not isinstance(scenario.partition.label_noise, NoNoise):
        raise InputError(
            "partition.label_noise: devices have the labels they have; use "
            "partition.label_noise=none"
        )
    if scenario.partition.known_label != "class":
        raise InputError(
            "partition.known_label: client needs the clients' numbers as labels, and devices have "
            "classes; use partition.known_label=class, or simulate"
        )
    if not isinstance(scenario.partition.clients, int):
        raise InputError(
            "partition.clients: natural counts owners where all data are; on devices, each of "
            "which is an owner, give their number"
        )
    if scenario.partition.held_out_clients is not None:
        raise InputError(
            "partition.held_out_clients: a device that joins trains, so that there are no clients "
            "to hold out; leave the key out"
        )
    if scenario.partition.left_out_samples:
        raise InputError(
            "partition.left_out_samples: these are indices into samples that devices have and the "
            "server does not; leave them out on the devices, and take the key out"
        )
    if scenario.devices.profiles:
        raise InputError(
            "devices.profiles: they simulate the speed of devices, and these ones are real; "
            "leave the block out (participation.min_replies and "
            "participation.timeout say how long to wait)"
        )


def _homes(scenario: Scenario, data: FederatedData) -> tuple[str | None, ...]:
    """The domain of every client in a simulation of the scenario."""
    clients, skew = scenario.partition.number_of_clients, scenario.partition.domains
    names = [data.domain_names[index] for index in data.seen_domains]
    if not names or not isinstance(skew, OnePerClient):
        return (None,) * clients
    if skew.clients_per_domain is None:
        return tuple(names[client % len(names)] for client in range(clients))
    shares = skew.shares(clients, names, generator(scenario.seed, "partition", "domains"))
    return tuple(names[index] for index in shares.argmax(axis=1))


def _tester(scenario: Scenario, data: FederatedData) -> Worker:
    return Worker(_runtime(scenario, data))


def _runtime(scenario: Scenario, data: FederatedData) -> Runtime:
    """A runtime without clients."""
    empty = np.zeros(0, np.int64)
    offsets = np.zeros(scenario.partition.number_of_clients + 1, np.int64)
    partition = Partition(empty, empty, empty.astype(bool), offsets, empty, offsets)
    threads = scenario.resources.cpus_per_actor
    return make_runtime(scenario, "cpu", threads, data, partition)
