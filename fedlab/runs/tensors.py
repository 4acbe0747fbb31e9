"""Tensors on disk, in safetensors, which cannot execute code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor


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
        file.write(save(whole, dict(notes) if notes else None))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
