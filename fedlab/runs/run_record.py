"""The data in a run's folder: its scenario, its numbers, its model's tensors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fedlab.errors import InputError
from fedlab.metrics.metric_set import MetricSet
from fedlab.models.per_client import PerClient
from fedlab.partition.natural_clients import label_of
from fedlab.runs import metrics
from fedlab.runs.client_names import client_names
from fedlab.runs.final_model import ALIASES
from fedlab.runs.history import read_counts, read_history
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.tensor_files import read_tensors

if TYPE_CHECKING:
    import pandas
    from torch import Tensor

PASSES = ("forward", "backward", "labelled", "unlabelled")
"""What ``workload.json`` may say beside parameters."""

DIFFER = "differ"
"""What it says of parameters where clients have different networks."""


@dataclass(frozen=True)
class RunRecord:
    """A run as data, finished or not; `fedlab.runs.run.Run` adds pictures and networks.

    Attributes:
        folder: Its folder.
        scenario: What was run.
    """

    folder: Path
    scenario: Scenario

    @cached_property
    def history(self) -> pandas.DataFrame:
        """One row for every number: round, client, domain, split, metric, value, examples.

        Client -1 is the global model; split ``round`` has bytes and seconds of whole rounds.
        """
        return read_history(self.folder)

    @property
    def metric_set(self) -> MetricSet:
        """The run's metrics, with the direction in which they improve."""
        return self.scenario.metric_set

    @cached_property
    def counts(self) -> pandas.DataFrame:
        """The stored counts of metrics on each domain (confusion, ece).

        One row for every count that is not 0, and for the last: round, client (-2: all clients
        together; -1: the global model on a domain that no client has), domain (empty: all samples
        of the clients), split, metric, count, place (label and prediction, or the bin) and value.
        """
        return read_counts(self.folder)

    @property
    def finished(self) -> bool:
        """Whether the run has ended by itself (and not been stopped)."""
        return RunFolder(self.folder).finished

    @property
    def rounds(self) -> int:
        """Rounds done."""
        file = RunFolder(self.folder).finished_file
        if file.is_file():
            return json.loads(file.read_text())["rounds"]
        return int(self.history["round"].max()) if len(self.history) else 0

    @property
    def chosen_round(self) -> int | None:
        """The round whose model was chosen on validation; None where the last one is the run's."""
        file = RunFolder(self.folder).finished_file
        return json.loads(file.read_text()).get("chosen") if file.is_file() else None

    @cached_property
    def counted(self) -> Scenario:
        """The scenario with the number of its natural clients, read from the run's folder.

        Of a run that has not written it yet, it is the scenario as it is.
        """
        file = RunFolder(self.folder).workload_file
        if isinstance(self.scenario.partition.clients, int) or not file.is_file():
            return self.scenario
        written = json.loads(file.read_text(encoding="utf-8"))
        return self.scenario.for_clients(int(written["clients"]), int(written["held_out"]))

    @cached_property
    def client_names(self) -> dict[int, str]:
        """Names by client, where clients are owners of the data; empty where they are hidden.

        Raises:
            InputError: If ``partition.csv`` is damaged.
        """
        return client_names(RunFolder(self.folder).partition_file, self.scenario)

    def client_label(self, client: int) -> str:
        """What tables call a client: ``client 16, ann``, or ``client 16`` where it has no name."""
        return label_of(client, self.client_names.get(client))

    @property
    def workload(self) -> dict[str, float]:
        """What a round asks of a client: empty of a run that has not written it yet.

        ``parameters`` that it trains (unless clients have different networks), samples that go
        ``forward`` and ``backward`` through its network, ``labelled`` and ``unlabelled`` ones of a
        step; all but the first where they are known beforehand.

        Raises:
            InputError: If ``workload.json`` is damaged.
        """
        file = RunFolder(self.folder).workload_file
        if not file.is_file():
            return {}
        try:
            written = json.loads(file.read_text(encoding="utf-8"))
            parameters = written["parameters"]
            found = {} if parameters == DIFFER else {"parameters": int(parameters)}
            return found | {name: float(written[name]) for name in PASSES if name in written}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{file}: is not as `fedlab simulate` writes it ({error}); delete it, and the "
                "parameters that a client trains are left out"
            ) from error

    @property
    def trained_parameters(self) -> int | None:
        """How many parameters a client trains; None of a run that has not written it yet.

        Raises:
            InputError: If its ``workload.json`` is damaged.
        """
        workload = self.workload
        return int(workload["parameters"]) if "parameters" in workload else None

    def summary(self) -> pandas.DataFrame:
        """The first metric, accuracy as a rule, on every domain in the last evaluated round.

        Returns:
            One row per domain: ``clients`` tested on it, ``examples`` they have, ``clients_value``
            (their own models, weighted by examples) and ``global_value`` (the global model).
            Where clients were tested that have never trained, ``untrained`` counts them and
            ``trained_value`` is that of the others.

        Raises:
            InputError: If no round was evaluated yet.
        """
        last = metrics.last_evaluated_round(self.history)
        if last is None:
            raise InputError(self.untested)
        return metrics.by_domain_and_training(self.history, last, self.metric_set.first.name)

    @property
    def untested(self) -> str:
        """Why there is nothing to show of a run without a test, and the remedy, for an error."""
        if not self.finished:
            return f"the run '{self.folder}' has no evaluated round yet; resume it"
        return (
            f"the run '{self.folder}' has finished without a test; make it longer, with tests: "
            f"fedlab resume {self.folder} rounds={self.rounds + 1} evaluation.fraction=1"
        )

    def model_state(self, client: int | None = None) -> dict[str, Tensor]:
        """The model after the last round, or the round that was chosen on validation.

        Args:
            client: A client, for its own model: the server's tensors with what the client keeps
                put over them, or mixed into them, under all their names. By default the server's
                tensors alone.

        Raises:
            InputError: If the run has not finished, or has no such client, or its clients have no
                models by themselves.
        """
        self._refuse_unfinished()
        state, notes = read_tensors(RunFolder(self.folder).model_file)
        if isinstance(self.scenario.model, PerClient):  # these are of the first network alone
            state, notes = {}, {}
        if client is None:
            return state
        kept = self.client_state(client)
        try:
            own = self.scenario.strategy.client_model(state, kept)
        except InputError as error:
            raise InputError(f"client {client} of the run '{self.folder}': {error}") from error
        aliases: dict[str, str] = json.loads(notes.get(ALIASES, "{}"))
        also = {name: own[first].clone() for name, first in aliases.items() if first in own}
        return {**state, **own, **also}

    def client_state(self, client: int) -> dict[str, dict[str, Tensor]]:
        """A client's state, by record, when its model was tested; empty without any.

        Raises:
            InputError: As `model_state`.
        """
        from fedlab.runs.checkpoint import load_client_state

        self._refuse_unfinished()
        folder = RunFolder(self.folder)
        if folder.devices_file.is_file():
            raise InputError(
                f"the run '{self.folder}' was on real devices, and what a client keeps for itself "
                "is on its device; ask for the server's tensors, without a client"
            )
        clients = self.counted.partition.number_of_clients
        if not 0 <= client < clients:
            raise InputError(f"the run has no client {client}; clients go from 0 to {clients - 1}")
        strategy = self.scenario.strategy
        if strategy.tests_more_than_the_model:
            raise InputError(
                f"the run '{self.folder}' is of {strategy.name}, whose clients test with more of "
                "the server's than one model, so that no client has a model by itself; all of it "
                "is in the checkpoints"
            )
        return load_client_state(folder.checkpoints, client, self.chosen_round)

    def _refuse_unfinished(self) -> None:
        if not self.finished:
            raise InputError(
                f"the run '{self.folder}' has not finished; "
                f"go on with `fedlab resume {self.folder}`"
            )

    def __repr__(self) -> str:
        """Folder, scenario, method, seed and progress, in one line."""
        scenario, done = self.scenario, f"{self.rounds} of {self.scenario.rounds} rounds"
        return (
            f"Run('{self.folder}': {scenario.name}, {scenario.strategy.name}, "
            f"seed {scenario.seed}, {done}, {'finished' if self.finished else 'not finished'})"
        )
