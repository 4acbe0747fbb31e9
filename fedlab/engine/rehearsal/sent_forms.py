"""The layout that a strategy accepts from a client in the first round, as far as it is known."""

from __future__ import annotations

from fedlab.clients.base import Received
from fedlab.config.signatures import is_ours
from fedlab.federation.record_layout import Form, Layout
from fedlab.strategies.base import Strategy


def taken_by(strategy: Strategy, received: Received) -> tuple[Layout, bool] | None:
    """The tensors that a strategy needs from every client, and whether it accepts no others.

    The tensors that a user's `Strategy.aggregate` reads are known only from `Strategy.sent_up`;
    records that a user's `Strategy.broadcast` adds need not come back.

    Args:
        strategy: The strategy.
        received: What it has sent down.

    Returns:
        None if the layout is not known.
    """
    cls = type(strategy)
    down = {
        record: {name: Form.of(tensor) for name, tensor in tensors.items()}
        for record, tensors in received.arrays.items()
    }
    try:
        up = strategy.sent_up(down)
    except Exception:  # a user's own code may raise anything
        return None
    if not is_ours(cls.sent_up):
        return up, True
    if not all(
        is_ours(getattr(cls, each)) for each in ("aggregate", "weighted_mean", "aggregate_train")
    ):
        return None
    if is_ours(cls.broadcast):
        return up, is_ours(cls)
    return {record: forms for record, forms in up.items() if record == "arrays"}, False
