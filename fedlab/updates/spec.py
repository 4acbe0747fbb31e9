"""The ``updates`` block of a scenario."""

from __future__ import annotations

from fedlab.config.component import Chosen, ConfigBlock
from fedlab.updates.base import AggregationRule, Compression, UpdateTransform


class UpdatesSpec(ConfigBlock):
    """What happens to updates on their way from a client to the server's next state.

    Attributes:
        transforms: What each client does to its update, one after the other.
        compression: How it is packed for the way up.
        rule: How the server makes one of several; the weighted mean by default.
    """

    transforms: tuple[Chosen[UpdateTransform], ...] = ()
    compression: Chosen[Compression] = "none"  # type: ignore[assignment]
    rule: Chosen[AggregationRule] = "mean"  # type: ignore[assignment]

    @property
    def changes_updates(self) -> bool:
        """Whether anything is done on the client."""
        return bool(self.transforms) or self.compression.name != "none"

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to do at all, so that sums over clients will do."""
        return not self.changes_updates and self.rule.name == "mean"
