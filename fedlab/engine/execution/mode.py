"""The choice between training a cohort's clients one by one and in stacks.

Both give the same numbers up to rounding. The choice follows from a rule, so that the same
scenario, seed and machine give the same bytes; with ``measured``, it follows from one timing, which
is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from fedlab import accelerator
from fedlab.clients.base import ClientTrainer
from fedlab.engine.execution.captured.capturable import CAPTURING, why_not
from fedlab.engine.execution.low_rank_rule import Form
from fedlab.engine.execution.passes import BatchSize
from fedlab.engine.execution.remembered_times import seconds_of
from fedlab.models.layers import only_dense
from fedlab.scenario import EngineSpec, Scenario

MOST = 32
"""Largest number of clients in a stack: more gain little and leave other processes idle."""

FEWEST = 8
"""Number of clients from which a stack is faster than one client after another on a CPU."""

CACHES, ACCELERATOR_MEMORY = 16 * 2**20, 2 * 2**30
"""Largest size of a stack's parameters in bytes: a CPU's caches, or a part of a GPU's memory."""


FORMS: tuple[Form, ...] = ("auto", "dense", "low_rank")
"""What ``engine.dense_layers: measured`` chooses from."""

MARGIN = 0.1
"""Share of the rule's time by which another form has to be quicker."""


class ExecutionPlan(NamedTuple):
    """How clients are executed.

    Attributes:
        stack: Largest number of clients in a stack; 1 is one by one.
        reason: The reason of the choice, in words.
        dense_layers: The form of dense layers.
        form_reason: The reason of that, if it was timed.
    """

    stack: int
    reason: str
    dense_layers: Form = "auto"
    form_reason: str = ""

    def __str__(self) -> str:
        how = f"up to {self.stack} clients as one" if self.stack > 1 else "clients one by one"
        form = f", dense layers {self.dense_layers} ({self.form_reason})" * bool(self.form_reason)
        return f"{how} ({self.reason}){form}"


def from_rule(
    engine: EngineSpec,
    trainer: ClientTrainer,
    device: str,
    cohort: int,
    batch_size: BatchSize = "full",
) -> ExecutionPlan:
    """Chooses by network, method and device.

    Stacked convolutions are grouped convolutions, which are slow on CPUs. Stacking dense layers is
    faster while the stack fits into the caches, as the interpreter's overhead per operation
    dominates for small clients.

    Args:
        engine: The scenario's ``engine`` block; ``measured`` is treated like ``vmap``.
        trainer: The method's client trainer.
        device: The kind of device.
        cohort: Number of clients of a round.
        batch_size: Samples per step.
    """
    if engine.execution in CAPTURING:
        kind = "CUDA graphs" if engine.execution == "graph" else "compiled steps"
        reason = why_not(engine.execution, trainer, batch_size)
        return ExecutionPlan(1, f"without {kind}: {reason}" if reason else f"by {kind}")
    if engine.execution == "sequential":
        return ExecutionPlan(1, "the scenario says so")
    if not trainer.supports_vmap:
        return ExecutionPlan(1, "the method or the network cannot be stacked")
    parameters = list(trainer.task.model.parameters())
    size = sum(tensor.numel() * tensor.element_size() for tensor in parameters)
    on_accelerator = accelerator.is_accelerator(device)
    fitting = min(MOST, (ACCELERATOR_MEMORY if on_accelerator else CACHES) // max(size, 1))
    if engine.execution != "auto":
        return ExecutionPlan(engine.stack_size or max(FEWEST, fitting), "the scenario says so")
    if on_accelerator:
        return ExecutionPlan(engine.stack_size or max(FEWEST, fitting), "on a GPU")
    if not only_dense(trainer.task.model):
        return ExecutionPlan(1, "the network has more than dense layers, on a CPU")
    if min(fitting, cohort) < FEWEST:
        return ExecutionPlan(1, "few clients or a large network, on a CPU")
    return ExecutionPlan(engine.stack_size or fitting, "small dense network on a CPU")


def from_timing(
    scenario: Scenario,
    stack: int,
    clients: int,
    device: str,
    alone: Callable[[], object],
    together: Callable[[], object],
) -> ExecutionPlan:
    """Chooses by a timing, made once for every workload on this machine.

    Args:
        scenario: The experiment.
        stack: Largest number of clients in a stack.
        clients: Number of clients that `alone` and `together` train.
        device: The kind of device.
        alone: Trains some clients one by one and discards the results.
        together: Trains the same clients as a stack and discards the results.
    """
    ways = {"sequential": alone, "vmap": together}
    seconds = seconds_of(ways, scenario, device, clients)
    quicker = min(seconds, key=lambda way: seconds[way])
    times = f"{seconds['vmap']:.3f} s, and {seconds['sequential']:.3f} s one by one"
    return ExecutionPlan(stack if quicker == "vmap" else 1, f"{clients} as one took {times}")


def timed_form(
    scenario: Scenario, device: str, plan: ExecutionPlan, size: str, train: Callable[[Form], object]
) -> ExecutionPlan:
    """A plan with the form of dense layers that a timing prefers (``engine.dense_layers``).

    That of the rule, ``auto``, unless another is quicker by more than `MARGIN`: times vary, and the
    last digits of all results with the choice.

    Args:
        scenario: The experiment.
        device: The kind of device.
        plan: How its clients are executed.
        size: How many clients of how many samples are timed, in words.
        train: Trains them in a form and discards the results.
    """
    ways = {form: partial(train, form) for form in FORMS}
    seconds = seconds_of(ways, scenario, device, "dense layers", plan.stack, size)
    quickest = min(FORMS, key=lambda form: seconds[form])
    form = quickest if seconds[quickest] < (1 - MARGIN) * seconds["auto"] else "auto"
    times = ", ".join(f"{each} {seconds[each]:.4f} s" for each in FORMS)
    return plan._replace(dense_layers=form, form_reason=f"{size} took: {times}")
