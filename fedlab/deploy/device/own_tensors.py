"""What of a network no message carries, and so must be the same on server and device by itself.

Parameters that do not learn, constants, and the first values of what clients keep for themselves:
every process makes them from the scenario's seed, or reads them from a file of weights. Another
version of PyTorch, or another file, makes others, and a model that is half of one network and half
of another tests badly without an error. A server therefore sends, for each of its own tensors,
the shape and two sums, which agree to many digits between processors that round differently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import torch
from torch import nn

from fedlab.errors import InputError

TOLERANCE = 1e-4
"""Largest difference of equal tensors' sums, relative to the tensor's norm."""

PIECE = 1 << 16
"""Number of elements in a block of a sum."""


def sketch(model: nn.Module, sent: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Checksums of a network's tensors that are not in messages.

    Args:
        model: The initial network.
        sent: Names of the tensors that a server sends its clients.

    Returns:
        Of each tensor, by its name and form, its norm and a weighted sum of its elements.
    """
    known = set(sent)
    return {
        f"{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}": _sums(tensor)
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if name not in known
    }


def check_own_tensors(
    theirs: Mapping[str, tuple[float, float]], ours: Mapping[str, tuple[float, float]]
) -> None:
    """Refuses to take part if the network's own tensors differ from the server's.

    Args:
        theirs: The server's `sketch`.
        ours: The device's.

    Raises:
        InputError: With the name of the first tensor that differs.
    """
    other = [each for each in (*theirs, *ours) if not _alike(theirs.get(each), ours.get(each))]
    names = list(dict.fromkeys(each.partition(" ")[0] for each in other))
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise InputError(
            f"model: this device and the server do not make the same network: the tensor "
            f"'{names[0]}'{more}, which no message carries, is another here; install the server's "
            "version of PyTorch, and give the device the server's file of weights if there is one"
        )


def _alike(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    if one is None or other is None:
        return False
    allowed = TOLERANCE * max(one[0], other[0])
    return all(abs(a - b) <= allowed for a, b in zip(one, other, strict=True))


@torch.no_grad()
def _sums(tensor: torch.Tensor) -> tuple[float, float]:
    """The norm and the weighted sum of a tensor; values that are not finite count as small ones."""
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    squares = weighted = 0.0
    for place, piece in enumerate(real.detach().cpu().reshape(-1).split(PIECE)):
        values = torch.nan_to_num(piece.double(), nan=1.5, posinf=2.5, neginf=-2.5)
        squares += float(values @ values)
        weighted += float(values @ _weights()[: len(values)]) * (1 + place % 7)
    return squares**0.5, weighted


@lru_cache
def _weights() -> torch.Tensor:
    """Weights that differ between neighbours, so that permuted tensors have other sums."""
    return torch.cos(torch.arange(PIECE, dtype=torch.float64))
