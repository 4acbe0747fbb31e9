"""Tensors on disk, in safetensors, which cannot execute code.

The format itself sorts tensors by type and name. Whoever adds floats up in the order of a record
would then get other last bits from a file than from memory, so the order is kept beside them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

ORDER = "order"
"""The note that holds the names of the tensors, a JSON list, in the order they were given in."""


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None
) -> None:
    """Writes a file so that it is there as a whole or not at all, even after a power cut.

    Args:
        path: The file; replaced if it is there. Readable to whoever the umask lets.
        tensors: Tensors by name.
        notes: Texts to keep with them.
    """
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        file.write(save(whole, {**(notes or {}), ORDER: json.dumps(list(tensors))}))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads what `write_tensors` wrote: the tensors in the order they were given in, and the notes.

    Each tensor owns its memory, aligned like any other: kernels may round by alignment, too.

    Raises:
        OSError: If the file cannot be read.
        SafetensorError: If it is damaged.
        KeyError: If it lacks a tensor.
    """
    with safe_open(path, "pt") as file:
        notes = dict(file.metadata() or {})
        stored = file.keys()
        order = json.loads(notes.pop(ORDER)) if ORDER in notes else list(stored)
        if set(order) != set(stored):
            raise KeyError(f"tensors {sorted(set(order) ^ set(stored))} do not fit its list")
        return {name: file.get_tensor(name).clone() for name in order}, notes
