"""A reader of arrays in a zip archive of ``.npy`` files that may come from an untrusted machine.

NumPy's own reader evaluates each array's header as an expression, allocates what that says and
knows compression and pickles. What comes from another machine is only ever what `numpy.savez`
writes for plain numbers, so this reader accepts that format alone: stored (uncompressed) members,
headers of one form, native numbers, and exactly as many bytes as the header says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import numpy as np

HEADER = re.compile(
    rb"\{'descr': '([<|][biuf][1248])', 'fortran_order': False, 'shape': \(([\d, ]{0,200})\), \}"
    rb" *\n"
)
PREFIX = b"\x93NUMPY\x01\x00"
LONGEST_HEADER = 1024
MOST_DIMENSIONS = 32

Accept = Callable[[Mapping[str, tuple[np.dtype, tuple[int, ...]]]], None]
"""Called with dtypes and shapes by name before values are read; raises `ValueError` to refuse."""


def read_arrays(data: bytes, accept: Accept = lambda arrays: None) -> dict[str, np.ndarray]:
    """Reads what `numpy.savez` has written, by name.

    Args:
        data: The archive.
        accept: Looks at what is in it before any value is read.

    Returns:
        Arrays, each in its own memory, in the order in which they were written.

    Raises:
        ValueError: If it is anything else, or is not accepted.
    """
    with _damage():
        archive = ZipFile(BytesIO(data))
        found: dict[str, tuple[ZipInfo, int, np.dtype[Any], tuple[int, ...]]] = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name in found:
                raise ValueError("a name occurs twice")
            found[name] = (member, *_header(archive, member))
        if sum(member.file_size for member, _, _, _ in found.values()) > len(data):
            raise ValueError("they are larger than their archive")
    accept({name: (dtype, shape) for name, (_, _, dtype, shape) in found.items()})
    with _damage():
        return {
            name: np.frombuffer(archive.read(member), dtype, offset=start).reshape(shape).copy()
            for name, (member, start, dtype, shape) in found.items()
        }


@contextmanager
def _damage() -> Generator[None]:
    """Context that turns all errors of reading a damaged archive into one.

    Raises:
        ValueError: In place of any other error.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(f"damaged tensors: {error or type(error).__name__}") from error


def _header(archive: ZipFile, member: ZipInfo) -> tuple[int, np.dtype, tuple[int, ...]]:
    """Offset of an array's values, its type, and its shape.

    Raises:
        ValueError: If it does not have the one form that is read.
    """
    if member.compress_type != ZIP_STORED or member.flag_bits & 1:
        raise ValueError("they are compressed or encrypted")
    if member.compress_size != member.file_size:
        raise ValueError("a size is wrong")
    with archive.open(member) as file:
        prefix = file.read(len(PREFIX) + 2)
        size = int.from_bytes(prefix[-2:], "little")
        if prefix[:-2] != PREFIX or size > LONGEST_HEADER:
            raise ValueError("an array's header has another form")
        header = HEADER.fullmatch(file.read(size))
    if header is None:
        raise ValueError("an array's header has another form")
    dtype = np.dtype(header[1].decode())
    shape = tuple(int(part) for part in header[2].decode().split(",") if part.strip())
    start = len(prefix) + size
    values = dtype.itemsize
    for length in shape:
        values *= length
    if len(shape) > MOST_DIMENSIONS or start + values != member.file_size:
        raise ValueError("an array is not as long as its header says")
    return start, dtype, shape
