"""ONNX, which runs without PyTorch: ONNX Runtime, TensorRT, OpenVINO and others read it."""

from __future__ import annotations

import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from fedlab.errors import InputError
from fedlab.export.description import Description
from fedlab.export.formats.base import ExportFormat, Inference, exported, reason
from fedlab.export.program import Program

NEEDED = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18
"""Version of ONNX's operators: what runtimes of recent years read."""


class Onnx(ExportFormat):
    """``InferenceSession(path).run(None, {"images": pixels})``; one file, weights inside."""

    name: ClassVar[str] = "onnx"

    def __init__(self) -> None:
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            raise InputError(
                f"--to onnx: {', '.join(missing)} is not installed; "
                'run pip install "fedlab-sim[export]"'
            )

    def write(
        self, program: Program, example: Tensor, description: Description, path: Path
    ) -> None:
        """See `ExportFormat.write`."""
        graph = exported(program, example, self.name)
        try:
            with _quiet():
                converted = torch.onnx.export(
                    graph,
                    input_names=[description.input.name],
                    output_names=[description.output.name],
                    opset_version=OPSET,
                    dynamo=True,
                    external_data=False,
                    verbose=False,
                )
        except Exception as error:  # an operator may have no translation, or a wrong one
            raise InputError(
                f"--to onnx: the network cannot be translated ({reason(error)}); use --to pt2"
            ) from error
        assert converted is not None
        converted.model.metadata_props["fedlab"] = json.dumps(description.to_json())
        converted.save(str(path))

    def read(self, path: Path) -> Inference:
        """See `ExportFormat.read`."""
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        (taken,) = session.get_inputs()

        def run(inputs: Tensor) -> Tensor:
            (outputs,) = session.run(None, {taken.name: inputs.numpy()})
            return torch.from_numpy(outputs)

        return run


@contextmanager
def _quiet() -> Generator[None]:
    """Within it, the converter does not log its versions and passes."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
