"""Copies of many tensors between host and accelerator, batched into one transfer.

Each copy costs the host its time, and one to the host a wait for everything before it; a model of
50 tensors would pay that 50 times. Here their bytes travel as one tensor, in their own order of
memory, and are cut apart again by views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

ALIGNED = 64
"""Bytes at whose multiples tensors begin on a device, where kernels read fastest."""


def to_device(tensors: Sequence[Tensor], device: torch.device | str) -> list[Tensor]:
    """The tensors on a device; tensors from the host then share one buffer there.

    Strides are kept, where the values have no gaps between them.
    """
    device = torch.device(device)
    if device.type == "cpu":
        return to_host(tensors)
    far = [place for place, tensor in enumerate(tensors) if _travels(tensor, device)]
    dense = [_dense(tensors[place]) for place in far]
    starts, end = [], 0
    for tensor in dense:
        starts.append(end)
        end += -(-tensor.nbytes // ALIGNED) * ALIGNED
    buffer = torch.zeros(end, dtype=torch.uint8)
    for tensor, start in zip(dense, starts, strict=True):
        buffer[start : start + tensor.nbytes] = _bytes(tensor)
    sent = buffer.to(device) if far else buffer
    made = [_empty_on(device, tensor) for tensor in tensors]
    for place, tensor, start in zip(far, dense, starts, strict=True):
        made[place] = _like(tensor, sent[start : start + tensor.nbytes])
    return made


def to_host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors on the host, with one synchronisation; strides are kept as in `to_device`."""
    far = [place for place, tensor in enumerate(tensors) if _travels(tensor, "cpu")]
    made = [_empty_on(torch.device("cpu"), tensor) for tensor in tensors]
    if not far:
        return made
    # Those with the largest values first, so that each begins where its type may.
    far.sort(key=lambda place: -tensors[place].element_size())
    dense = [_dense(tensors[place].detach()) for place in far]
    came = torch.cat([_bytes(tensor) for tensor in dense]).cpu()
    parts = came.split([tensor.nbytes for tensor in dense])
    for place, tensor, part in zip(far, dense, parts, strict=True):
        made[place] = _like(tensor, part)
    return made


def records_to_host(
    records: Mapping[str, Mapping[str, Tensor]],
) -> dict[str, dict[str, Tensor]]:
    """Named records of named tensors on the host, in one copy."""
    moved = iter(to_host([t for tensors in records.values() for t in tensors.values()]))
    return {record: {name: next(moved) for name in ts} for record, ts in records.items()}


def _travels(tensor: Tensor, device: torch.device | str) -> bool:
    return tensor.device.type != torch.device(device).type and tensor.numel() > 0


def _empty_on(device: torch.device, tensor: Tensor) -> Tensor:
    """A tensor without values on a device; others as they are."""
    return tensor if tensor.numel() else tensor.new_empty(tensor.shape, device=device)


def _dense(tensor: Tensor) -> Tensor:
    """The tensor, or a copy without gaps between its values."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return tensor if last or tensor.is_contiguous() else tensor.contiguous()


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8)


def _like(tensor: Tensor, values: Tensor) -> Tensor:
    return values.view(tensor.dtype).as_strided(tensor.size(), tensor.stride())
