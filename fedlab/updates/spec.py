"""The ``updates`` block of a scenario."""

from __future__ import annotations

from functools import cached_property

from fedlab.config.component import Chosen, ConfigBlock
from fedlab.updates.base import AggregationRule, Compression, UpdateTransform


class UpdatesSpec(ConfigBlock):
    """Transformation, compression and aggregation of clients' updates.

    Attributes:
        transforms: Transforms that each client applies to its update, in this order.
        compression: Compression of the update before it is sent.
        rule: Aggregation rule of the server; the weighted mean by default.
    """

    transforms: tuple[Chosen[UpdateTransform], ...] = ()
    compression: Chosen[Compression] = "none"  # type: ignore[assignment]
    rule: Chosen[AggregationRule] = "mean"  # type: ignore[assignment]

    @cached_property
    def changes_updates(self) -> bool:
        """Whether clients transform or compress their updates."""
        return bool(self.transforms) or self.compression.name != "none"

    @property
    def is_plain(self) -> bool:
        """Whether the block has no effect, so that clients' updates may be summed early."""
        return not self.changes_updates and self.rule.name == "mean"
