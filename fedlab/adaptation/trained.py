"""A finished run with its data and network, ready to be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from fedlab import accelerator
from fedlab.clients.base import Received
from fedlab.data.load import load_data
from fedlab.data.samples import FederatedData
from fedlab.data.spec import DataSpec
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.preparation import prepare_again
from fedlab.records import Tensors
from fedlab.runs.run import Run


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
    prepared = prepare_again(run.scenario, load)
    asked = run.scenario.resources.device
    device = (accelerator.current() if asked != "cpu" else None) or torch.device("cpu")
    return Trained(run, Runtime(prepared.scenario, prepared.data, prepared.partition, device))
