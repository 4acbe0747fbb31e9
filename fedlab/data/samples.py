"""What a data source yields and what everything later works on: labelled arrays, by domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from fedlab.targets.base import Target
from fedlab.targets.classes import Classes


@dataclass(frozen=True)
class Samples:
    """Labelled samples in one array.

    Attributes:
        inputs: Images as uint8 of shape (n, channels, height, width), or numbers as float32,
            float64 (where float32 cannot tell them apart) or int64 (whole ones), of shape
            (n, features) or, for series, (n, channels, length).
        labels: Class indices, int64 of shape (n,); or what `data.target` makes of them (see
            `fedlab.targets`), of shape (n, ...).
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
        train_labels: Shape (n,) int64; of other targets as their `Target.check` describes.
        test_inputs: As `train_inputs`, for the test split.
        test_labels: Shape (m,) int64.
        class_names: Names of the classes, in the order of their indices; or of the labels, or the
            targets, in the order of their columns.
        remarks: What the reader had to decide or left out, told once when the data are loaded.
    """

    name: str
    train_inputs: np.ndarray
    train_labels: np.ndarray
    test_inputs: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    remarks: tuple[str, ...] = ()

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
        target: What is learnt, fitted to the training samples.
    """

    train: Samples
    test: Samples
    domain_names: tuple[str, ...]
    class_names: tuple[str, ...]
    unseen_domains: tuple[int, ...] = ()
    target: Target = field(default_factory=Classes)

    @property
    def strata_names(self) -> tuple[str, ...]:
        """Names by stratum; those of the classes where these are learnt."""
        return self.target.strata_names(self.class_names)

    def strata(self, samples: Samples) -> np.ndarray:
        """The stratum of each sample, int64 of shape (n,): its class, where classes are learnt."""
        return self.target.strata(samples.labels)

    @property
    def seen_domains(self) -> tuple[int, ...]:
        """Indices of the domains that clients own."""
        return tuple(
            index for index in range(len(self.domain_names)) if index not in self.unseen_domains
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (channels, height, width), (features,) or (channels, length)."""
        return self.train.inputs.shape[1:]
