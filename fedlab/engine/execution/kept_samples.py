"""The samples of clients that stay in a process between rounds, and those that it reads ahead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fedlab.data.client_data import ClientData
from fedlab.data.mapped_pool import MappedPool
from fedlab.data.preprocess import Preprocess
from fedlab.data.samples import FederatedData
from fedlab.engine.execution.client_samples import samples_at, training_samples
from fedlab.engine.execution.evaluation import TestSamples
from fedlab.engine.execution.sample_reading import LastUsed, ReadAhead
from fedlab.partition.partition import Partition


class KeptSamples:
    """Gives clients' samples, and those of whole domains.

    Args:
        data: The pooled samples.
        partition: Which of them belong to which client.
        preprocess: Normalises them.
        device: Where they are wanted.
    """

    def __init__(
        self,
        data: FederatedData,
        partition: Partition,
        preprocess: Preprocess,
        device: torch.device,
    ) -> None:
        self.data = data
        self.partition = partition
        self.preprocess = preprocess
        self.device = device
        self.training = LastUsed[ClientData](self._training)
        """A client's training samples."""
        self.validation = LastUsed[TestSamples](
            lambda client: samples_at(data.train, partition[client].validation, device)
        )
        self.tests = LastUsed[TestSamples](
            lambda client: samples_at(data.test, partition[client].test, device)
        )
        self._ahead = ReadAhead(self._read, self._bytes) if data.train.is_mapped else None

    def expect(self, clients: Sequence[int]) -> None:
        """Says who will train next, in their order: what is in files is read ahead.

        Raises:
            LostDataError: If one of the files is gone, or not what it was when the run began.
        """
        if self._ahead is None or not isinstance(self.data.train.inputs, MappedPool):
            return
        self.data.train.inputs.check()  # also where the samples are here already
        self._ahead.expect([client for client in clients if client not in self.training])

    def domain_tests(self, domain: str) -> TestSamples:
        """All test samples of a domain."""
        index = self.data.domain_names.index(domain)
        rows = (self.data.test.domains == index).nonzero()[0]
        return samples_at(self.data.test, rows, self.device)

    def _training(self, client: int) -> ClientData:
        inputs = self._read(client) if self._ahead is None else self._ahead.take(client)
        split = self.partition[client]
        return training_samples(self.data, split, self.preprocess, self.device, inputs)

    def _read(self, client: int) -> np.ndarray:
        return self.data.train.inputs[self.partition[client].train]

    def _bytes(self, client: int) -> int:
        inputs = self.data.train.inputs
        return len(self.partition[client].train) * (inputs.nbytes // max(1, len(inputs)))
