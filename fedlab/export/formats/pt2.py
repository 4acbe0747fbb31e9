"""PyTorch's own graphs (``torch.export``): no Python code of the network is needed to run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fedlab.export.description import Description
from fedlab.export.formats.base import ExportFormat, Inference, exported
from fedlab.export.program import Program

DESCRIPTION = "fedlab.json"
"""Name of the description inside the file."""


class Pt2(ExportFormat):
    """``torch.export.load(path).module()(inputs)`` on any device with PyTorch."""

    name: ClassVar[str] = "pt2"

    def write(
        self, program: Program, example: Tensor, description: Description, path: Path
    ) -> None:
        """See `ExportFormat.write`."""
        graph = exported(program, example, self.name)
        text = json.dumps(description.to_json())
        with path.open("wb") as file:
            torch.export.save(graph, file, extra_files={DESCRIPTION: text})

    def read(self, path: Path) -> Inference:
        """See `ExportFormat.read`."""
        with path.open("rb") as file:
            return torch.export.load(file).module()
