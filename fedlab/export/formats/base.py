"""The base of all export formats: writing a program, and running the written file."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fedlab.errors import InputError
from fedlab.export.description import Description
from fedlab.export.program import Program

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

Inference = Callable[[Tensor], Tensor]
"""Samples of shape (n, ...) -> logits of shape (n, classes)."""


class ExportFormat(ABC):
    """A format of exported models.

    Attributes:
        name: As the user calls it; also the file's suffix.
        whole: Whether the file is a program that needs no Python code; if not, it holds the tensors
            of the trained network as they were trained, without an extractor in front of it.
    """

    name: ClassVar[str]
    whole: ClassVar[bool] = True

    @abstractmethod
    def write(
        self, program: Program, example: Tensor, description: Description, path: Path
    ) -> None:
        """Writes a program.

        Args:
            program: In evaluation mode, on the CPU.
            example: Two samples.
            description: Goes into the file.
            path: The file.

        Raises:
            InputError: If the format cannot express the program.
        """

    @abstractmethod
    def read(self, path: Path) -> Inference:
        """A function that runs the file as a device would, from the file alone."""


def exported(program: Program, example: Tensor, name: str) -> torch.export.ExportedProgram:
    """The program's graph, for any number of samples.

    Raises:
        InputError: If its data flow depends on values, so that there is no graph.
    """
    try:
        batch = torch.export.Dim("batch")
        return torch.export.export(program, (example,), dynamic_shapes=({0: batch},))
    except Exception as error:  # the network is the user's and may raise anything
        raise InputError(
            f"--to {name}: torch.export cannot follow the network ({first_line(error)}); "
            "use --to safetensors, which needs its Python code"
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without the codes that colour terminals."""
    said = _COLOURS.sub("", str(error)).strip()
    return said.partition("\n")[0] or type(error).__name__


def reason(error: BaseException) -> str:
    """The first line of the innermost cause of an error, or of itself."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)
