"""A record of a strategy's state with numbers of each client, stored in checkpoints.

It has ``clients``, int64 of shape (rows,) in ascending order, and float64 columns of that shape.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedlab.records import Tensors


def client_table(**columns: Mapping[int, float]) -> Tensors:
    """A record from columns by client; NaN for clients that a column lacks."""
    clients = sorted({client for column in columns.values() for client in column})
    values = {
        name: torch.tensor([column.get(k, torch.nan) for k in clients], dtype=torch.float64)
        for name, column in columns.items()
    }
    return {"clients": torch.tensor(clients, dtype=torch.int64), **values}


def column_of(record: Tensors, name: str) -> dict[int, float]:
    """A column by client, without the clients that it lacks.

    Args:
        record: The record; empty where there is none yet.
        name: Name of the column.
    """
    if not record:
        return {}
    pairs = zip(record["clients"].tolist(), record[name].tolist(), strict=True)
    return {client: value for client, value in pairs if value == value}
