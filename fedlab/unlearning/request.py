"""What is to be forgotten of which run, and whether that can be done right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedlab.adaptation.trained import Trained, open_classifier, refuse_without_labels
from fedlab.errors import InputError
from fedlab.partition.held_out import count_held_out
from fedlab.partition.spec import PartitionSpec
from fedlab.records import Tensors
from fedlab.runs.checkpoint import Checkpoint, load_checkpoint
from fedlab.runs.run import Run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.server_app import build_strategy
from fedlab.strategies.base import Strategy
from fedlab.unlearning.chosen_samples import chosen_samples
from fedlab.unlearning.forgetting_cost import client_rounds

RETRAIN = "use --method retrain"
"""The remedy where the model cannot be changed so that a client is forgotten."""


@dataclass(frozen=True)
class Request:
    """A client, or some of its samples, that are to be forgotten.

    Attributes:
        trained: The run with its data.
        client: The client's index.
        samples: Indices into the training pool, int64; None for all of the client's.
        scenario: The run's scenario without them: what retraining trains.
    """

    trained: Trained
    client: int
    samples: np.ndarray | None
    scenario: Scenario

    @property
    def run(self) -> Run:
        """The run."""
        return self.trained.run

    @property
    def model_round(self) -> int:
        """The round whose model is the run's."""
        return self.run.chosen_round or self.run.rounds

    @property
    def remaining(self) -> list[int]:
        """The clients that train on, ascending; the client, too, where it keeps samples."""
        out = set(self.trained.runtime.partition.held_out.tolist())
        out |= {self.client} if self.samples is None else set()
        return [each for each in range(len(self.trained.runtime.partition)) if each not in out]

    @property
    def chosen(self) -> np.ndarray:
        """Which of the client's training samples are to be forgotten, bool of shape (n,)."""
        own = self.trained.runtime.partition[self.client].train
        return np.ones(len(own), bool) if self.samples is None else np.isin(own, self.samples)

    @property
    def words(self) -> str:
        """What is to be forgotten, in words."""
        if self.samples is None:
            return f"client {self.client}"
        return f"{len(self.samples)} samples of client {self.client}"

    @property
    def suffix(self) -> str:
        """What the names of runs without it end with."""
        return f"-without-{self.client}" + "-samples" * (self.samples is not None)

    def strategy(self, state: Mapping[str, Tensors]) -> Strategy:
        """The run's strategy with a state of the server."""
        runtime = self.trained.runtime
        held_out = runtime.partition.held_out.tolist()
        made = build_strategy(runtime.scenario, runtime.trainer.task.model, held_out=held_out)
        made.rounds, made.state = self.run.rounds, dict(state)
        return made


