"""Settings of the server that do not depend on the method."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from fedlab.metrics.metric_set import MetricSet
from fedlab.privacy.spec import PrivacySpec
from fedlab.row import Split
from fedlab.updates.spec import UpdatesSpec
from fedlab.virtual_time.device_population import DevicePopulation


@dataclass(frozen=True)
class ServerSettings:
    """Sampling, evaluation and tolerance, for every method.

    Attributes:
        seed: Seed of the cohorts.
        fraction_train: Share of the clients that train in a round.
        fraction_evaluate: Share of the clients that test in an evaluated round.
        evaluate_every: Rounds between evaluations.
        max_failed_share: Share of a round's clients that may fail before the run stops.
        updates: What happens to updates on their way, if the scenario wants anything.
        privacy: Noise on what the server makes of the updates, if the scenario wants that.
        min_replies: Replies that a round needs; where it is given, `max_failed_share` is not used.
        update_norm: How far a client may go in a round (`fedlab.federation.screening`).
        metrics: What tests compute.
        splits: What is tested in an evaluated round.
        fleet: The clients' devices; None where time does not matter.
        held_out: Clients that never train; client k is the k-th of the sorted node ids.
        adapt_steps: Steps after which these are tested a second time; 0 does without.
    """

    seed: int = 0
    fraction_train: float = 1.0
    fraction_evaluate: float = 1.0
    evaluate_every: int = 1
    max_failed_share: float = 0.0
    privacy: PrivacySpec | None = None
    fleet: DevicePopulation | None = None
    min_replies: int | None = None
    update_norm: float | None = None
    updates: UpdatesSpec | None = None
    metrics: MetricSet = field(default_factory=MetricSet)
    splits: tuple[Split, ...] = ("test",)
    held_out: frozenset[int] = frozenset()
    adapt_steps: int = 0

    def may_train(self, nodes: Iterable[int]) -> list[int]:
        """Those of all nodes whose clients may train, sorted."""
        every = sorted(nodes)
        if not self.held_out:  # of many clients, none is looked at
            return every
        return [node for k, node in enumerate(every) if k not in self.held_out]

    def never_train(self, nodes: Iterable[int]) -> list[int]:
        """The nodes of held-out clients, sorted."""
        return [node for k, node in enumerate(sorted(nodes)) if k in self.held_out]

    def needed(self, messages: int) -> int:
        """Number of replies that a round of `messages` messages needs."""
        if self.min_replies is not None:
            return max(1, min(self.min_replies, messages))
        return max(1, math.ceil(messages * (1 - self.max_failed_share) - 1e-9))

    @property
    def tolerance(self) -> str:
        """The setting that determines `needed`, for error messages."""
        if self.min_replies is not None:
            return f"participation.min_replies is {self.min_replies}"
        return f"participation.max_failed_share is {self.max_failed_share:g}"
