"""A scenario: everything that defines one experiment, typed, with its ranges and defaults."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from fedlab.config.component import Chosen, ConfigBlock
from fedlab.data.spec import DataSpec
from fedlab.errors import InputError
from fedlab.hardware import ResourcesSpec
from fedlab.metrics.metric_set import MetricSet
from fedlab.metrics.spec import EvaluationSpec
from fedlab.models.per_client import PerClient
from fedlab.models.spec import ModelSpec
from fedlab.partition.client_labels import check_client_labels
from fedlab.partition.spec import PartitionSpec
from fedlab.privacy.spec import PrivacySpec
from fedlab.strategies.parameters import StrategyParameters
from fedlab.targets.base import Target
from fedlab.targets.fits import refuse_other_targets, with_defaults
from fedlab.tracking.base import TrackerParameters
from fedlab.training.spec import TrainingSpec
from fedlab.updates.spec import UpdatesSpec
from fedlab.virtual_time.spec import DevicesSpec


class ParticipationSpec(ConfigBlock):
    """Who takes part in a round.

    Attributes:
        fraction: Share of the clients that train in a round.
        max_failed_share: Share of a round's clients that may fail before the run stops; by default
            none in a simulation, and all but one of real devices.
        min_replies: Replies that a round needs instead, however many clients it has.
        timeout: Seconds after which a round goes on without the missing replies. In one process
            (``resources.backend: local``) no client can be interrupted: one that is training when
            it passes counts as late, but is waited for.
        update_norm: How far a client may go in a round: the norm of what it sends up, less what was
            sent down to it, over all tensors of floats, running statistics of batch normalisation
            among them, which enter the mean as weights do. A client that goes further fails in
            the round.
    """

    renamed: ClassVar = {"deadline": "timeout"}
    fraction: float = Field(default=1.0, gt=0, le=1)
    max_failed_share: float | None = Field(default=None, ge=0, lt=1)
    min_replies: PositiveInt | None = None
    timeout: PositiveFloat | None = None
    update_norm: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class EngineSpec(ConfigBlock):
    """How the clients of a round are executed; changes results by rounding at most.

    Attributes:
        execution: ``sequential``, one client after the other; ``vmap``, which trains a stack of
            clients as one wherever the method and the network allow it; ``auto`` chooses between
            them by a rule that knows network and device; ``measured`` times both on the first
            clients and remembers the choice. ``graph`` (CUDA) and ``compile`` train one client
            after the other by steps that are captured once, wherever the method allows it.
        stack_size: Clients that train as one, at most; by default as many as suit network and
            device.
        dense_layers: How dense layers learn by SGD: ``dense`` writes their weights in every step;
            ``low_rank`` keeps what they learn as a sum of outer products, exact as well, wherever
            the method allows it; ``auto`` takes that where a client's samples are few for the
            layer's width, by a rule that knows the processor's maker; ``measured`` times all three
            on the first clients and remembers the times on this machine.
    """

    renamed: ClassVar = {"cohort": "stack_size", "linear": "dense_layers"}
    respelt: ClassVar = {
        "execution": {"one_by_one": "sequential", "vectorised": "vmap", "vectorized": "vmap"}
    }
    execution: Literal["auto", "sequential", "vmap", "measured", "graph", "compile"] = "auto"
    stack_size: PositiveInt | None = None
    dense_layers: Literal["auto", "dense", "low_rank", "measured"] = "auto"

    @property
    def is_timed(self) -> bool:
        """Whether a timing chooses how clients are executed, and so the last digits of results."""
        return "measured" in (self.execution, self.dense_layers)

    @model_validator(mode="after")
    def _says_one_thing(self) -> EngineSpec:
        captures = self.execution in ("graph", "compile")
        for key, plain in (("dense_layers", ("auto", "dense")), ("stack_size", (None,))):
            if captures and (value := getattr(self, key)) not in plain:
                raise ValueError(
                    f"engine.{key} {value} is not for engine.execution {self.execution}, which "
                    "trains one client after the other with dense layers; leave one of the two out"
                )
        return self


class OutputSpec(ConfigBlock):
    """Where a run is kept.

    Attributes:
        dir: Folder of all runs.
        checkpoint_every: Rounds between checkpoints; a crash loses at most that many. With real
            devices there is one after every round.
        trackers: Experiment trackers that follow the run; never change a result.
        owner_names: Whether tables, pictures and reports name the owners of the data; otherwise
            they have numbers there.
    """

    dir: Path = Path("runs")
    checkpoint_every: PositiveInt = 1
    trackers: tuple[Chosen[TrackerParameters], ...] = ()
    owner_names: bool = True


class Scenario(ConfigBlock):
    """One experiment. See the fields' own classes for what each block may say.

    Attributes:
        name: Name of the experiment and, with strategy and seed, of the run's folder.
        description: What it shows; the comment that opens the file does as well.
        seed: Seed of the partition, the initial model, the cohorts and all local training.
        rounds: Rounds of training.
        data: Where samples come from.
        partition: Which client gets which of them.
        model: The network.
        strategy: The method.
        training: What a client does in a round.
        participation: Who takes part in a round.
        evaluation: What is measured, and how often.
        resources: What the simulation runs on.
        engine: How the clients of a round are executed.
        output: Where the run is kept.
        updates: What happens to updates on their way: transforms, compression, the rule that makes
            one of several; nothing by default.
        privacy: Central differential privacy; none by default.
        devices: What clients run on, on a virtual clock; none by default.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    description: str = ""
    seed: int = Field(default=0, ge=0)
    rounds: PositiveInt = 20
    data: DataSpec
    partition: PartitionSpec
    model: Chosen[ModelSpec]
    strategy: Chosen[StrategyParameters] = "fedavg"  # type: ignore[assignment]
    training: TrainingSpec = TrainingSpec()
    participation: ParticipationSpec = ParticipationSpec()
    updates: UpdatesSpec = UpdatesSpec()
    privacy: PrivacySpec | None = None
    devices: DevicesSpec = DevicesSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    resources: ResourcesSpec = ResourcesSpec()
    engine: EngineSpec = EngineSpec()
    output: OutputSpec = OutputSpec()

    @model_validator(mode="before")
    @classmethod
    def _follows_its_target(cls, values: Any) -> Any:
        """The loss and the metrics default to those of the target."""
        return with_defaults(cast("dict[str, Any]", values)) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _goes_with_its_target(self) -> Scenario:
        refuse_other_targets(self)
        if self.partition.label_proportions:
            self.partition.label_proportions.check(self)
        if self.partition.known_label == "client":
            check_client_labels(self)
        return self

    @property
    def cohort_size(self) -> int:
        """Number of clients that train in a round.

        Raises:
            InputError: If clients are natural, and the data have not been loaded.
        """
        return round(self.participation.fraction * self.partition.training_clients)

    @property
    def networks(self) -> tuple[Scenario, ...]:
        """One scenario for each of its networks; itself where clients share one."""
        if not isinstance(self.model, PerClient):
            return (self,)
        return tuple(self.model_copy(update={"model": each}) for each in self.model.per_client)

    def of_client(self, client: int) -> Scenario:
        """The scenario with a client's network alone."""
        if not isinstance(self.model, PerClient):
            return self
        return self.networks[self.model.place_of(client)]

    @property
    def metric_set(self) -> MetricSet:
        """The metrics as one object."""
        return MetricSet(self.evaluation.metrics, self.data.target)

    def with_target(self, target: Target) -> Scenario:
        """The same scenario with its target as it was fitted to the data."""
        data = self.data.model_copy(update={"target": target})
        return self.model_copy(update={"data": data})

    @property
    def largest_cohort(self) -> int:
        """`cohort_size`; for natural clients not yet counted, its upper bound."""
        clients = self.partition.clients
        if self.partition.is_counted or isinstance(clients, int):
            return self.cohort_size
        return round(self.participation.fraction * (clients.most or sys.maxsize)) or 1

    def for_clients(self, clients: int, held_out: int) -> Scenario:
        """The same scenario with the number of natural clients in the data.

        Args:
            clients: Their number.
            held_out: How many of them are never trained.

        Raises:
            InputError: If so many do not go together with the rest.
        """
        if isinstance(self.partition.clients, int):
            return self
        known = self.partition.counted(clients, held_out)
        scenario = self.model_copy(update={"partition": known})
        try:
            scenario._check_participation()
        except ValueError as error:
            raise InputError(str(error)) from error
        if held_out and self.devices.profiles:
            raise InputError(
                f"partition.clients: {held_out} of the natural clients are tested alone, and on a "
                "virtual clock (devices.profiles) every client has a device that trains; use "
                "new_owners: left_out, or leave devices.profiles out"
            )
        return scenario

    @model_validator(mode="after")
    def _held_out_clients_are_tested(self) -> Scenario:
        held_out = self.partition.held_out_clients is not None
        if self.evaluation.adapt_steps and not held_out:
            raise ValueError(
                f"evaluation.adapt_steps {self.evaluation.adapt_steps} adapts to clients that "
                "are never trained, and there are none; add partition.held_out_clients: 0.2, or "
                "leave it out"
            )
        if held_out and self.devices.profiles:
            raise ValueError(
                "partition.held_out_clients: on a virtual clock (devices.profiles) every client "
                "has a device that trains; leave one of the two out"
            )
        return self

    @model_validator(mode="after")
    def _clients_take_part(self) -> Scenario:
        if self.partition.is_counted:
            self._check_participation()
        return self

    def _check_participation(self) -> None:
        """Refuses shares that sample no client, and more replies than there are clients."""
        clients = self.partition.training_clients
        for key in ("participation", "evaluation"):
            fraction = getattr(self, key).fraction
            if round(fraction * clients) < 1 and (fraction > 0 or key == "participation"):
                raise ValueError(
                    f"{key}.fraction {fraction} of {clients} clients samples no client; "
                    f"use at least {1 / clients:.4g}" + ", or 0" * (key == "evaluation")
                )
        needed = self.participation.min_replies
        if needed is not None and needed > self.cohort_size:
            raise ValueError(
                f"participation.min_replies {needed} are more than the {self.cohort_size} clients "
                "of a round; ask for fewer, or raise participation.fraction"
            )
