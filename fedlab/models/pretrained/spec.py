"""The keys ``weights`` and ``freeze`` of a scenario's ``model`` block."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from fedlab.config.component import ConfigBlock
from fedlab.models.pretrained.weight_files import digest_of_file

Freeze = Literal["none", "backbone"] | tuple[str, ...]
"""What does not learn: nothing, all but the head, or parameters whose names match patterns."""


class WeightsFile(ConfigBlock):
    """A file whose tensors a network starts from, by their names.

    Attributes:
        file: A ``.safetensors`` file, a ``.pt`` or ``.pth`` file of a state dict, or the folder of
            a finished run; relative ones start from the current folder.
        prefix: What the file's names begin with and the network's do not, such as ``module.``;
            other names of the file are left out.
        strict: Whether file and network must have the same names. By default, names without a
            counterpart are logged. A head for another number of classes has the same names: it
            starts at random either way, which is logged.
        digest: BLAKE2 of the file's bytes; another file is refused. It is filled in when the
            scenario is read, so that resuming, actors and devices have the same file.
    """

    file: Path
    prefix: str = ""
    strict: bool = False
    digest: str = ""

    @model_validator(mode="before")
    @classmethod
    def _pins_the_file(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("digest"):
            return values
        found = digest_of_file(values.get("file"))
        return {**values, "digest": found} if found else values


Weights = Literal["none", "pretrained"] | WeightsFile
"""What a network starts from: random values, its published weights, or a file."""


def read_weights(value: Any) -> Any:
    """``weights: base.safetensors`` is short for ``weights: {file: base.safetensors}``."""
    if value is None:
        return "none"
    if isinstance(value, Path) or (isinstance(value, str) and value not in ("none", "pretrained")):
        return {"file": value}
    return value


def read_freeze(value: Any) -> Any:
    """``freeze: stage1.*`` is short for ``freeze: [stage1.*]``."""
    if value is None or value == [] or value == ():
        return "none"
    return (value,) if isinstance(value, str) and value not in ("none", "backbone") else value
