"""The samples of clients and domains in one process, on the device that uses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch

from fedlab.data.client_data import ClientData
from fedlab.data.mapped_pool import MappedPool
from fedlab.data.samples import FederatedData, Samples
from fedlab.engine.execution.evaluation import TestSamples
from fedlab.engine.execution.sample_reading import LastUsed, ReadAhead
from fedlab.engine.execution.unread import Unread
from fedlab.partition.partition import Partition
from fedlab.records import as_tensor

CACHED_CLIENTS = 64
"""Number of clients whose samples stay on the device between rounds, where they are in memory."""


class ClientSamples:
    """Gives clients' samples, and those of whole domains.

    Args:
        data: The pooled samples.
        partition: Which of them belong to which client.
        device: Where they are wanted.
        normalise: Turns inputs into what the network reads.
    """

    def __init__(
        self,
        data: FederatedData,
        partition: Partition,
        device: torch.device,
        normalise: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        self.data = data
        self.partition = partition
        self.device = device
        self.normalise = normalise
        self.training: Callable[[int], ClientData]
        """A client's training samples."""
        self._ahead = None
        if data.train.is_mapped:
            self.training = LastUsed(self._training, self._bytes)
            self._ahead = ReadAhead(self._read, self._bytes)
        else:
            self.training = lru_cache(maxsize=CACHED_CLIENTS)(self._training)
        self.validation = lru_cache(maxsize=CACHED_CLIENTS)(
            lambda client: samples_at(data.train, partition[client].validation, device)
        )
        self.tests = lru_cache(maxsize=CACHED_CLIENTS)(
            lambda client: samples_at(data.test, partition[client].test, device)
        )

    def expect(self, clients: Sequence[int]) -> None:
        """Says who will train next, in their order: what is in files is read ahead.

        Raises:
            LostDataError: If one of the files is gone, or not what it was when the run began.
        """
        if self._ahead is None or not isinstance(self.data.train.inputs, MappedPool):
            return
        self.data.train.inputs.check()  # also where the samples are here already
        kept = self.training
        self._ahead.expect([k for k in clients if not (isinstance(kept, LastUsed) and k in kept)])

    def domain_tests(self, domain: str) -> TestSamples:
        """All test samples of a domain."""
        index = self.data.domain_names.index(domain)
        rows = (self.data.test.domains == index).nonzero()[0]
        return samples_at(self.data.test, rows, self.device)

    def _training(self, client: int) -> ClientData:
        split = self.partition[client]
        inputs = self._read(client) if self._ahead is None else self._ahead.take(client)
        return ClientData(
            inputs=as_tensor(inputs).to(self.device),
            labels=self.data.target.to_learn(as_tensor(split.labels)).to(self.device),
            labelled=as_tensor(split.labelled),
            normalise=self.normalise,
        )

    def _read(self, client: int) -> np.ndarray:
        return self.data.train.inputs[self.partition[client].train]

    def _bytes(self, client: int) -> int:
        inputs = self.data.train.inputs
        return len(self.partition[client].train) * (inputs.nbytes // max(1, len(inputs)))


def samples_at(pool: Samples, rows: np.ndarray, device: torch.device) -> TestSamples:
    """The samples of a pool at the given rows, on a device; those in files when they are tested."""
    inputs = (
        Unread(pool.inputs, rows, device)
        if isinstance(pool.inputs, MappedPool)
        else as_tensor(pool.inputs[rows]).to(device)
    )
    labels, domains = (as_tensor(each[rows]).to(device) for each in (pool.labels, pool.domains))
    return TestSamples(inputs, labels, domains)
