"""Tensors on disk, in safetensors, which cannot execute code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a file so that it is there as a whole or not at all, even after a power cut.

    Args:
        path: The file; replaced if it is there. Readable to whoever the umask lets.
        tensors: Tensors by name.
    """
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.write(save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
