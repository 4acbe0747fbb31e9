"""The data structures that sources yield and later stages use: labelled arrays, by domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from fedlab.data.ids import Ids
from fedlab.data.mapped_pool import Inputs, MappedPool
from fedlab.data.moments import FeatureMoments, moments
from fedlab.data.sample_shape import SampleShape
from fedlab.targets.base import Target
from fedlab.targets.classes import Classes


@dataclass(frozen=True)
class Samples:
    """Labelled samples in one array, or in files of which only the samples in use are in memory.

    Attributes:
        inputs: Images as uint8 of shape (n, channels, height, width); ids as int64 of shape
            (n, length); or numbers as float32, float64 (where float32 makes them equal) or
            int64 (whole ones), of shape (n, features) or channels first: (n, channels, length),
            (n, channels, height, width), (n, channels, depth, height, width). Where a source's
            arrays are large and mapped from files, a `fedlab.data.mapped_pool.MappedPool` of
            these: ``inputs[rows]`` reads samples.
        labels: Class indices, int64 of shape (n,); or what `data.target` makes of them (see
            `fedlab.targets`), of shape (n, ...).
        domains: Domain indices, int64 of shape (n,).
        owners: Owner indices, int64 of shape (n,), -1 where a sample has none; None where no
            source names owners.
    """

    inputs: Inputs
    labels: np.ndarray
    domains: np.ndarray
    owners: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def in_memory(self) -> Samples:
        """The same samples, none of them mapped."""
        return replace(self, inputs=self.inputs[:]) if self.is_mapped else self

    @property
    def is_mapped(self) -> bool:
        """Whether some samples are in files, and are read on access."""
        return isinstance(self.inputs, MappedPool)


@dataclass(frozen=True)
class Domain:
    """One visual (or tabular) domain as a source yields it.

    Attributes:
        name: The domain's name, unique in a scenario.
        train_inputs: As the inputs of `Samples`.
        train_labels: Shape (n,) int64; of other targets as their `Target.check` describes.
        test_inputs: As `train_inputs`, for the test split.
        test_labels: Shape (m,) int64.
        class_names: Names of the classes, in the order of their indices; or of the labels, or the
            targets, in the order of their columns.
        remarks: What the reader had to decide or left out, logged once when the data are loaded.
        ids: Vocabulary and padding of inputs that are ids, where the source knows them.
        train_owners: Who each training sample is of (a writer, a patient), as indices into
            `owner_names`, shape (n,) int64; None where the source does not say.
        test_owners: Likewise, shape (m,).
        owner_names: Names of the owners; one name is one owner, in all domains and sources.
        feature_names: Names of the features of a table, in the order of the inputs' columns; empty
            where they have none.
    """

    name: str
    train_inputs: np.ndarray
    train_labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    ids: Ids | None = None
    train_owners: np.ndarray | None = None
    test_owners: np.ndarray | None = None
    owner_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()

    @classmethod
    def left_out(cls, name: str, class_names: tuple[str, ...]) -> Domain:
        """A domain that ``data.domains`` leaves out, without samples; errors list its name."""
        nothing, no_labels = np.zeros((0, 1), np.float32), np.zeros(0, np.int64)
        return cls(name, nothing, no_labels, nothing, no_labels, class_names)

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
        class_names: Names by class index; of the labels or targets where these are learnt. The
            network has an output for each.
        unseen_domains: Indices of the domains that no client owns. Their samples are in both
            pools; a partition leaves them out, and the global model is tested on them.
        ids: Vocabulary and padding of inputs that are ids; None for all others.
        owner_names: Names by owner index; empty where no source names owners.
        target: What is learnt, fitted to the training samples.
        feature_names: Names of the features of all domains; empty where they have none, or others.
    """

    train: Samples
    test: Samples
    domain_names: tuple[str, ...]
    class_names: tuple[str, ...]
    unseen_domains: tuple[int, ...] = ()
    ids: Ids | None = None
    owner_names: tuple[str, ...] = ()
    target: Target = field(default_factory=Classes)
    feature_names: tuple[str, ...] = ()

    @property
    def strata_names(self) -> tuple[str, ...]:
        """Names by stratum; those of the classes where these are learnt."""
        return self.target.strata_names(self.class_names)

    def strata(self, samples: Samples) -> np.ndarray:
        """The stratum of each sample, int64 of shape (n,): its class, where classes are learnt."""
        return self.target.strata(samples.labels)

    def in_memory(self) -> FederatedData:
        """The same samples, none of them mapped: for machines that do not see the files."""
        return replace(self, train=self.train.in_memory(), test=self.test.in_memory())

    def with_hidden_owners(self) -> FederatedData:
        """The same samples, with numbers in place of the owners' names."""
        names = tuple(f"owner {index}" for index in range(len(self.owner_names)))
        return replace(self, owner_names=names)

    @property
    def is_measured(self) -> bool:
        """Whether inputs are measurements: neither images nor ids."""
        return self.train.inputs.dtype != np.uint8 and self.ids is None

    @property
    def seen_domains(self) -> tuple[int, ...]:
        """Indices of the domains that clients own."""
        return tuple(
            index for index in range(len(self.domain_names)) if index not in self.unseen_domains
        )

    @cached_property
    def moments(self) -> FeatureMoments:
        """Moments of the training samples of all domains that clients own."""
        seen = np.isin(self.train.domains, self.seen_domains)
        return moments(self.train.inputs, np.flatnonzero(seen))

    @property
    def input_shape(self) -> SampleShape:
        """Shape of one sample, without the first axis of the inputs."""
        return SampleShape(self.train.inputs.shape[1:], self.ids)
