"""Compares one training step of a network in a client trainer with the same step in plain PyTorch.

A client's tensors are put into one shared network only during its forward pass. Parts of a network
that run outside of it (activation checkpointing, hooks of a module) would use the network's own
values. To detect this, both steps start from other values than the network's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fedlab.data.trial_samples import TrialSamples
from fedlab.engine.execution.low_rank_rule import Form
from fedlab.engine.step_trial import Step, StepTrial
from fedlab.errors import InputError, format_error
from fedlab.training.gradients import value_and_gradients_by_backward
from fedlab.training.task import Task

LONGEST = 200
"""Largest length of PyTorch's message about a network that cannot be stacked, in characters."""


def tried(
    task: Task, samples: TrialSamples, name: str, stacks: bool, form: Form = "dense"
) -> tuple[Task, str | None]:
    """A task whose clients' steps are those of plain PyTorch.

    Args:
        task: The learning problem.
        samples: The samples of the step.
        name: The network's name.
        stacks: Whether clients may be stacked.
        form: The form that dense layers may take (see `fedlab.engine.execution.low_rank_layers`).

    Returns:
        The task with the settings that the network needs; and why clients cannot be stacked, or
        None.

    Raises:
        InputError: If the network fails in training, or no settings give the right step.
    """
    trial = StepTrial(task, samples, name)
    ways = (
        task,
        replace(task, holds=True, differentiate=value_and_gradients_by_backward),
    )
    wrong = None
    for way in ways:
        wrong = _wrong(trial, lambda way=way: trial.clients(way))
        if wrong is None:
            task = way
            break
    if wrong is not None:
        raise InputError(
            f"model '{name}' does not learn here as it does in plain PyTorch: in one training step "
            f"{wrong}. Something of it runs outside of its forward pass, or keeps tensors between "
            "passes; take that out (hooks, checkpointing, caches), or change what depends on it"
        )
    if form != "dense" and _wrong(trial, lambda: trial.low_rank(task, form)) is not None:
        task = replace(task, formed=True)
    if not stacks:
        return task, None
    if task.holds:
        return replace(task, alone=True), "its backward pass runs parts of it again"
    wrong = _wrong(trial, trial.stacked)
    return (task, None) if wrong is None else (replace(task, alone=True), wrong)


def _wrong(trial: StepTrial, step: Callable[[], Step]) -> str | None:
    """The step's error or difference in words; None if it is right."""
    _ = trial.plain
    try:
        difference = trial.compare(step())
    except Exception as error:  # a user's network may raise anything under vmap
        return format_error(error, longest=LONGEST)
    return None if difference is None or difference.is_rounding else str(difference)
