"""A trained model with its test samples: the reference for an exported model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedlab.clients.base import ClientTrainer, Received
from fedlab.data.samples import FederatedData
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.export.folding import fold_view_heads, fold_weight_standardisation
from fedlab.export.program import Program, Standardise
from fedlab.features.base import ExtractionContext, NoExtractor
from fedlab.features.frozen import FrozenNetwork
from fedlab.models.adapters.lora_layers import merge
from fedlab.models.anatomy import fill
from fedlab.models.anatomy.places import with_tensors
from fedlab.models.copies import copy_of
from fedlab.models.memory_format import channels_last
from fedlab.models.per_client import PerClient
from fedlab.preparation import divide, prepare_again
from fedlab.records import Tensors
from fedlab.runs.run_record import RunRecord
from fedlab.scenario import Scenario


@dataclass(frozen=True)
class Original:
    """A model of a finished run.

    Attributes:
        runtime: The run's data, partition and network.
        state: The model's tensors by name.
        client: Whose model it is, or None for the server's.
    """

    runtime: Runtime
    state: Tensors
    client: int | None

    @classmethod
    def of(cls, run: RunRecord, client: int | None) -> Original:
        """Opens a run's model.

        Raises:
            InputError: If the run has not finished, or there is no such model.
        """
        kept = {} if client is None else run.client_state(client)
        server = run.model_state()
        if client is None and isinstance(run.scenario.model, PerClient):
            raise InputError(
                f"the run '{run.folder}' has no global model, as its clients have different "
                "networks (model.per_client); name a client"
            )
        prepared = prepare_again(run.scenario)
        cpu = torch.device("cpu")
        scenario = run.scenario if client is None else run.scenario.of_client(client)
        runtime = Runtime(scenario, prepared.data, prepared.partition, cpu)
        trainer = runtime.trainer
        state = trainer.evaluated_model(Received({"arrays": server}), kept)
        _refuse_untrained(state, trainer, run.counted, client)
        return cls(runtime, state, client)

    @torch.inference_mode()
    def __call__(self, stored: Tensor) -> Tensor:
        """Outputs for samples in the form of the run's pools, in the data's units."""
        batch = channels_last(self.runtime.preprocess.inputs(stored))
        model = self.runtime.trainer.task.model.eval()
        with with_tensors(
            model, {name: channels_last(tensor) for name, tensor in self.state.items()}
        ):
            outputs = model(batch)
        in_units = self.runtime.data.target.in_units()
        return outputs if in_units is None else in_units(outputs)

    @property
    def scenario(self) -> Scenario:
        """The run's scenario, with the target as it was fitted to the data."""
        return self.runtime.scenario.with_target(self.runtime.data.target)

    @property
    def rows(self) -> np.ndarray:
        """Test samples to compare on: the client's own, where there are any, or all."""
        everyone = np.arange(len(self.runtime.data.test))
        own = everyone if self.client is None else self.runtime.partition[self.client].test
        return own if len(own) else everyone

    def program(self, whole: bool) -> tuple[Program, FederatedData]:
        """The model as one module without fedlab's code around it, and the samples for it.

        Args:
            whole: Whether it is for inference alone and begins with what the sources yield; if
                not, the network stays as it was trained, and takes what it was trained on.

        Raises:
            InputError: If what stands before the network is no network.
        """
        network = fill(copy_of(self.runtime.trainer.task.model), self.state)
        samples, extractor = self.runtime.data, None
        if whole:
            network = merge(fold_weight_standardisation(fold_view_heads(network)))
            samples, extractor = self._extractor()
        in_units = self.runtime.data.target.in_units()
        program = Program(network, Standardise.of(self.runtime.preprocess), extractor, in_units)
        return program.requires_grad_(False).eval(), samples

    def _extractor(self) -> tuple[FederatedData, nn.Module | None]:
        """The sources' samples, and the extractor that makes the run's inputs of them."""
        scenario, features = self.runtime.scenario, self.runtime.scenario.data.features
        if isinstance(features, NoExtractor):
            return self.runtime.data, None
        if not isinstance(features, FrozenNetwork):
            raise InputError(
                f"data.features: '{features.name}' is no frozen network, so that it cannot become "
                "part of a program; use --to safetensors, which takes its features"
            )
        images, partition = divide(scenario)
        return images, features.extractor(ExtractionContext(scenario, images, partition)).cpu()


def _refuse_untrained(
    state: Tensors, trainer: ClientTrainer, scenario: Scenario, client: int | None
) -> None:
    """Refuses a model that has the network's initial values where training would move them."""
    initial = trainer.task.initial
    untrained = [name for name in (*trainer.shared, *trainer.local) if state[name] is initial[name]]
    if not untrained:
        return
    method = f"{scenario.strategy.name} keeps {len(untrained)} tensors with its clients"
    if client is None:
        last = scenario.partition.number_of_clients - 1
        raise InputError(
            f"{method}, so that there is no global model to export; name a client (0 to {last}) "
            "with --client"
        )
    raise InputError(
        f"{method}, and the run has none of client {client}, which has not trained or keeps them "
        "on its own device; name another client with --client"
    )
