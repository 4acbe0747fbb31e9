"""From a scenario to everything that its clients need, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from fedlab.data.data_checks import check_classes
from fedlab.data.load import load_data, pinned
from fedlab.data.owners import spelling_remark
from fedlab.data.remarks import already_logged, log_remarks
from fedlab.data.samples import FederatedData
from fedlab.data.spec import DataSpec
from fedlab.engine.execution.round_workload import (
    check_work,
    devices_of,
    of_networks,
    work_per_round,
)
from fedlab.engine.model_check import checked_trainers
from fedlab.engine.rehearsal.judged_rounds import judging_remarks
from fedlab.engine.rehearsal.last_test import LastTest, last_test
from fedlab.engine.rehearsal.pass_count import RoundPasses, count_passes
from fedlab.engine.rehearsal.rehearse import rehearse
from fedlab.errors import InputError, no_exit
from fedlab.features.base import ExtractionContext
from fedlab.methods import client_trainer_class, strategy_class
from fedlab.partition.client_labels import with_client_labels
from fedlab.partition.partition import Partition, make_partition, refuse_untested
from fedlab.privacy.privacy_checks import check_privacy
from fedlab.records import as_tensor
from fedlab.scenario import Scenario
from fedlab.server_app import refuse_hopeless_deadline
from fedlab.updates.updates_checks import check_updates
from fedlab.virtual_time.device_population import DevicePopulation


@dataclass(frozen=True)
class Prepared:
    """A scenario with everything that its clients need.

    Attributes:
        scenario: The experiment.
        data: The pooled samples.
        partition: Which of them belong to which client.
        model: The initial network; of several, the first.
        fleet: The clients' devices; None where the scenario says nothing of them.
        passes: What a round asks of a client's network; None where that is not known beforehand.
    """

    scenario: Scenario
    data: FederatedData
    partition: Partition
    model: nn.Module
    fleet: DevicePopulation | None = None
    passes: RoundPasses | None = None


def with_pinned_data(scenario: Scenario) -> Scenario:
    """The same scenario, whose sources yield the same samples for ever (`fedlab.data.load.pinned`).

    Raises:
        InputError: If what a source names cannot be looked up.
    """
    data = pinned(scenario.data)
    return scenario if data is scenario.data else scenario.model_copy(update={"data": data})


@no_exit("a source, network or method of the scenario")
def divide(
    scenario: Scenario, load: Callable[[DataSpec], FederatedData] = load_data
) -> tuple[FederatedData, Partition]:
    """Loads the data and divides them among the clients, without building a network.

    Args:
        scenario: The experiment.
        load: As for `prepare`.

    Raises:
        InputError: If the data cannot be read, or not divided so.
    """
    data = load(scenario.data)
    hidden = not scenario.output.owner_names
    log_remarks(spelling_remark(data.owner_names, hidden))
    if hidden:
        data = data.with_hidden_owners()
    check_classes(data)
    return data, make_partition(
        scenario.partition, data, scenario.seed, scenario.evaluation.validation_share
    )


@no_exit("a source, network or method of the scenario")
def prepare(scenario: Scenario, load: Callable[[DataSpec], FederatedData] = load_data) -> Prepared:
    """Loads the data, divides them, builds the network, and checks that all of it fits together.

    Features, where the scenario wants them, are computed here or found on disk.

    Args:
        scenario: The experiment.
        load: Gives its samples; what several runs share need not be loaded for each.

    Raises:
        InputError: If anything the scenario says cannot be done; nothing was started.
    """
    strategy = strategy_class(scenario)  # both may be refused: quicker said before the data
    client_trainer_class(scenario)
    data, partition = divide(scenario, load)
    if scenario.partition.known_label == "client":
        data, partition = with_client_labels(data, partition)
    scenario = scenario.for_clients(len(partition), len(partition.held_out))
    _refuse_idle_adaptation(scenario, partition)
    scenario.metric_set.check(len(data.class_names))
    if scenario.evaluation.fraction > 0:
        refuse_untested(partition, data)
    data = scenario.data.features.apply(ExtractionContext(scenario, data, partition))
    partition = scenario.strategy.reassign(partition)
    if scenario.partition.label_proportions:
        bags, offsets = partition.bags, partition.train_offsets
        scenario.partition.label_proportions.check_bags(bags, offsets, scenario.strategy.name)
    trainers = checked_trainers(scenario, data, len(partition))
    trainer = trainers[0]
    model = trainer.task.model
    check_privacy(scenario, strategy, model, data, len(partition) - len(partition.held_out))
    check_updates(scenario, strategy, model)
    inputs = as_tensor(data.train.inputs[:1])
    size = scenario.training.batch_size
    work = of_networks(
        scenario, [work_per_round(each, partition, size, inputs) for each in trainers]
    )
    check_work(scenario, trainer, partition, work)
    for one, each in zip(scenario.networks, trainers, strict=True):
        rehearse(one, data, partition, each)
    log_remarks([*judging_remarks(scenario), *_idle_domains(scenario, data, partition)])
    fleet = None
    if scenario.devices.profiles:
        fleet = devices_of(scenario, data, partition, work)
        refuse_hopeless_deadline(scenario, model, fleet)
        log_remarks(_idle_over_selection(scenario, len(partition)))
    passes = count_passes(scenario.networks[0], data, partition, trainer, work)
    return Prepared(scenario, data, partition, model, fleet, passes)


def _idle_over_selection(scenario: Scenario, clients: int) -> list[str]:
    """A remark on more clients to be asked than the round waits for, where there are no more."""
    factor = scenario.devices.over_selection
    wanted = round(scenario.participation.fraction * clients)
    if factor == 1 or wanted < clients:
        return []
    return [
        f"devices.over_selection: {factor:g} has no effect, for a round waits for all {clients} "
        f"clients (participation.fraction={scenario.participation.fraction:g}); use a smaller "
        f"participation.fraction, such as {1 / factor:.2g}, or leave over_selection out"
    ]


def _idle_domains(scenario: Scenario, data: FederatedData, partition: Partition) -> list[str]:
    """A remark on domains that are not to be tested, where clients' tests are those of domains."""
    evaluation = scenario.evaluation
    tested = scenario.model_copy(
        update={"evaluation": evaluation.model_copy(update={"domains": True})}
    )
    if evaluation.domains or domains_to_test(tested, data, partition):
        return []
    return [
        "evaluation.domains: false has no effect, for all clients test (evaluation.fraction=1), "
        "and their tests add up to those of the domains; use a smaller evaluation.fraction, or "
        "leave it out"
    ]


