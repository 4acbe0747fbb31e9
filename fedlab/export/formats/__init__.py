"""The formats of exported models, by name."""

from __future__ import annotations

from fedlab.errors import InputError
from fedlab.export.formats.base import ExportFormat


def format_of(name: str) -> ExportFormat:
    """A format by its name.

    Raises:
        InputError: If there is no such format.
    """
    from fedlab.export.formats.onnx import Onnx
    from fedlab.export.formats.pt2 import Pt2
    from fedlab.export.formats.safetensors import Safetensors

    formats: dict[str, type[ExportFormat]] = {
        "pt2": Pt2,
        "onnx": Onnx,
        "safetensors": Safetensors,
    }
    if name not in formats:
        raise InputError(f"--to: there is no format '{name}'; choose from {', '.join(formats)}")
    return formats[name]()
