"""Compressed changes as records that travel.

What is compressed of a record ``arrays`` is in a record ``arrays.encoded``, in which a tensor
``fc.weight`` has the parts ``fc.weight:values``, ``fc.weight:places``; what is not compressed stays
in ``arrays``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedlab.federation.record_layout import Form, Layout
from fedlab.records import Tensors
from fedlab.updates.base import Changes, Compression

ENCODED = ".encoded"

Shapes = Mapping[str, torch.Size]
"""Shapes of tensors by name."""


def pack(
    compression: Compression,
    arrays: Mapping[str, Tensors],
    changes: Changes,
    generator: torch.Generator,
) -> dict[str, Tensors]:
    """The records of an update with its changes compressed.

    Args:
        compression: Compresses each tensor by itself.
        arrays: The update's records.
        changes: Those of their tensors that are to be compressed.
        generator: Randomness of this client and round alone.
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
    """The changes in the packed form of a record, float32; none if it has no such form."""
    parts: dict[str, Tensors] = {}
    for key, tensor in packed.get(record + ENCODED, {}).items():
        name, _, part = key.rpartition(":")
        parts.setdefault(name, {})[part] = tensor
    return {name: compression.decode(encoded, shapes[name]) for name, encoded in parts.items()}


def packed_layout(
    compression: Compression, layout: Layout, learning: Shapes
) -> dict[str, dict[str, Form]]:
    """The tensors of a packed update, where the plain one looks like `layout`.

    Args:
        compression: How it is packed.
        layout: The plain tensors.
        learning: Shapes of the parameters that learn, by name.
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
