"""Tensors on disk, in safetensors, which cannot execute code.

The format itself sorts tensors by type and name. Floats added up in the order of a record would
then have other last bits from a file than from memory, so the order is kept beside them. It
does not notice damage either, so a checksum of every byte of the file is kept in it, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

from fedlab.errors import InputError
from fedlab.files import write_whole

ORDER = "order"
"""The note that holds the names of the tensors, a JSON list, in the order they were given in."""

RECORDS = "records"
"""The note that holds the names of the records, a JSON list, where tensors are in records."""

NOTES = "fedlab"
"""The one entry of the format's own metadata: a checksum, and behind it all notes as JSON.

The format writes several entries in any order, and equal runs have equal bytes. The checksum is the
BLAKE2 digest of all bytes of the file, with zeros in its own place.
"""

DIGEST_BYTES = 16
NO_DIGEST = "0" * (2 * DIGEST_BYTES)
DIGEST, NOTED = slice(len(NO_DIGEST)), slice(len(NO_DIGEST), None)


class DamagedError(InputError):
    """A file is missing, damaged, or was not written by `write_tensors`."""


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    notes: Mapping[str, str] | None = None,
    *,
    private: bool = False,
) -> None:
    """Writes a file atomically (see `fedlab.files`).

    Args:
        path: The file; replaced if it exists. Its permissions follow the umask.
        tensors: Tensors by name.
        notes: Texts to keep with them.
        private: Whether only its owner may read it.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    kept = {**(notes or {}), ORDER: json.dumps(list(tensors))}
    content = bytearray(save(whole, {NOTES: NO_DIGEST + json.dumps(kept)}))
    place = _place_of(content, NO_DIGEST)
    content[place : place + len(NO_DIGEST)] = digest_of(content).encode()
    write_whole(path, content, private=private)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads what `write_tensors` wrote: the tensors in the order they were given in, and the notes.

    Each tensor owns its memory, aligned like any other: kernels may round by alignment, too. A file
    that another program wrote, without this metadata, is read in the order of the file.

    Raises:
        DamagedError: If it is not there, or not as it was written; names the file.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = dict(file.metadata() or {})
        content = bytearray(path.read_bytes())
        if not metadata:
            return load(bytes(content)), {}  # written by another program
        said, kept = (metadata[NOTES][part] for part in (DIGEST, NOTED))
        place = _place_of(content, said)
        content[place : place + len(said)] = NO_DIGEST.encode()
        if digest_of(content) != said:
            raise ValueError("its checksum is another")
        notes = json.loads(kept)
        stored = load(bytes(content))
        return {name: stored[name].clone() for name in json.loads(notes.pop(ORDER))}, notes
    except Exception as error:  # damage can make a reader raise anything
        raise DamagedError(
            f"'{path}' is damaged, or not from this version of fedlab ({error or type(error)}); "
            "put a copy of it back, or run the scenario again"
        ) from error


def write_records(
    path: Path,
    records: Mapping[str, Mapping[str, Tensor]],
    notes: Mapping[str, str] | None = None,
    *,
    private: bool = False,
) -> None:
    """Writes tensors by record and name, with any names; see `write_tensors`."""
    flat = {
        f"{index}/{name}": tensor
        for index, tensors in enumerate(records.values())
        for name, tensor in tensors.items()
    }
    kept = {**(notes or {}), RECORDS: json.dumps(list(records))}
    write_tensors(path, flat, kept, private=private)


def read_records(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    """Reads what `write_records` wrote: tensors by record and name, in their order, and the notes.

    Raises:
        DamagedError: If it is not there, or not as it was written; names the file.
    """
    flat, notes = read_tensors(path)
    if RECORDS not in notes:
        raise DamagedError(f"'{path}' has no records; put a copy of it back")
    names = json.loads(notes.pop(RECORDS))
    records: dict[str, dict[str, Tensor]] = {name: {} for name in names}
    for key, tensor in flat.items():
        index, _, name = key.partition("/")
        records[names[int(index)]][name] = tensor
    return records, notes


def digest_of(content: bytes | bytearray) -> str:
    """A digest of bytes."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def _place_of(content: bytearray, digest: str) -> int:
    """The position of a file's checksum.

    Raises:
        ValueError: If the file has none.
    """
    entry = f'"{NOTES}":"'.encode()
    return content.index(entry + digest.encode()) + len(entry)
