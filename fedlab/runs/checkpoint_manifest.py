"""The manifest of a checkpoint, ``checkpoint.json``, which has a checksum of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedlab.files import write_whole
from fedlab.tensor_files import digest_of


def write_manifest(checkpoint: Path, content: Mapping[str, Any]) -> None:
    """Writes the manifest of a checkpoint, which is a folder."""
    manifest = {**content, "checksum": _checksum(content)}
    write_whole(checkpoint / "checkpoint.json", json.dumps(manifest, indent=1))


def read_manifest(checkpoint: Path) -> dict[str, Any]:
    """The contents of a checkpoint's manifest.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged.
    """
    try:
        manifest = json.loads((checkpoint / "checkpoint.json").read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"checkpoint.json is damaged ({error})") from error
    if not isinstance(manifest, dict) or manifest.pop("checksum", "") != _checksum(manifest):
        raise ValueError("checkpoint.json is damaged")
    return manifest


def _checksum(manifest: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(manifest, sort_keys=True).encode())
