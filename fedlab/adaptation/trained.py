"""A finished run with its data and network, loaded for further use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from fedlab.clients.base import Received
from fedlab.data.load import load_data
from fedlab.data.samples import FederatedData, Samples
from fedlab.data.spec import DataSpec
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.models.anatomy.places import with_tensors
from fedlab.models.eval_mode import evaluation_mode
from fedlab.models.memory_format import channels_last
from fedlab.models.mixing import mixes_test_samples
from fedlab.models.per_client import PerClient
from fedlab.preparation import prepare_again
from fedlab.records import Tensors, as_tensor
from fedlab.runs.run import Run
from fedlab.server_app import build_strategy
from fedlab.targets.base import CLASS


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        run: The run.
        runtime: Its data, partition and network.
    """

    run: Run
    runtime: Runtime

    def model(self, client: int | None) -> Tensors:
        """The full state dict of a client's model as it was tested, or of the server's.

        What the server has no value for (normalisation layers of FedBN) has its initial value, and
        so has what a client keeps that has not trained.

        Returns:
            Tensors on the device, by all names for the server and by their first ones for a client.
        """
        device, trainer = self.runtime.device, self.runtime.trainer
        server = {name: tensor.to(device) for name, tensor in self.run.model_state().items()}
        if client is None:
            initial = trainer.task.model.state_dict()
            return {**{name: tensor.to(device) for name, tensor in initial.items()}, **server}
        kept = {
            record: {name: tensor.to(device) for name, tensor in tensors.items()}
            for record, tensors in self.run.client_state(client).items()
        }
        return trainer.evaluated_model(Received({"arrays": server}), kept)

    def domains(self, only: str | None = None) -> tuple[str, ...]:
        """The names of all domains, or of the one that is asked for.

        Raises:
            InputError: If there is no such domain.
        """
        names = self.runtime.data.domain_names
        if only is not None and only not in names:
            raise InputError(f"--domain: the run has no domain '{only}'; it has {', '.join(names)}")
        return names if only is None else (only,)

    def batch(self, pool: Samples, rows: np.ndarray) -> torch.Tensor:
        """Samples of a pool, preprocessed as the network's inputs, on the device.

        Args:
            pool: The training or the test pool.
            rows: Indices into it, shape (n,).
        """
        stored = as_tensor(pool.inputs[rows]).to(self.runtime.device)
        return channels_last(self.runtime.preprocess.inputs(stored))

    @torch.no_grad()
    def outputs(self, state: Tensors, pool: Samples, rows: np.ndarray) -> torch.Tensor:
        """A model's outputs for samples of a pool, float32 of shape (n, outputs), on the CPU.

        Args:
            state: A full state dict.
            pool: The training or the test pool.
            rows: Indices into it, shape (n,) with n > 0.
        """
        model = self.runtime.trainer.task.model
        size = self.runtime.scenario.evaluation.batch_size
        if mixes_test_samples(model):
            size = len(rows)
        state = {name: channels_last(tensor) for name, tensor in state.items()}
        parts = np.array_split(rows, -(-len(rows) // size))
        with evaluation_mode(model), with_tensors(model, state):
            return torch.cat([model(self.batch(pool, part)).float().cpu() for part in parts])


def open_trained(run: Run, load: Callable[[DataSpec], FederatedData] = load_data) -> Trained:
    """Loads the data and the network of a finished run.

    Args:
        run: The run.
        load: Gives its samples.

    Raises:
        InputError: If the run has not finished, or its data cannot be loaded.
    """
    if not run.finished:
        raise InputError(
            f"the run '{run.folder}' has not finished; go on with `fedlab resume {run.folder}`"
        )
    if isinstance(run.scenario.model, PerClient):
        raise InputError(
            f"the clients of the run '{run.folder}' have different networks (model.per_client), "
            "and one is wanted here; take a run with one, or export the model of a client "
            "(fedlab export --client)"
        )
    prepared = prepare_again(run.scenario, load)
    device = run.scenario.resources.device_afterwards()
    return Trained(run, Runtime(prepared.scenario, prepared.data, prepared.partition, device))


def refuse_without_classes(run: Run, because: str) -> None:
    """Refuses a run whose target is not classes.

    Args:
        run: The run.
        because: Why classes are needed.

    Raises:
        InputError: With the reason.
    """
    target = run.scenario.data.target
    if target.kind != CLASS:
        raise InputError(
            f"the run '{run.folder}' learns data.target '{target.name}', and {because}; take a run "
            "of classes"
        )


def refuse_without_labels(run: Run, because: str) -> None:
    """Refuses a run whose clients know the labels of bags alone, or which client has a sample.

    Args:
        run: The run.
        because: Why the label of each sample is needed.

    Raises:
        InputError: With the reason.
    """
    refuse_without_known_classes(run, because)
    if run.scenario.partition.label_proportions:
        raise InputError(
            f"the clients of the run '{run.folder}' know shares of classes in bags of samples "
            f"(partition.label_proportions), and {because}; take a run without them"
        )


def refuse_without_known_classes(run: Run, because: str) -> None:
    """Refuses a run whose clients know no class, and whose network predicts the client instead.

    Args:
        run: The run.
        because: Why classes must be known.

    Raises:
        InputError: With the reason.
    """
    if run.scenario.partition.known_label == "client":
        raise InputError(
            f"the clients of the run '{run.folder}' know no classes (partition.known_label: "
            f"client), and {because}; take a run of classes, or find them (fedlab discover)"
        )


def open_classifier(run: Run, does: str, because: str) -> Trained:
    """Loads a finished run of classes whose method has a global model.

    Args:
        run: The run.
        does: What is to be done with the model, for an error: ``calibrate``.
        because: Why that needs classes, for an error.

    Raises:
        InputError: If the run has not finished, learns another target, or has no global model.
    """
    refuse_without_classes(run, because)
    trained = open_trained(run)
    network = trained.runtime.trainer.task.model
    if not build_strategy(trained.runtime.scenario, network).has_global_model:
        raise InputError(
            f"the run '{run.folder}' is of {run.scenario.strategy.name}, whose clients have local "
            f"models alone, so that there is no global model to {does}; take a run of another "
            "method"
        )
    return trained
