"""Records of compressed changes.

The compressed tensors of a record ``arrays`` are in a record ``arrays.encoded``, in which a tensor
``fc.weight`` has the parts ``fc.weight:values``, ``fc.weight:places``; the others stay in
``arrays``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from fedlab.federation.record_layout import Form, Layout
from fedlab.models.anatomy import anatomy_of
from fedlab.records import Tensors
from fedlab.updates.base import Changes, Compression

ENCODED = ".encoded"

Shapes = Mapping[str, torch.Size]
"""Shapes of tensors by name."""


def learnt(model: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters that learn, by name: those whose changes are transformed and compressed."""
    names = set(anatomy_of(model).learning)
    return {name: tensor for name, tensor in model.named_parameters() if name in names}


def pack(
    compression: Compression,
    arrays: Mapping[str, Tensors],
    changes: Changes,
    generator: torch.Generator,
) -> dict[str, Tensors]:
    """The records of an update with its changes compressed.

    Args:
        compression: Compresses each tensor separately.
        arrays: The update's records.
        changes: The changes of those tensors that are compressed.
        generator: Random generator of this client and round.
    """
    packed: dict[str, Tensors] = {}
    for record, tensors in arrays.items():
        rest = {n: t for n, t in tensors.items() if n not in changes[record]}
        if rest:
            packed[record] = rest
        parts = {
            f"{name}:{part}": tensor
            for name, change in changes[record].items()
            for part, tensor in compression.encode(change, generator).items()
        }
        if parts:
            packed[record + ENCODED] = parts
    return packed


def unpack(
    compression: Compression, packed: Mapping[str, Tensors], record: str, shapes: Shapes
) -> Tensors:
    """The decompressed changes of a record, float32; empty if none are compressed."""
    parts: dict[str, Tensors] = {}
    for key, tensor in packed.get(record + ENCODED, {}).items():
        name, _, part = key.rpartition(":")
        parts.setdefault(name, {})[part] = tensor
    return {name: compression.decode(encoded, shapes[name]) for name, encoded in parts.items()}


def packed_layout(
    compression: Compression, layout: Layout, learning: Shapes
) -> dict[str, dict[str, Form]]:
    """The layout of a compressed update.

    Args:
        compression: The compression.
        layout: The layout of the uncompressed update.
        learning: Shapes of the trainable parameters, by name.
    """
    packed: dict[str, dict[str, Form]] = {}
    for record, forms in layout.items():
        rest: dict[str, Form] = {}
        parts: dict[str, Form] = {}
        for name, form in forms.items():
            if form.shape == learning.get(name) and form.dtype.startswith(("float", "bfloat")):
                nothing = torch.zeros(learning[name], dtype=getattr(torch, form.dtype))
                encoded = compression.encode(nothing, torch.Generator())
                parts |= {f"{name}:{part}": Form.of(each) for part, each in encoded.items()}
            else:
                rest[name] = form
        packed |= {record: rest} if rest else {}
        packed |= {record + ENCODED: parts} if parts else {}
    return packed
