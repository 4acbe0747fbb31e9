"""Exports a finished run's model to a file for a device."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedlab.errors import InputError
from fedlab.export.description import Description, describe_input, describe_output
from fedlab.export.export_check import (
    TOLERANCE,
    TOLERANCE_WITH_EXTRACTOR,
    ExportComparison,
    compare,
    spread,
)
from fedlab.export.formats import format_of
from fedlab.export.original import Original
from fedlab.files import whole_file
from fedlab.records import as_tensor
from fedlab.runs.run import Run

FOLDER = "export"
"""Where exported models are kept inside a run's folder."""


@dataclass(frozen=True)
class Exported:
    """An exported file, and the result of its check.

    Attributes:
        path: The file.
        description: What it takes and gives; the file has it, too.
        comparison: How it compares with the original on test samples.
    """

    path: Path
    description: Description
    comparison: ExportComparison


def export_run(
    run: Run,
    to: str = "pt2",
    *,
    client: int | None = None,
    out: str | Path | None = None,
) -> Exported:
    """Writes a finished run's model for inference on a device, and checks it.

    The program takes samples as a device has them: preprocessing, and an extractor where the run
    was trained on features, are part of it. Only ``safetensors`` holds the network alone.

    Args:
        run: A finished run.
        to: ``pt2``, ``onnx`` or ``safetensors``.
        client: Whose model; by default the server's.
        out: The file; by default ``export/global.<to>`` or ``export/client_<k>.<to>`` in the run's
            folder. One that is there is replaced.

    Raises:
        InputError: If the run has not finished, has no such model, or the format cannot express
            it.
        RunError: If the file gives something else than the model does.
    """
    format = format_of(to)
    original = Original.of(run, client)
    program, samples = original.program(format.whole)
    data, preprocess = original.runtime.data, original.runtime.preprocess
    description = Description(
        scenario=original.scenario.model_dump(mode="json"),
        rounds=run.rounds,
        client=client,
        classes=data.class_names,
        input=describe_input(run.scenario, samples),
        output=describe_output(data),
        mean=preprocess.mean.tolist(),
        std=preprocess.std.tolist(),
    )
    rows = spread(original.rows)
    inputs, labels = samples.test.inputs[rows], data.test.labels[rows]
    path = Path(out) if out else run.folder / FOLDER / f"{_stem(client)}.{format.name}"
    with _whole(path) as unfinished:
        format.write(program, as_tensor(inputs[[0, 0]]), description, unfinished)
        exported = format.read(unfinished)
        tolerance = TOLERANCE if program.extractor is None else TOLERANCE_WITH_EXTRACTOR
        comparison = compare(
            exported,
            original,
            inputs,
            data.test.inputs[rows],
            labels,
            tolerance,
            data.target,
        )
        comparison.insist()
    return Exported(path, description, comparison)


def _stem(client: int | None) -> str:
    return "global" if client is None else f"client_{client}"


@contextmanager
def _whole(path: Path) -> Generator[Path]:
    """A temporary file, which replaces `path` unless an error occurs."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as unfinished:
            yield unfinished
    except OSError as error:
        raise InputError(f"--out: '{path}' cannot be written: {error.strerror or error}") from error
