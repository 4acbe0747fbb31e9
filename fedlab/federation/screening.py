"""Refuses updates that must not enter a mean: not finite, or with too large a norm."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Message, RecordDict

from fedlab.accelerator import exact, is_accelerator
from fedlab.federation.client_updates import client_of
from fedlab.federation.evaluation_reply import COUNTS
from fedlab.federation.low_rank_sum import LowRankSum
from fedlab.federation.preaggregation import PreaggregatedRecord
from fedlab.federation.weighted_sum import WeightedSum
from fedlab.flower_compat import refused_reply
from fedlab.records import array_records

NOT_FINITE = "its update is not finite"
"""Beginning of the reason of a client whose update has NaN or infinite values."""

REMEDY = "lower training.optimizer.lr or set training.optimizer.clip_norm"


def sum_fault(total: WeightedSum | None) -> str:
    """Why a sum cannot be used, with the first tensor that is not finite; empty if it can."""
    if total is None:
        return ""
    parts = {
        name: _parts(value)
        for tensors in total.arrays.values()
        for name, value in tensors.items()
        if value.dtype.is_floating_point
    }
    # A single value that is not finite makes the sum not finite.
    sums = [part.sum() for part in chain.from_iterable(parts.values())]
    if any(is_accelerator(each.device) for each in sums):  # one value, so the host waits once
        sums = [torch.stack([exact(each).double() for each in sums]).sum()]
    if math.isfinite(sum(each.item() for each in sums)):
        return ""
    bad = next((name for name, each in parts.items() if not _finite(each)), "")
    return f"{NOT_FINITE} ('{bad}'); {REMEDY}" if bad else ""


def update_fault(content: RecordDict) -> str:
    """Why an update cannot be used, with the first tensor that is not finite; empty if it can."""
    for record_name, record in array_records(content).items():
        for name, array in record.items():
            values = array.numpy()
            if np.issubdtype(values.dtype, np.floating) and not _is_finite(values):
                if record_name == COUNTS:
                    metric = name.partition("/")[0]
                    return f"what the metric '{metric}' counts is not finite ('{name}'); mend it"
                return f"{NOT_FINITE} ('{name}'); {REMEDY}"
    return ""


def screen(
    sent: Sequence[Message], replies: Iterable[Message], most: float | None
) -> list[Message]:
    """Replies, with refusals in the place of updates whose norm is too large.

    The norm is the L2 norm over all floating-point tensors that came up, less the tensors of the
    same record and name that went down, if there are any. Running statistics of normalisation are
    among them: they enter the mean as weights do, and a bound on weights alone would let a client
    ruin the model by them.

    Args:
        sent: The messages.
        replies: The replies to all or some of them.
        most: The largest norm; None for no limit.
    """
    if most is None:
        return list(replies)
    by_node = {message.metadata.dst_node_id: message for message in sent}
    return [_screened(by_node[r.metadata.src_node_id], r, most) for r in replies]


def _screened(message: Message, reply: Message, most: float) -> Message:
    if not reply.has_content():
        return reply
    down = array_records(message.content)
    squares: dict[str, float] = {}
    for name, record in array_records(reply.content).items():
        if isinstance(record, PreaggregatedRecord):
            raise ValueError("participation.update_norm needs every client's own update")
        for tensor, square in _squares(record, down.get(name, {})).items():
            squares[tensor] = squares.get(tensor, 0.0) + square
    norm = math.sqrt(sum(squares.values()))
    if norm <= most:
        return reply
    furthest = max(squares, key=lambda tensor: squares[tensor])
    why = (
        f"client {client_of(reply)}: its update goes {norm:.4g} far ('{furthest}' alone "
        f"{math.sqrt(squares[furthest]):.4g}), further than participation.update_norm ({most:g})"
    )
    return refused_reply(message, why)


def _squares(record: ArrayRecord, down: Mapping[str, Array]) -> dict[str, float]:
    """The squared L2 distance of each tensor of a record from the one that went down."""
    squares: dict[str, float] = {}
    for name, array in record.items():
        values = array.numpy()
        if np.issubdtype(values.dtype, np.floating):
            away = values.astype(np.float64)
            if name in down:
                away -= down[name].numpy()
            squares[name] = float(np.vdot(away, away))
    return squares


def _parts(value: torch.Tensor | LowRankSum) -> list[torch.Tensor]:
    """The tensors of a summand."""
    return list(chain.from_iterable(value.terms)) if isinstance(value, LowRankSum) else [value]


def _finite(parts: Iterable[torch.Tensor]) -> bool:
    return all(bool(part.isfinite().all()) for part in parts)


def _is_finite(values: np.ndarray) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):  # a sum may overflow where no value has
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())
