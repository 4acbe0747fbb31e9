"""Metrics of the steps of a client's round, read from the device once at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from fedlab.device_copies import to_host


class Metrics:
    """The metrics of a client's steps; the device is not asked for a value before `read`."""

    def __init__(self) -> None:
        self._values: dict[str, list[torch.Tensor]] = {}
        self._sizes: dict[str, list[int]] = {}

    def add(self, metrics: Mapping[str, Any], size: int) -> None:
        """Adds the metrics of a step, means over `size` samples."""
        for name, value in metrics.items():
            self._values.setdefault(name, []).append(torch.as_tensor(value).detach())
            self._sizes.setdefault(name, []).append(size)

    def read(
        self, more: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        """Each metric times its step's size, summed up over the steps in float32.

        Args:
            more: Other scalars, read with them in one copy.

        Returns:
            The sums, and the other scalars on the host.
        """
        scalars = [value for values in self._values.values() for value in values]
        others = [torch.as_tensor(value).detach() for value in more.values()]
        host = iter(to_host([*scalars, *others]))
        sums = {
            name: _weighted([next(host) for _ in values], self._sizes[name])
            for name, values in self._values.items()
        }
        return sums, dict(zip(more, host, strict=True))


def _weighted(values: list[torch.Tensor], sizes: list[int]) -> float:
    total = torch.zeros(())
    for value, size in zip(values, sizes, strict=True):
        total += value * size
    return float(total)
