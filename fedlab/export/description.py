"""The description of an exported model, its input and its output, stored in the file as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from fedlab.data.samples import FederatedData
from fedlab.features.base import NoExtractor
from fedlab.scenario import Scenario
from fedlab.version import __version__

VERSION = 1
"""Of the form of descriptions; raised when a field changes its meaning."""

BATCH = "batch"
"""Stands in a shape for a dimension of any length."""

MEANINGS = {
    1: "a row of the table: its features in their order, missing values filled in",
    2: "a series: its channels, each in the order of time",
    3: "a map: its channels, each of height and width",
    4: "a volume: its channels, each of depth, height and width",
}
"""What a sample of numbers is, by its number of axes."""


@dataclass(frozen=True)
class TensorDescription:
    """One input or output tensor.

    Attributes:
        name: Its name in the program.
        dtype: As PyTorch and NumPy call it.
        shape: Its dimensions; ``batch`` may be of any length.
        range: Least and largest value, where there are such.
        meaning: What the numbers are.
        pad: The id that fills up, where the numbers are ids.
    """

    name: str
    dtype: Literal["uint8", "float32", "float64", "int64"]
    shape: tuple[str | int, ...]
    range: tuple[float, float] | None
    meaning: str
    pad: int | None = None

    def __str__(self) -> str:
        shape = ", ".join(map(str, self.shape))
        values = f", {self.range[0]:g} to {self.range[1]:g}" if self.range else ""
        return f"{self.dtype} ({shape}){values}: {self.meaning}"


@dataclass(frozen=True)
class Description:
    """The description of an exported model.

    Attributes:
        scenario: The scenario it was trained in, with every default.
        rounds: Rounds it was trained for.
        client: Whose model it is, or None for the server's.
        classes: Names of the classes, in the order of the outputs; of labels or targets, where
            these are learnt.
        input: What the program takes.
        output: What it gives.
        mean: Subtracted from the inputs; images are scaled to [0, 1] before. Part of the program.
        std: Divides them after that.
        made_by: Name and version of this software.
        version: Form of the description.
    """

    scenario: dict[str, Any]
    rounds: int
    client: int | None
    classes: tuple[str, ...]
    input: TensorDescription
    output: TensorDescription
    mean: list[Any] | float
    std: list[Any] | float
    made_by: str = f"fedlab {__version__}"
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def describe_input(scenario: Scenario, data: FederatedData) -> TensorDescription:
    """The description of a program's input.

    Args:
        scenario: The experiment.
        data: The samples that go in.
    """
    shape, kind = (BATCH, *data.input_shape), data.train.inputs.dtype
    if kind == np.uint8:
        channels, height, width = data.input_shape
        colour = "red, green and blue" if channels == 3 else "grey (ITU-R BT.601 luma)"
        meaning = (
            f"decoded pixels, {colour}, channels first, resized to {height}x{width} "
            "(bilinear, antialiased)"
        )
        return TensorDescription("images", "uint8", shape, (0, 255), meaning)
    if data.ids is not None and data.ids.vocabulary is not None:
        meaning = "ids of tokens"
        if data.ids.pad is not None:
            meaning += f", filled up at the end with {data.ids.pad}"
        last = data.ids.vocabulary - 1
        return TensorDescription("ids", "int64", shape, (0, last), meaning, data.ids.pad)
    meaning = f"features by the extractor '{scenario.data.features.name}'"
    if isinstance(scenario.data.features, NoExtractor):
        meaning = MEANINGS.get(len(data.input_shape), "numbers, channels first")
    named: Any = str(kind)
    return TensorDescription("features", named, shape, None, meaning)


def describe_output(data: FederatedData) -> TensorDescription:
    """The description of a program's output."""
    name, meaning = data.target.output
    return TensorDescription(name, "float32", (BATCH, len(data.class_names)), None, meaning)
