"""Features of clients' training samples: what the last dense layer of a run's model reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fedlab.adaptation.trained import Trained
from fedlab.models.eval_mode import evaluation_mode
from fedlab.records import Tensors


class ClientFeatures(NamedTuple):
    """Features of one client's labelled training samples.

    Attributes:
        client: Its index.
        features: Float32 of shape (n, features), on the CPU.
        labels: int64 of shape (n,), on the CPU: those that the client sees.
    """

    client: int
    features: Tensor
    labels: Tensor


def client_features(trained: Trained, model: Tensors) -> Iterator[ClientFeatures]:
    """The features of each client that has trained, one client after another.

    The network is in evaluation mode, and samples are not augmented. Clients without labelled
    samples are left out.

    Args:
        trained: The run.
        model: A full state dict.
    """
    runtime = trained.runtime
    task = runtime.trainer.task
    parameters, buffers = task.split(task.anatomy.pick(model))
    held_out = set(runtime.partition.held_out.tolist())
    for client in range(len(runtime.partition)):
        if client in held_out:
            continue
        found, labels = [], []
        with torch.no_grad(), evaluation_mode(task.model):
            for batch in runtime.training_batches(client):
                features, _ = task.features_and_outputs(parameters, buffers, batch.inputs)
                found.append(features.cpu())
                labels.append(batch.labels.cpu())
        if found:
            yield ClientFeatures(client, torch.cat(found), torch.cat(labels))