def request(run: Run, client: int, samples: str | None = None, seed: int = 0) -> Request:
    """Opens a run of which a client is to be forgotten.

    Args:
        run: The run.
        client: The client.
        samples: Which of its samples (`fedlab.unlearning.chosen_samples`); None for all of it.
        seed: Seed of a share of samples that is drawn.

    Raises:
        InputError: If the run has not finished, was on real devices or a virtual clock, learns no
            classes or has no global model; or if there is no such client, it never trained, or no
            other client does.
    """
    if RunFolder(run.folder).devices_file.is_file():
        raise InputError(
            f"the run '{run.folder}' was on real devices, which have its samples; forget a client "
            "of a simulated run"
        )
    if run.scenario.devices.profiles:
        raise InputError(
            f"the run '{run.folder}' was on a virtual clock (devices.profiles), where every client "
            "has a device that trains; take a run without one"
        )
    if run.scenario.data.features.name == "run":
        raise InputError(
            f"the run '{run.folder}' reads features of another run (data.features), whose network "
            "may have learnt the client's samples; forget the client there, and train on its "
            "features again"
        )
    refuse_without_labels(run, "a membership attack compares losses of each sample's label")
    trained = open_classifier(run, "change", "a membership attack compares losses of classes")
    partition = trained.runtime.partition
    clients, held_out = len(partition), partition.held_out.tolist()
    if not 0 <= client < clients:
        raise InputError(
            f"--client: the run has no client {client}; clients go from 0 to {clients - 1}"
        )
    name = partition.label(client)
    if client in held_out:
        raise InputError(f"--client: {name} was held out and never trained; choose another")
    if samples is None and clients - len(held_out) < 2:
        raise InputError(
            f"--client: {name} is the only one that trains in the run '{run.folder}', so "
            "that nothing would be left of its model; delete the run"
        )
    if client not in client_rounds(run.history)["client"].to_numpy():
        raise InputError(
            f"--client: {name} never took part in the run '{run.folder}', so that its model "
            "has nothing of it; choose another"
        )
    if samples is not None:
        rows = chosen_samples(trained, client, samples, seed)
        out = sorted({*run.scenario.partition.left_out_samples, *rows.tolist()})
        scenario = load_scenario(run.scenario, {"partition.left_out_samples": out})
        return Request(trained, client, rows, scenario)
    held = without_client(run.scenario.partition, held_out, client)
    scenario = load_scenario(run.scenario, {"partition.held_out_clients": held})
    return Request(trained, client, None, scenario)


def without_client(spec: PartitionSpec, held_out: list[int], client: int) -> list[int]:
    """The indices of held-out clients, one more than before.

    Args:
        spec: The run's partition.
        held_out: The clients that do not train.
        client: The client that is to be one of them.

    Raises:
        InputError: If a share of natural clients is held out, which would be drawn anew.
    """
    before = spec.held_out_clients
    if isinstance(spec.clients, int):
        chosen = held_out[: count_held_out(before, spec.clients)]
    elif isinstance(before, float | int):
        raise InputError(
            "partition.held_out_clients: a share of natural clients is drawn from all that have "
            "training samples; name them by their indices, and train again"
        )
    else:
        chosen = list(before or ())
    return sorted([*chosen, client])


def changeable(asked: Request) -> Checkpoint:
    """The server's state at the run's model, which forgetting may change.

    Args:
        asked: What is to be forgotten.

    Raises:
        InputError: If the client's traces are elsewhere than in the global model, the run is
            private, or the checkpoint cannot be read.
    """
    run, scenario = asked.run, asked.run.scenario
    if scenario.privacy is not None:
        raise InputError(
            f"the run '{run.folder}' is private (privacy): its bound holds for the rounds that it "
            f"trained, and neither ascent nor recovery has noise; {RETRAIN}"
        )
    if scenario.data.features.name == "warm_up":
        raise InputError(
            "data.features: 'warm_up' trained the network of the features on the clients' samples, "
            f"the forgotten ones among them; {RETRAIN}"
        )
    folder = RunFolder(run.folder).checkpoints
    try:
        found = load_checkpoint(folder, asked.model_round)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder}: the checkpoint of round {asked.model_round} cannot be read ({error}); "
            f"put it back, or {RETRAIN}"
        ) from error
    more, name = sorted(set(found.server) - {"arrays"}), scenario.strategy.name
    if more or asked.strategy(found.server).overrides("before_rounds"):
        what = ", ".join(more) or "clients' answers"
        raise InputError(
            f"--method: the server of {name} keeps more than a model of its clients ({what}), and "
            f"what client {asked.client} has added to that would stay; {RETRAIN}"
        )
    if found.clients:
        raise InputError(
            f"--method: clients of {name} keep tensors from round to round, which client "
            f"{asked.client} has reached by way of the global model; {RETRAIN}"
        )
    return found


def saved(folder: Path, server_round: int) -> Checkpoint | None:
    """The checkpoint of a round, or None where it is gone."""
    try:
        return load_checkpoint(folder, server_round)
    except (OSError, ValueError, KeyError):
        return None
