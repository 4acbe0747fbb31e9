"""Runs one runner once, in a process of its own."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.environments import UnavailableError, last_line, python_with
from benchmarks.fedlab_work import network
from benchmarks.harness import ROOT_PROCESS
from benchmarks.networks import to_inputs
from benchmarks.works import Work, load

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Runner:
    """One platform in one configuration.

    Attributes:
        title: What the table calls it.
        module: The module of `benchmarks.runners` that runs it.
        options: Its command line beside the work.
        requirements: Packages of its own environment; none for fedlab's.
        python: Version of Python of that environment.
    """

    title: str
    module: str
    options: Sequence[str] = ()
    requirements: Sequence[str] = ()
    python: str = "3.11"


@dataclass(frozen=True)
class Answer:
    """What a runner measured.

    Attributes:
        seconds: Seconds of every round after the first two.
        cpu: CPU seconds a round of all its processes.
        loss: Mean loss of the last global model on samples of the work; None if it has none.
        norm: Euclidean norm of that model's tensors.
        notes: Whatever else it said, such as ``max_rss_mb`` and ``chosen``.
    """

    seconds: list[float]
    cpu: float
    loss: float | None
    norm: float
    notes: dict[str, Any] = field(default_factory=dict)


def run(
    runner: Runner,
    work: Work,
    data: Path,
    rounds: int,
    *,
    here: bool = False,
    timeout: float = 3600,
) -> Answer:
    """Runs a runner and reads its answer.

    Args:
        runner: What to run.
        work: The work.
        data: Its file.
        rounds: Rounds to time.
        here: Whether to run it in this very process, which is quick to start and good for no
            timing.
        timeout: Seconds after which to give up.

    Raises:
        UnavailableError: If it cannot be installed, fails, or takes too long; with the reason.
    """
    python = python_with(runner.requirements, runner.python)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.npz"
        module = f"benchmarks.runners.{runner.module}"
        options = ["--work", work.to_json(), "--data", str(data), "--rounds", str(rounds)]
        options += ["--model", str(model), *runner.options]
        if here:
            output, errors = _in_this_process(module, options), ""
        else:
            output, errors = _in_a_process([str(python), "-m", module, *options], timeout)
        try:
            answer = json.loads(last_line_of_json(output))
        except ValueError as error:
            raise UnavailableError(f"failed: {last_line(errors)}") from error
        with np.load(model) as tensors:
            loss = loss_of(work, data, dict(tensors))
    return Answer(answer.pop("seconds"), answer.pop("cpu"), loss, answer.pop("norm"), answer)


def _in_a_process(command: Sequence[str], timeout: float) -> tuple[str, str]:
    """Runs a command; returns what it printed and what it complained of."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=_environment(),
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"did not finish in {timeout:.0f} s") from error
    return done.stdout, done.stderr


def _in_this_process(module: str, options: Sequence[str]) -> str:
    """Calls a runner's ``main``; returns what it printed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        importlib.import_module(module).main(options)
    return output.getvalue()


def loss_of(
    work: Work, data: Path, tensors: dict[str, np.ndarray], samples: int = 1000
) -> float | None:
    """Mean cross-entropy on the first samples, with each batch's own statistics.

    All runners are judged by this one function, so that a reader sees that all of them learn the
    same thing. (Running statistics stay out of it, because not every platform averages them.)
    None if the tensors are not all that the work's network has, as with methods that share a part.
    """
    judge = network(work).train()
    if not tensors.keys() >= {name for name, _ in judge.named_parameters()}:
        return None
    state = {name: torch.from_numpy(array) for name, array in tensors.items()}
    judge.load_state_dict(state, strict=False)
    arrays = load(data, work)
    inputs = torch.from_numpy(np.concatenate(arrays.inputs)[:samples])
    labels = torch.from_numpy(np.concatenate(arrays.labels)[:samples])
    losses = []
    with torch.no_grad():
        for rows in torch.arange(len(labels)).split(100):
            outputs = judge(to_inputs(work, inputs[rows]))
            losses.append(nn.functional.cross_entropy(outputs, labels[rows], reduction="none"))
    return float(torch.cat(losses).mean())


def last_line_of_json(output: str) -> str:
    """The answer among all the lines that a platform prints.

    Raises:
        ValueError: If there is none.
    """
    lines = [line for line in output.splitlines() if line.startswith('{"seconds"')]
    if not lines:
        raise ValueError("no answer")
    return lines[-1]


def _environment() -> dict[str, str]:
    """The environment of a runner: no threads fixed from outside, no telemetry."""
    quiet = {
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONWARNINGS": "ignore",
    }
    fixed = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", ROOT_PROCESS)
    return {key: value for key, value in os.environ.items() if key not in fixed} | quiet
