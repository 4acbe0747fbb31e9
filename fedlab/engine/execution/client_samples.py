"""The samples of clients on the device where they are trained on, or tested with."""

from __future__ import annotations

import numpy as np
import torch

from fedlab.accelerator import moved
from fedlab.data.client_data import ClientData
from fedlab.data.mapped_pool import MappedPool
from fedlab.data.preprocess import Preprocess
from fedlab.data.samples import FederatedData, Samples
from fedlab.engine.execution.evaluation import TestSamples
from fedlab.engine.execution.unread import Unread
from fedlab.partition.partition import ClientSplit
from fedlab.records import as_tensor


def training_samples(
    data: FederatedData,
    split: ClientSplit,
    preprocess: Preprocess,
    device: torch.device,
    inputs: np.ndarray | None = None,
) -> ClientData:
    """A client's training samples, with the labels that it sees, as losses read them.

    Args:
        data: The pooled samples.
        split: Which of them are the client's.
        preprocess: Normalises them.
        device: Where to put them.
        inputs: Their inputs, where these have been read already.
    """
    if inputs is None:
        inputs = data.train.inputs[split.train]
    return ClientData(
        inputs=as_tensor(inputs).to(device),
        labels=data.target.to_learn(as_tensor(split.labels)).to(device),
        labelled=as_tensor(split.labelled),
        bags=as_tensor(split.bags) if len(split.bags) else None,
        normalise=preprocess.inputs,
    )


def samples_at(pool: Samples, rows: np.ndarray, device: torch.device) -> TestSamples:
    """The samples of a pool at the given rows, with their true labels as stored.

    Inputs that are in files are read when they are tested.
    """
    inputs = (
        Unread(pool.inputs, rows, device)
        if isinstance(pool.inputs, MappedPool)
        else moved(as_tensor(pool.inputs[rows]), device)
    )
    labels, domains = (moved(as_tensor(each[rows]), device) for each in (pool.labels, pool.domains))
    return TestSamples(inputs, labels, domains)
