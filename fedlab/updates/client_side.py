"""The client's side of `updates`: transforms and compresses the update that `finish` returns."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fedlab.records import Tensors
from fedlab.training.local_round import ClientState, Received, Update
from fedlab.updates.base import Changes, Compression
from fedlab.updates.packing import Shapes, pack, unpack
from fedlab.updates.spec import UpdatesSpec

MEMORY = "updates"
"""Name of the client-state record of accumulated compression errors (error feedback)."""


def outgoing(
    spec: UpdatesSpec,
    update: Update,
    received: Received,
    client_state: ClientState,
    learning: Shapes,
    generator: torch.Generator,
) -> Update:
    """The transformed and compressed update.

    An update that is not finite is returned unchanged; `fedlab.federation.screening` refuses it
    later and names the tensor.

    Args:
        spec: The scenario's ``updates`` block.
        update: The update of the client's local round.
        received: What came down.
        client_state: The client's state from earlier rounds.
        learning: Shapes of the trainable parameters, by name.
        generator: Random generator of this client and round, on the CPU.
    """
    changes = changes_of(update.arrays, received.arrays, learning)
    every = [tensor for tensors in changes.values() for tensor in tensors.values()]
    finite = [tensor.isfinite().all() for tensor in every]
    if finite and not torch.stack(finite).all():  # one number, so that the host waits once
        return update
    for transform in spec.transforms:
        changes = transform.transform(changes, generator)
    if spec.compression.name == "none":
        return update._replace(arrays=changed(update.arrays, received.arrays, changes))
    memory = client_state.get(MEMORY, {}) if spec.compression.feedback else {}
    changes = {
        record: {name: t + memory.get(f"{record}/{name}", 0.0) for name, t in tensors.items()}
        for record, tensors in changes.items()
    }
    packed = pack(spec.compression, update.arrays, changes, generator)
    kept = _left(spec.compression, packed, changes) if spec.compression.feedback else None
    state = update.client_state if kept is None else {**update.client_state, MEMORY: kept}
    return update._replace(arrays=packed, client_state=state)


def changes_of(up: Mapping[str, Tensors], down: Mapping[str, Tensors], learning: Shapes) -> Changes:
    """The trainable tensors that go up, less those of the same names that came down."""
    return {
        record: {
            name: tensor - down[record][name] if name in down.get(record, {}) else tensor
            for name, tensor in tensors.items()
            if tensor.shape == learning.get(name) and tensor.is_floating_point()
        }
        for record, tensors in up.items()
    }


def changed(
    up: Mapping[str, Tensors], down: Mapping[str, Tensors], changes: Changes
) -> dict[str, Tensors]:
    """The tensors of an update with other changes: the inverse of `changes_of`."""
    return {
        record: {
            name: restored(changes[record][name], down.get(record, {}).get(name), tensor.dtype)
            if name in changes.get(record, {})
            else tensor
            for name, tensor in tensors.items()
        }
        for record, tensors in up.items()
    }


def restored(change: torch.Tensor, base: torch.Tensor | None, dtype: torch.dtype) -> torch.Tensor:
    """The tensor that goes up: the change added to the tensor that came down, if any."""
    return (change if base is None else base + change).to(dtype)


def _left(compression: Compression, packed: Mapping[str, Tensors], changes: Changes) -> Tensors:
    """The compression error of every change."""
    kept: Tensors = {}
    for record, tensors in changes.items():
        sent = unpack(compression, packed, record, {n: t.shape for n, t in tensors.items()})
        kept |= {f"{record}/{n}": change - sent[n].to(change) for n, change in tensors.items()}
    return kept
