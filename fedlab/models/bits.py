"""Boolean masks packed into bits, eight entries in a byte."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad


def packed(masks: Mapping[str, Tensor]) -> Tensor:
    """All entries of named masks, one after the other, as uint8 of shape (ceil(entries / 8),)."""
    entries = torch.cat([mask.flatten() for mask in masks.values()]).to(torch.uint8)
    rows = pad(entries, (0, -len(entries) % 8)).view(-1, 8)
    return (rows << torch.arange(8, dtype=torch.uint8, device=rows.device)).sum(
        dim=1, dtype=torch.uint8
    )


def unpacked(packed_bits: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `packed`: bool masks of the names and shapes of `like`."""
    places = torch.arange(8, dtype=torch.uint8, device=packed_bits.device)
    entries = ((packed_bits[:, None] >> places) & 1).bool().flatten()
    sizes = [tensor.numel() for tensor in like.values()]
    parts = entries[: sum(sizes)].split(sizes)
    return {
        name: part.view(tensor.shape)
        for (name, tensor), part in zip(like.items(), parts, strict=True)
    }
