"""The tensors alone, with a description and the scenario; reading them needs the network's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fedlab.data.ids import Ids
from fedlab.data.sample_shape import SampleShape
from fedlab.errors import InputError
from fedlab.export.description import Description
from fedlab.export.formats.base import ExportFormat, Inference
from fedlab.export.program import Program, Standardise
from fedlab.models.build import build_model
from fedlab.scenario_file import load_scenario


class Safetensors(ExportFormat):
    """``fedlab.load_program(path)(inputs)``, or the tensors under the network's own names."""

    name: ClassVar[str] = "safetensors"
    whole: ClassVar[bool] = False

    def write(
        self, program: Program, example: Tensor, description: Description, path: Path
    ) -> None:
        """See `ExportFormat.write`."""
        tensors = {name: t.contiguous().clone() for name, t in program.network.state_dict().items()}
        text = {"format": "pt", "fedlab": json.dumps(description.to_json())}
        save_file(tensors, path, metadata=text)

    def read(self, path: Path) -> Inference:
        """See `ExportFormat.read`."""
        return torch.inference_mode()(load_program(path))


def load_program(path: str | Path) -> Program:
    """The program of a file that `fedlab export --to safetensors` wrote: samples in, logits out.

    Where a run was trained on features, the program takes features.

    Args:
        path: The file.

    Returns:
        The program, in evaluation mode, on the CPU.

    Raises:
        InputError: If the file is no such file, or needs code that is not installed.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("fedlab")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"'{path}' cannot be read as safetensors: {error}") from error
    about = _description(text)
    if about is None:
        raise InputError(
            f"'{path}' has no description of a model; name a file that "
            "`fedlab export --to safetensors` wrote"
        )
    scenario = load_scenario(about["scenario"])
    takes, shape = about["input"]["dtype"], _shape(about["input"])
    model = build_model(
        scenario.model.untrained(), scenario.strategy, shape, len(about["classes"]), scenario.seed
    )
    model.load_state_dict(tensors)
    in_units = scenario.data.target.in_units()
    whole = takes == "int64" and scenario.data.normalisation == "none"
    if shape.ids is not None or (whole and scenario.data.inputs == "auto"):
        return Program(model, nn.Identity(), in_units=in_units).eval()
    kind = torch.float64 if takes in ("float64", "int64") else torch.float32
    mean, std = (torch.tensor(about[key], dtype=kind) for key in ("mean", "std"))
    return Program(model, Standardise(mean, std, takes == "uint8"), in_units=in_units).eval()


def _shape(taken: dict[str, Any]) -> SampleShape:
    """Shape of a sample, with its vocabulary where it is one of ids."""
    shape, ids = tuple(taken["shape"][1:]), None
    if taken["name"] == "ids":
        size = int(taken["range"][1]) + 1
        ids = Ids(vocabulary=size, pad=taken.get("pad"), length=shape[0])
    return SampleShape(shape, ids)


def _description(text: str | None) -> dict[str, Any] | None:
    """What the file says of its model; None where it is another file, such as a run's own."""
    try:
        about = json.loads(text or "")
    except json.JSONDecodeError:
        return None
    return about if isinstance(about, dict) and "scenario" in about else None
