"""The steps of several clients side by side, with shorter batches padded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest

import torch
from torch.nn.utils.rnn import pad_sequence

from fedlab.engine.execution.batch_schedule import Schedule
from fedlab.engine.execution.passes import joined


class PaddedSteps:
    """The rows of several clients for every step, shorter batches padded with row 0.

    Args:
        schedules: Those of the clients, the ones with the most steps first, so that the clients of
            every step are a prefix.

    Attributes:
        widths: Rows of each step, with those that pad.
        rows: Indices into each client's samples, int64 of shape (clients, steps, rows).
        real: Which rows are not padding, bool of the same shape.
        lengths: Number of these, int64 of shape (clients, steps).
    """

    def __init__(self, schedules: Sequence[Schedule]) -> None:
        sizes = [tuple(chain(*schedule.sizes)) for schedule in schedules]
        columns = list(zip_longest(*sizes, fillvalue=0))
        self.widths = [max(column) for column in columns]
        self._clients = [sum(size > 0 for size in column) for column in columns]
        self.lengths = torch.tensor(columns, dtype=torch.int64).view(-1, len(sizes)).t()
        places = torch.arange(max(self.widths, default=0))
        self.real = places < self.lengths.unsqueeze(2)
        orders = joined([order for schedule in schedules for order in schedule.orders])
        self.rows = torch.zeros(self.real.shape, dtype=torch.int64)
        self.rows.masked_scatter_(self.real, orders)

    def part(self, of: torch.Tensor, step: int) -> torch.Tensor:
        """What a tensor of the shape of `rows` has for the clients of a step."""
        return of[: self._clients[step], step, : self.widths[step]]


def stacked_with_zeros(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The tensors stacked, shorter ones padded with zeros."""
    equal = len({tensor.shape[0] for tensor in tensors}) == 1
    return torch.stack(list(tensors)) if equal else pad_sequence(list(tensors), batch_first=True)
