"""The base of extractors, which turn a scenario's images into features once, before training."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from fedlab.config.component import Component
from fedlab.data.samples import FederatedData
from fedlab.targets.base import EVERY

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment
    from fedlab.partition.partition import Partition


@dataclass(frozen=True)
class ExtractionContext:
    """What an extractor knows about the scenario it works for.

    Attributes:
        scenario: The experiment.
        data: The pooled samples as the sources yield them.
        partition: Which of them belong to which client, for extractors that are trained.
    """

    scenario: Experiment
    data: FederatedData
    partition: Partition


class Extractor(Component):
    """The inputs that clients learn from: the samples themselves, or features of them.

    A user's own extractor is a subclass named by its Python path, ``my_module:MyExtractor``;
    usually of `fedlab.features.frozen.FrozenNetwork`, which needs no more than a network.
    """

    group: ClassVar[str] = "extractors"
    targets: ClassVar[frozenset[str]] = EVERY
    """The kinds of `data.target` that it goes with; all, unless it is trained on labels."""

    @abstractmethod
    def apply(self, context: ExtractionContext) -> FederatedData:
        """The data with other inputs: float32 features of shape (n, features).

        Raises:
            InputError: If the extractor is not available, or cannot take these samples.
        """


class NoExtractor(Extractor):
    """No extractor: the samples themselves."""

    name: Literal["none"] = "none"

    def apply(self, context: ExtractionContext) -> FederatedData:
        """See `Extractor.apply`."""
        return context.data
