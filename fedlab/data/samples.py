"""What a data source yields and what everything later works on: labelled arrays, by domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedlab.data.ids import Ids
from fedlab.data.sample_shape import SampleShape


@dataclass(frozen=True)
class Samples:
    """Labelled samples in one array.

    Attributes:
        inputs: Images as uint8 of shape (n, channels, height, width); ids as int64 of shape
            (n, length); or numbers as float32, float64 (where float32 cannot tell them apart) or
            int64 (whole ones), of shape (n, features) or channels first: (n, channels, length),
            (n, channels, height, width), (n, channels, depth, height, width).
        labels: Class indices, int64 of shape (n,).
        domains: Domain indices, int64 of shape (n,).
    """

    inputs: np.ndarray
    labels: np.ndarray
    domains: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Domain:
    """One visual (or tabular) domain as a source yields it.

    Attributes:
        name: The domain's name, unique in a scenario.
        train_inputs: As the inputs of `Samples`.
        train_labels: Shape (n,) int64.
        test_inputs: As `train_inputs`, for the test split.
        test_labels: Shape (m,) int64.
        class_names: Names of the classes, in the order of their indices.
        remarks: What the reader had to decide or left out, told once when the data are loaded.
        ids: Vocabulary and padding of inputs that are ids, where the source knows them.
    """

    name: str
    train_inputs: np.ndarray
    train_labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    ids: Ids | None = None

    def with_remarks(self, remarks: Sequence[str]) -> Domain:
        """The same domain with further remarks."""
        return replace(self, remarks=(*self.remarks, *remarks))


@dataclass(frozen=True)
class FederatedData:
    """All samples of a scenario, pooled; a client owns index arrays into them.

    Attributes:
        train: The training pool of all domains, domain after domain.
        test: The test pool, likewise.
        domain_names: Names by domain index.
        class_names: Names by class index.
        unseen_domains: Indices of the domains that no client owns. Their samples are in both
            pools; a partition leaves them out, and the global model is tested on them.
        ids: Vocabulary and padding of inputs that are ids; None for all others.
    """

    train: Samples
    test: Samples
    domain_names: tuple[str, ...]
    class_names: tuple[str, ...]
    unseen_domains: tuple[int, ...] = ()
    ids: Ids | None = None

    @property
    def seen_domains(self) -> tuple[int, ...]:
        """Indices of the domains that clients own."""
        return tuple(
            index for index in range(len(self.domain_names)) if index not in self.unseen_domains
        )

    @property
    def input_shape(self) -> SampleShape:
        """Shape of one sample, without the first axis of the inputs."""
        return SampleShape(self.train.inputs.shape[1:], self.ids)
