"""The samples of clients on the device where they are trained on, or tested with."""

from __future__ import annotations

import numpy as np
import torch

from fedlab.accelerator import moved
from fedlab.data.client_data import ClientData
from fedlab.data.preprocess import Preprocess
from fedlab.data.samples import FederatedData, Samples
from fedlab.engine.execution.evaluation import TestSamples
from fedlab.partition.partition import ClientSplit
from fedlab.records import as_tensor


def training_samples(
    data: FederatedData, split: ClientSplit, preprocess: Preprocess, device: torch.device
) -> ClientData:
    """A client's training samples, with the labels that it sees, as losses read them.

    Args:
        data: The pooled samples.
        split: Which of them are the client's.
        preprocess: Normalises them.
        device: Where to put them.
    """
    return ClientData(
        inputs=as_tensor(data.train.inputs[split.train]).to(device),
        labels=data.target.to_learn(as_tensor(split.labels)).to(device),
        labelled=as_tensor(split.labelled),
        normalise=preprocess.inputs,
    )


def samples_at(pool: Samples, rows: np.ndarray, device: torch.device) -> TestSamples:
    """The samples of a pool at the given rows, with their true labels as stored."""
    columns = (pool.inputs, pool.labels, pool.domains)
    return TestSamples(*(moved(as_tensor(column[rows]), device) for column in columns))
