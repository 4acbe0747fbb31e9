"""Checks that a resumed run has the same samples as before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedlab.data.mapped_pool import Inputs, pieces
from fedlab.errors import InputError

if TYPE_CHECKING:
    from fedlab.data.samples import FederatedData

MOST_BYTES = 1 << 28
"""Largest number of bytes of an array in its digest; of larger ones, every n-th sample is used."""


def fingerprint(data: FederatedData) -> dict[str, Any]:
    """Identifies samples by names, shapes, and a digest of each array, as JSON values."""
    arrays = {
        f"{split} {part}": getattr(samples, part)
        for split, samples in (("training", data.train), ("test", data.test))
        for part in ("inputs", "labels", "domains", "owners")
        if getattr(samples, part) is not None
    }
    return {
        "domains": list(data.domain_names),
        "classes": list(data.class_names),
        **{
            name: f"{array.dtype.name} {array.shape} {_digest(array)}"
            for name, array in arrays.items()
        },
    }


def refuse_other_data(begun: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuses to resume a run with other samples.

    Args:
        begun: The samples' fingerprint at the start of the run.
        now: Their current fingerprint.
        folder: The run's folder, for the error.

    Raises:
        InputError: With the arrays and names that differ.
    """
    other = [name for name in begun if begun[name] != now.get(name)]
    if begun and now and other:
        raise InputError(
            f"the run '{folder}' was begun with other data: the {', '.join(other)} are not what "
            "they were; put the data back as they were, or start another run"
        )


def _digest(array: Inputs) -> str:
    every = max(1, -(-array.nbytes // MOST_BYTES))
    digest = hashlib.blake2b(digest_size=16)
    for piece in pieces(array, None if every == 1 else np.arange(0, len(array), every)):
        digest.update(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
