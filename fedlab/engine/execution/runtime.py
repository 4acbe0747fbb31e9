"""Data, network and client trainer of a scenario in one process, for any of its clients."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import torch

from fedlab import accelerator, rng
from fedlab.clients.base import ClientState, Received, Update
from fedlab.data.preprocess import Preprocess
from fedlab.data.samples import FederatedData
from fedlab.engine.execution.build_trainer import build_client_trainer
from fedlab.engine.execution.evaluation import DomainScore, TestSamples, evaluate, mean_loss
from fedlab.engine.execution.executor import Cohort, Executor, Setting, Trained
from fedlab.engine.execution.executors import executors_of
from fedlab.engine.execution.kept_samples import KeptSamples
from fedlab.engine.execution.local_adaptation import adapted
from fedlab.engine.execution.low_rank_rule import Form
from fedlab.engine.execution.memory import out_of_memory
from fedlab.federation.evaluation_reply import ADAPT_STEPS
from fedlab.federation.preaggregation import Preaggregation
from fedlab.metrics.base import Metric
from fedlab.models.anatomy.observed import Observed
from fedlab.models.memory_format import channels_last
from fedlab.models.mixing import mixes_test_samples
from fedlab.partition.partition import Partition
from fedlab.records import Tensors, as_tensor
from fedlab.scenario import Scenario
from fedlab.strategies.parameters import VALIDATION_RECEIVED, VALIDATION_TRAINED
from fedlab.training.task import Batch
from fedlab.updates.client_side import outgoing
from fedlab.updates.packing import learnt

log = logging.getLogger("fedlab")


class Runtime:
    """Trains and tests clients of one scenario on one device.

    Args:
        scenario: The experiment.
        data: The pooled samples.
        partition: Which of them belong to which client.
        device: Where to compute.
        observed: Observations of the network from another process.
        samples: Those of a runtime with the same samples and another network, to be shared.

    Attributes:
        dense_layers: The form of dense layers; ``measured`` is the rule's until `takes` is called.
    """

    def __init__(
        self,
        scenario: Scenario,
        data: FederatedData,
        partition: Partition,
        device: torch.device,
        observed: Observed | None = None,
        samples: KeptSamples | None = None,
    ) -> None:
        self.scenario = scenario
        self.data = data
        self.partition = partition
        self.device = device
        self.preprocess = Preprocess(scenario.data, data).to(device)
        self.trainer = build_client_trainer(scenario, data, device, self.preprocess, observed)
        self.samples = samples or KeptSamples(data, partition, self.preprocess, device)
        self.client_data = self.samples.training
        self.client_validations = self.samples.validation
        self.client_tests = self.samples.tests
        self.domain_tests = self.samples.domain_tests
        self.expect = self.samples.expect
        asked = scenario.engine.dense_layers
        self.dense_layers: Form = "auto" if asked == "measured" else asked
        self._executors: dict[Form, list[Executor]] = {}

    def takes(self, form: Form) -> None:
        """Sets the form of dense layers in what follows."""
        self.dense_layers = form

    @property
    def executors(self) -> list[Executor]:
        """The executors, the fastest first; the last one supports everything."""
        if self.dense_layers not in self._executors:
            setting = Setting(
                self.trainer,
                self.preprocess,
                self.scenario.training.batch_size,
                self.scenario.seed,
                self.dense_layers,
                as_tensor(self.data.train.inputs[:2]).to(self.device),
                self.scenario.engine.execution,
            )
            self._executors[self.dense_layers] = executors_of(setting)
        return self._executors[self.dense_layers]

    def train(
        self,
        client: int,
        received: Received,
        client_state: ClientState,
        into: Preaggregation | None = None,
    ) -> Trained:
        """A local round of one client: by the reference, or by replaying captured steps."""
        cohort = self._cohort([client], received, [client_state])
        able = (each for each in self.executors if each.trains_one and each.supports(cohort))
        (trained,) = self._validated(cohort, next(able).train(cohort, into))
        return trained

    def train_many(
        self,
        clients: Sequence[int],
        received: Received,
        client_states: Sequence[ClientState],
        into: Preaggregation | None = None,
    ) -> list[Trained]:
        """A local round of many clients as one, by the first executor that supports them.

        Clients that do not fit into memory as one are halved until they do.

        Args:
            clients: Their indices.
            received: What came down.
            client_states: Their states.
            into: Sum to which the updates are added, if only their sum is needed.

        Returns:
            For each client its update and its metrics (see `Executor.train`).
        """
        cohort = self._cohort(clients, received, client_states)
        return self._validated(cohort, self._train(cohort, into))

    def _validated(self, cohort: Cohort, trained: list[Trained]) -> list[Trained]:
        """What was trained, with losses on validation samples if the method reports them."""
        if not self.scenario.strategy.reports_validation:
            return trained
        received, found = cohort.received, list[Trained]()
        for client, state, (update, metrics) in zip(
            cohort.clients, cohort.states, trained, strict=True
        ):
            tests = self.client_validations(client)
            sent = replace(received, arrays={**received.arrays, **update.arrays})
            after = {**state, **update.client_state}
            models = {VALIDATION_RECEIVED: (received, state), VALIDATION_TRAINED: (sent, after)}
            losses = {
                name: mean_loss(self.score(self.trainer.personal_model(*model), [tests])[0])
                for name, model in models.items()
                if len(tests.labels)
            }
            found.append((update, {**metrics, **losses}))
        return found

    def _cohort(
        self, clients: Sequence[int], received: Received, client_states: Sequence[ClientState]
    ) -> Cohort:
        datas = [self.client_data(each) for each in clients]
        return Cohort(clients, received, client_states, datas)

    def _train(self, cohort: Cohort, into: Preaggregation | None) -> list[Trained]:
        executor = next(each for each in self.executors if each.supports(cohort))
        try:
            return executor.train(cohort, into)
        except (MemoryError, RuntimeError) as error:
            if len(cohort.clients) == 1 or not out_of_memory(error):
                raise
        # After the except block, whose error keeps the tensors of the failed attempt alive.
        accelerator.empty_cache(self.device)
        log.warning("%d clients do not fit into memory as one; halving them", len(cohort.clients))
        return [trained for part in cohort.halves() for trained in self._train(part, into)]

    def outgoing(
        self, client: int, received: Received, client_state: ClientState, update: Update
    ) -> Update:
        """A client's update, transformed by the scenario's ``updates`` block."""
        spec = self.scenario.updates
        if not spec.changes_updates:
            return update
        key = (client, received.server_round)
        generator = rng.torch_generator(self.scenario.seed, "updates", *key)
        return outgoing(spec, update, received, client_state, self.learning, generator)

    @cached_property
    def learning(self) -> dict[str, torch.Size]:
        """Shapes of the trainable parameters, by name."""
        return {name: tensor.shape for name, tensor in learnt(self.trainer.task.model).items()}

    @cached_property
    def mixes_tests(self) -> bool:
        """Whether the network's outputs for a test sample depend on the others of its batch."""
        return mixes_test_samples(self.trainer.task.model)

    def answer(self, client: int, question: str, received: Received) -> Update:
        """A client's answer to a strategy's query; the client's index is added to the config."""
        asked = replace(received, config={**received.config, "client": client})
        return self.trainer.answer(question, asked, self.client_data(client))

    def evaluate(
        self, client: int, received: Received, client_state: ClientState
    ) -> list[DomainScore]:
        """Tests a client's own model on the client's own test split."""
        return self.evaluate_many([client], received, [client_state])[0]

    def evaluate_many(
        self, clients: Sequence[int], received: Received, client_states: Sequence[ClientState]
    ) -> list[list[DomainScore]]:
        """Tests clients' own models; clients without a state have the same one and share batches.

        What came down says on which split (``split`` of its plain values): that for tests, or the
        samples that clients have set aside.

        Where it says ``adapt-steps``, each client first takes so many steps on its own samples.

        Not where a network's outputs depend on what else is in a batch: then each client's test
        samples are one batch.
        """
        apart = self.mixes_tests or self.trainer.chooses_on_samples
        alike = [place for place, state in enumerate(client_states) if not state and not apart]
        groups = [[place] for place, state in enumerate(client_states) if state or apart]
        validates = received.config.get("split") == "validation"
        own_samples = self.client_validations if validates else self.client_tests
        if steps := int(received.config.get(ADAPT_STEPS, 0)):
            states = [self._adapted(client, received, steps) for client in clients]
            each = zip(states, map(self.client_tests, clients), strict=True)
            return [self.score(state, [tests], self.metrics)[0] for state, tests in each]
        scores: dict[int, list[DomainScore]] = {}
        for places in [alike, *groups] if alike else groups:
            state = self._tested(clients[places[0]], received, client_states[places[0]])
            tests = [own_samples(clients[place]) for place in places]
            scores |= zip(places, self.score(state, tests, self.metrics), strict=True)
        return [scores[place] for place in range(len(clients))]

    def _tested(self, client: int, received: Received, client_state: ClientState) -> Tensors:
        """The model that a client is tested with."""
        batches = self.training_batches(client) if self.trainer.chooses_on_samples else ()
        return self.trainer.tested_model(received, client_state, batches)

    def training_batches(self, client: int) -> Iterator[Batch]:
        """A client's labelled training samples, in their order and not augmented."""
        data, size = self.client_data(client), self.scenario.evaluation.batch_size
        unit = max(self.trainer.task.target.unit(data.known), 1)
        for rows in data.split("labelled").split(max(size // unit, 1) * unit):
            index = rows.to(self.device)
            inputs = channels_last(self.preprocess.inputs(data.inputs[index]))
            yield Batch(inputs, data.labels[index], index)

    def _adapted(self, client: int, received: Received, steps: int) -> Tensors:
        """The model that came down after so many steps on a client's samples."""
        scenario = self.scenario
        return adapted(
            self.trainer.task,
            self.preprocess,
            self._tested(client, received, {}),
            received,
            self.client_data(client),
            steps=steps,
            batch_size=scenario.training.batch_size,
            seed=scenario.seed,
            client=client,
        )

    def evaluate_domain(self, domain: str, received: Received) -> list[DomainScore]:
        """Tests the received model on a domain's whole test set."""
        return self.score(received.model, [self.domain_tests(domain)], self.metrics)[0]

    def score(
        self, state: Tensors, tests: Sequence[TestSamples], metrics: Sequence[Metric] = ()
    ) -> list[list[DomainScore]]:
        """Tests a model on any samples, by what the scenario learns.

        Args:
            state: The model's tensors.
            tests: The samples of each client, or of a domain.
            metrics: What is counted besides the two means of every test (`metrics`).

        Returns:
            As `evaluate`.
        """
        batch_size = self.scenario.evaluation.batch_size
        if self.mixes_tests:
            batch_size = max(1, sum(len(test.labels) for test in tests))
        return evaluate(
            self.trainer.task.model,
            state,
            self.preprocess,
            tests,
            batch_size,
            self.data.target,
            metrics,
        )

    @cached_property
    def metrics(self) -> list[Metric]:
        """The metrics that are counted, for the target as it was fitted."""
        return [metric.on(self.data.target) for metric in self.scenario.metric_set.counted]
