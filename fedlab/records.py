"""Conversion of tensors to Flower records and back, without a copy where possible.

Flower's own `Array` holds the bytes that ``np.save`` writes: building and reading one costs tens of
microseconds each, for every array of every client. Ours holds the values and makes the wire bytes
only when they are asked for, that is, when a message really leaves the machine.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, cast

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, RecordDict

from fedlab.archive import Accept, read_arrays
from fedlab.device_copies import to_device, to_host

PACKED = "fedlab.npz"
"""Names an array that holds all arrays of a record, and says how."""

Tensors = dict[str, torch.Tensor]
"""Named tensors, such as a state dict or a part of one."""


class ValueArray(Array):
    """A Flower `Array` that keeps its values and serialises them on demand."""

    def __init__(self, values: np.ndarray) -> None:
        self.dtype = str(values.dtype)
        self.shape = tuple(values.shape)
        self.stype = "numpy.ndarray"
        self._values = values

    @property
    def data(self) -> bytes:  # type: ignore[override]
        """The serialised array: the ``.npy`` format, never a pickle."""
        buffer = BytesIO()
        np.save(buffer, self._values, allow_pickle=False)
        return buffer.getvalue()

    def numpy(self) -> Any:
        """The values themselves; do not write to them."""
        return self._values


def to_record(tensors: Mapping[str, torch.Tensor]) -> ArrayRecord:
    """Wraps tensors as a Flower record; CPU tensors are shared, not copied."""
    record = ArrayRecord()  # its constructor would turn every array it is given into bytes
    for name, tensor in zip(tensors, to_host(list(tensors.values())), strict=True):
        record[name] = ValueArray(tensor.detach().contiguous().numpy())
    return record


def to_wire(content: RecordDict) -> RecordDict:
    """The same records as they are sent between machines: one array for each record.

    Flower sends every array by itself, with two requests each, and only arrays of Flower's class.
    """
    return RecordDict(
        {
            name: ArrayRecord({PACKED: _packed(record)})
            if isinstance(record, ArrayRecord)
            else record
            for name, record in content.items()
        }
    )


def from_wire(content: RecordDict) -> RecordDict:
    """The inverse of `to_wire`.

    Raises:
        ValueError: If tensors are damaged, or were packed by another program.
    """
    return RecordDict(
        {
            name: unpacked(record) if isinstance(record, ArrayRecord) else record
            for name, record in content.items()
        }
    )


def _packed(record: ArrayRecord) -> Array:
    buffer = BytesIO()
    # A prefix, since a tensor could be called like one of `savez`'s parameters.
    np.savez(buffer, **{f"/{name}": array.numpy() for name, array in record.items()})  # type: ignore[arg-type]
    data = buffer.getvalue()
    return Array(dtype="uint8", shape=(len(data),), stype=PACKED, data=data)


def unpacked(packed: ArrayRecord, accept: Accept = lambda arrays: None) -> ArrayRecord:
    """One record that `to_wire` has packed; it is not trusted, since any machine may send one.

    Args:
        packed: The record.
        accept: Looks at names, types and shapes before any value is read.

    Raises:
        ValueError: If it is damaged, was packed by another program, or is not accepted.
    """
    array = packed.get(PACKED)
    if array is None or len(packed) != 1:
        raise ValueError("damaged tensors: they are not packed as fedlab packs them")

    def named(arrays: Mapping[str, Any]) -> None:
        accept({name.removeprefix("/"): form for name, form in arrays.items()})

    record = ArrayRecord()
    for name, values in read_arrays(array.data, named).items():
        record[name.removeprefix("/")] = ValueArray(values)
    return record


def from_record(record: Mapping[str, Array], device: torch.device | str = "cpu") -> Tensors:
    """Unwraps a Flower record. The tensors may share memory with it: do not write to them."""
    return _on({"": {n: as_tensor(array.numpy()) for n, array in record.items()}}, device)[""]


def _on(records: dict[str, Tensors], device: torch.device | str) -> dict[str, Tensors]:
    """The records on a device, in one copy; there, weights of convolutions have channels last."""
    if torch.device(device).type == "cpu":
        return records
    last = torch.channels_last
    every = [t for tensors in records.values() for t in tensors.values()]
    every = [t.contiguous(memory_format=last) if t.dim() == 4 else t for t in every]
    sent = iter(to_device(every, device))
    return {record: {name: next(sent) for name in ts} for record, ts in records.items()}


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over an array's memory, which may be read-only (Ray's object store)."""
    over = cast(
        Callable[[np.ndarray], torch.Tensor],
        torch.from_numpy,  # pyright: ignore[reportUnknownMemberType]
    )
    if array.flags.writeable:
        return over(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return over(array)


def array_records(content: RecordDict) -> dict[str, ArrayRecord]:
    """The array records of a message, by name (Flower's own view of them is slow to make)."""
    return {name: record for name, record in content.items() if isinstance(record, ArrayRecord)}


def arrays_of(content: RecordDict, device: torch.device | str = "cpu") -> dict[str, Tensors]:
    """All array records of a message, decoded, by name."""
    records = {name: from_record(record) for name, record in array_records(content).items()}
    return _on(records, device)


def tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> int:
    """Bytes of the values of named tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def record_bytes(record: ArrayRecord) -> int:
    """Bytes of the array values in a record (headers not counted)."""
    return sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in record.values())


def payload_bytes(content: RecordDict) -> int:
    """Bytes of the array values in a message (headers and metrics not counted)."""
    return sum(record_bytes(record) for record in array_records(content).values())
