"""Checks of the return values of a client trainer's hooks.

Without them, errors would show in other places, later, or not at all: a gradient of another shape
is broadcast to its parameter, the server fails on a tensor that was not sent up, and a loss that is
NaN looks like a learning rate that is too high.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from fedlab.clients.base import Carry, ClientTrainer, Phase, Received, Update, trained_part
from fedlab.engine.rehearsal.answer_forms import (
    all_finite,
    kind_of,
    listed,
    no_tensors,
    not_finite,
    other_form,
    wrong_metrics,
)
from fedlab.federation.record_layout import Form, Layout
from fedlab.records import Tensors
from fedlab.training.task import Batch


class Elsewhere(NamedTuple):
    """An error in a return value that was caused by another hook."""

    hook: str
    wrong: str


class AnswerChecks:
    """Checks the return values of a client trainer's hooks during one round.

    Values that are not finite are reported only if all arguments are finite, and only in the first
    step: later, the learning rate may be the cause.

    Args:
        trainer: The client trainer; its `Task.differentiate` is wrapped.
        wanted: The layout that the strategy accepts, by record, and whether it refuses all other
            records; None if that is not known.
        server: The strategy's name.
    """

    def __init__(
        self,
        trainer: ClientTrainer,
        wanted: tuple[Layout, bool] | None,
        server: str = "the strategy",
    ) -> None:
        self.trainer, self.wanted, self.server = trainer, wanted, server
        self.first = True
        self.grads: Tensors = {}
        self.sound = True
        differentiate = trainer.task.differentiate

        def recorded(*args: Any) -> Any:
            found = differentiate(*args)
            self.grads = {**self.grads, **found[0]}
            return found

        trainer.task = replace(trainer.task, differentiate=recorded)

    def begin(self, carry: Any, received: Received, *_: Any) -> str:
        """Requires a carry with all tensors of the network, of their shapes, and finite."""
        if not isinstance(carry, Carry):
            return f"returns {kind_of(carry)}; return a Carry, such as super().begin(...) makes"
        task = self.trainer.task
        for part, names in (
            ("parameters", task.anatomy.learning),
            ("buffers", task.anatomy.buffers),
        ):
            found = getattr(carry, part)
            for name in names:
                wrong = other_form(f"carry.{part}", found, name, task.initial[name])
                if wrong:
                    return f"{wrong}; keep what super().begin(...) makes"
        records = {**carry.optimizer, **carry.extra}
        for record, tensors in records.items():
            if wrong := no_tensors(f"carry.extra['{record}']", tensors):
                return wrong
        came = (t for tensors in received.arrays.values() for t in tensors.values())
        if bad := not_finite({"parameters": carry.parameters, **carry.extra}):
            if all_finite(came):
                return f"makes '{bad}' of numbers that are not finite from finite ones; mend it"
            self.sound = False
        return ""

    def objective(
        self, answer: Any, parameters: Tensors, carry: Carry, batch: Batch, *_: Any
    ) -> str:
        """Requires a scalar that depends on the parameters, and a row of outputs per sample."""
        if not (isinstance(answer, tuple | list) and len(answer) == 2):
            return f"returns {kind_of(answer)}; return two tensors: the loss and the outputs"
        loss, outputs = answer
        if not (isinstance(loss, torch.Tensor) and loss.is_floating_point()):
            return (
                f"returns {kind_of(loss)} as the loss; return a tensor of floats, without .item()"
            )
        if loss.shape != ():
            return (
                f"returns a loss of shape {tuple(loss.shape)} where a scalar is wanted; take its "
                "mean() or sum()"
            )
        learns = torch.is_grad_enabled() and any(p.requires_grad for p in parameters.values())
        if learns and not loss.requires_grad:
            return (
                "returns a loss that does not depend on the parameters that it was given; use "
                "`parameters`, without .detach() or torch.no_grad(), and not the network's own"
            )
        task = self.trainer.task
        wanted = (len(batch.labels), task.classes)
        if not isinstance(outputs, torch.Tensor):
            return f"returns {kind_of(outputs)} as the outputs; return a tensor of shape {wanted}"
        if tuple(outputs.shape) != wanted:
            return (
                f"returns outputs of shape {tuple(outputs.shape)}, and "
                f"{task.target.score.replace('_', ' ')} is taken from ones of shape {wanted}, "
                f"(samples, {task.target.nouns[1]}); return the network's outputs"
            )
        if self.first and self.sound and not all_finite([loss]):
            given = [outputs, batch.inputs, *parameters.values()]
            if all_finite(given):
                return (
                    f"returns a loss of {float(loss)} for outputs and parameters that are finite; "
                    "look for a division by zero, a logarithm or a root of zero"
                )
            self.sound = False
        return ""

    def gradients(
        self, answer: Any, carry: Carry, batch: Batch, phase: Phase, *_: Any
    ) -> str | Elsewhere:
        """Requires a gradient of its parameter's shape for every trained parameter."""
        known, self.grads = self.grads, {}
        if not (isinstance(answer, tuple | list) and len(answer) == 2):
            return f"returns {kind_of(answer)}; return two dictionaries: gradients and metrics"
        grads, metrics = answer
        if not isinstance(grads, Mapping):
            return f"returns {kind_of(grads)} as the gradients; return a dictionary by parameter"
        trained = trained_part(carry.parameters, phase)
        for name in grads:
            if name not in carry.parameters:
                return f"returns a gradient of '{name}', which is no parameter that learns"
            if wrong := other_form("the gradients", grads, name, carry.parameters[name]):
                return f"{wrong}; a gradient has its parameter's shape"
        for name in trained:
            if name in known and name not in grads:
                return (
                    f"leaves the gradient of '{name}' out, which would then never learn; return "
                    "it, or say with Phase(trained=...) what learns"
                )
        if self.first and self.sound:
            if bad := not_finite({"": known}):
                return Elsewhere(
                    "objective",
                    f"has a gradient by '{bad}' that is not finite, though its value is; look for "
                    "the root or the norm of something that is zero when a round begins",
                )
            if bad := not_finite({"": grads}):
                return f"makes the gradient of '{bad}' not finite; look for a division by zero"
        return wrong_metrics(metrics)

    def step(self, answer: Any, carry: Carry, *_: Any) -> str:
        """Requires the next carry, with the names and shapes of the last one."""
        first, self.first = self.first, False
        if not (isinstance(answer, tuple | list) and len(answer) == 2):
            return f"returns {kind_of(answer)}; return the new carry and a dictionary of metrics"
        after, metrics = answer
        if not isinstance(after, Carry):
            return f"returns {kind_of(after)} as the new carry; return a Carry"
        for part in ("parameters", "buffers"):
            for name, tensor in getattr(carry, part).items():
                if wrong := other_form(f"carry.{part}", getattr(after, part), name, tensor):
                    return f"{wrong}; keep the form of every tensor"
        bad = not_finite({"parameters": after.parameters})
        if bad and first and self.sound and self._steps_by_itself():
            return f"makes '{bad}' not finite in the first step; look for a division by zero"
        return wrong_metrics(metrics)

    def _steps_by_itself(self) -> bool:
        return type(self.trainer).step is not ClientTrainer.step

    def finish(self, update: Any, carry: Carry, *_: Any) -> str:
        """Requires named tensors for strategy and client, finite if the carry's are."""
        if not isinstance(update, Update):
            return f"returns {kind_of(update)}; return an Update, such as super().finish(...) makes"
        for part in ("arrays", "client_state"):
            records = getattr(update, part)
            if not isinstance(records, Mapping):
                return (
                    f"returns {kind_of(records)} as Update.{part}; return named records of tensors"
                )
            for record, tensors in records.items():
                if wrong := no_tensors(f"Update.{part}['{record}']", tensors):
                    return wrong
        if self.wanted and (wrong := self._wrongly_sent(update.arrays)):
            return wrong
        if not_finite({"": carry.parameters, "buffers": carry.buffers, **carry.extra}):
            return ""  # the run itself reports diverged steps
        for part in (update.arrays, update.client_state):
            if bad := not_finite(part):
                return (
                    f"makes '{bad}' not finite from finite tensors; look for a division by zero, "
                    "a logarithm or a root of zero"
                )
        return ""

    def _wrongly_sent(self, arrays: Mapping[str, Tensors]) -> str:
        """A tensor that the strategy needs and does not get, or does not accept."""
        assert self.wanted is not None
        wanted, nothing_else = self.wanted
        for record, forms in wanted.items():
            if record not in arrays:
                return (
                    f"does not send the record '{record}', which {self.server} needs from every "
                    f"client; it sends {listed(arrays)}"
                )
            free = dict[str, int]()
            for name, form in forms.items():
                if name not in arrays[record]:
                    return (
                        f"leaves '{name}' out of the record '{record}', and {self.server} needs it "
                        "from every client; send every tensor of self.shared, or have it stay with "
                        "its client (`Parameters.local_parameter_names`)"
                    )
                own = Form.of(arrays[record][name])
                shape = tuple(arrays[record][name].shape)
                if wrong := form.fault(own.dtype, shape, free):
                    return (
                        f"sends '{name}', which {wrong}; {self.server} needs {form.dtype} of shape "
                        f"{form.shape}"
                    )
            if more := [name for name in arrays[record] if name not in forms]:
                return (
                    f"sends '{more[0]}' in the record '{record}', which {self.server} does not "
                    "know; leave it out, or build on the client trainer that goes with it"
                )
        more = [record for record in arrays if record not in wanted]
        if nothing_else and more:
            return (
                f"sends the record '{more[0]}', which {self.server} does not take; leave it out, "
                "or write a strategy that does (`Strategy.sent_up`, `Strategy.aggregate`)"
            )
        return ""
