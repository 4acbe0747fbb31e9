"""Files of weights: tensors by name, read without running code that may be in them."""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from fedlab.errors import InputError, format_error
from fedlab.tensor_files import DIGEST_BYTES, NOTES, read_tensors

RUN_FILE = "model.safetensors"
"""The file of a finished run's folder that holds the server's tensors."""

ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")

WRAPPED_IN = ("state_dict", "model_state_dict", "model")
"""Keys under which checkpoints keep their state dict, besides other values."""


def read_weights_file(path: Path, digest: str = "") -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU.

    Args:
        path: See `fedlab.models.pretrained.spec.WeightsFile`.
        digest: The digest that the file must have; empty for any.

    Raises:
        InputError: If the file is missing, damaged, another one, or holds more than tensors.
    """
    file = _file_of(path)
    if digest and digest_of_file(path) != digest:
        raise InputError(
            f"model.weights: '{file}' is another file than the scenario was made with (digest "
            f"{digest_of_file(path)} instead of {digest}); put that file back (a device names it "
            "as --weights), or leave out model.weights.digest to start from this one"
        )
    tensors = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickled(file)
    if not tensors:
        raise InputError(f"model.weights: '{file}' has no tensors; name another file")
    return tensors


def digest_of_file(path: object) -> str | None:
    """BLAKE2 of a file's bytes in hexadecimal; None if there is no such file."""
    if not isinstance(path, str | Path):
        return None
    file = Path(path).expanduser()
    file = file / RUN_FILE if file.is_dir() else file
    try:
        found = os.stat(file)
        return _digest(file, found.st_size, found.st_mtime_ns, found.st_ino)
    except OSError:
        return None


@lru_cache(maxsize=16)
def _digest(file: Path, *state: int) -> str:
    """The digest of a file in a given state (size, time of change, inode)."""
    hashing = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with file.open("rb") as opened:
        while piece := opened.read(1 << 20):
            hashing.update(piece)
    return hashing.hexdigest()


def _file_of(path: Path) -> Path:
    file = path.expanduser()
    if file.is_dir():
        if not (file / RUN_FILE).is_file():
            raise InputError(
                f"model.weights: the folder '{path}' has no {RUN_FILE}, which a finished run has; "
                "name a finished run, or a file"
            )
        return file / RUN_FILE
    if not file.is_file():
        raise InputError(
            f"model.weights: the file '{path}' is not there; name one that is, or leave "
            "model.weights out"
        )
    if file.suffix not in ENDINGS:
        raise InputError(
            f"model.weights: '{path}' ends in '{file.suffix}'; name a file that ends in "
            f"{', '.join(ENDINGS)}, or the folder of a run"
        )
    return file


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, "pt") as opened:
            metadata = dict(opened.metadata() or {})
        ours = [*metadata] == [NOTES]  # with a checksum of the whole file
        return read_tensors(file)[0] if ours else load_file(file)
    except InputError as error:
        raise InputError(f"model.weights: {error}") from error
    except Exception as error:  # damage can make a reader raise anything
        raise InputError(
            f"model.weights: '{file}' is damaged, or no safetensors file ({format_error(error)}); "
            "put a whole copy in its place"
        ) from error


def _read_pickled(file: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch's, about versions of pickle
            read = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        with file.open("rb") as opened:
            is_pickle = opened.read(2).startswith((b"PK", b"\x80"))
        why = "holds Python objects, which could run code when they are read"
        raise InputError(
            f"model.weights: '{file}' {why if is_pickle else 'is damaged, or no file of PyTorch'}; "
            "save the state dict alone (torch.save(model.state_dict(), path), or safetensors)"
        ) from error
    except Exception as error:  # damage can make a reader raise anything
        raise InputError(
            f"model.weights: '{file}' is damaged, or no file of PyTorch's ({format_error(error)}); "
            "put a whole copy in its place"
        ) from error
    return _unwrapped(read, file)


def _unwrapped(read: Any, file: Path) -> dict[str, Tensor]:
    """The state dict of what a file holds."""
    for key in WRAPPED_IN:
        if isinstance(read, Mapping) and isinstance(read.get(key), Mapping):
            read = read[key]
    if isinstance(read, Mapping):
        odd = [name for name, value in read.items() if not isinstance(value, Tensor)]
        if not odd and all(isinstance(name, str) for name in read):
            return dict(read)
        what = f"'{odd[0]}' in it is a {type(read[odd[0]]).__name__}" if odd else "names are odd"
    else:
        what = f"it is a {type(read).__name__}"
    raise InputError(
        f"model.weights: '{file}' holds no state dict of tensors by name ({what}); save "
        "model.state_dict() alone"
    )