def _refuse_idle_adaptation(scenario: Scenario, partition: Partition) -> None:
    """Refuses to adapt to clients that have no training samples to adapt on.

    Raises:
        InputError: With the first.
    """
    if not scenario.evaluation.adapt_steps:
        return
    idle = partition.held_out[np.diff(partition.train_offsets)[partition.held_out] == 0]
    if len(idle):
        raise InputError(
            f"evaluation.adapt_steps {scenario.evaluation.adapt_steps} takes steps on the training "
            f"samples of held-out clients, and {partition.label(int(idle[0]))} has "
            "none; use split: within_owners with partition.held_out_clients, or leave it out"
        )


def prepare_again(
    scenario: Scenario, load: Callable[[DataSpec], FederatedData] = load_data
) -> Prepared:
    """As `prepare`, without its warnings: for a run that has logged them when it began.

    Args:
        scenario: The experiment.
        load: As for `prepare`.

    Raises:
        InputError: As `prepare`.
    """
    with already_logged():
        return prepare(scenario, load)


def domains_to_test(
    scenario: Scenario, data: FederatedData, partition: Partition | None = None
) -> tuple[str, ...]:
    """Domains on which the global model is tested in full.

    Where all clients test the global model itself, their test splits add up to the test sets of
    the domains all of whose test samples belong to clients, and only the others are left.

    Args:
        scenario: The experiment.
        data: Its samples; those of a server with devices may be none.
        partition: Whose samples are whose; None where all test samples are clients'.
    """
    if not scenario.evaluation.domains:
        return ()
    if scenario.evaluation.fraction < 1:
        return data.domain_names
    if scenario.strategy.tests_both and len(data.test.labels):  # a server may have no samples
        return data.domain_names
    whole = set(data.unseen_domains)
    if partition is not None:
        lone = np.ones(len(data.test.labels), dtype=bool)
        lone[partition.test] = False
        whole |= set(np.unique(data.test.domains[lone]).tolist())
    return tuple(data.domain_names[index] for index in sorted(whole))


def last_test_of(prepared: Prepared) -> LastTest:
    """What the last round will test."""
    scenario, data, partition = prepared.scenario, prepared.data, prepared.partition
    domains = domains_to_test(scenario, data, partition)
    return last_test(scenario, data, partition, prepared.model, domains)
