"""The rule by which dense layers take low-rank form (`low_rank`): if it is exact and faster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from fedlab import accelerator
from fedlab.clients.base import ClientTrainer, Phase
from fedlab.engine.execution.batch_schedule import Schedule
from fedlab.engine.processor import is_intel
from fedlab.training.optimizer import Optimizer

Form = Literal["auto", "dense", "low_rank"]
"""How dense layers are computed; ``auto`` is the faster form by rule."""

LARGE = 2**20
"""Number of weights above which a layer does not fit into a core's own caches."""

HUGE = 2**23
"""Number of weights (32 MB) above which writing a layer in each step is bound by memory."""

FIRST_PAYS = {"small": 64, "large": 256}
LATER_PAYS = {"small": 16, "large": 128}
"""Thresholds of ``rows² / (steps · width)`` below which the low-rank form was faster on a CPU. Its
work grows with rows², that of the dense form with steps · width (i o / (i + o) for i inputs and o
outputs). Measured at 50 to 800 rows, batches of 10 and 32, 1 and 4 passes, and layers from 512 x 10
to 12544 x 128."""

ALONE_PAYS = {
    "intel": {"large": 10, "huge": LATER_PAYS["large"]},
    "other": {"large": 4, "huge": 4},
}
"""The same for the large layers of a client that trains alone. On an AMD EPYC with AVX-512, whose
cores have more of the last-level cache's bandwidth, the low-rank form took 0.96 of the dense form's
time below 4, 1.0 to 1.4 times it from 4 to 20, and twice as long above 30. On an Intel Xeon with a
last-level cache of 260 MB it took 0.8 to 0.9 of it up to 8, 1.15 to 1.4 times from 16 to 60, and
0.75 of it at 15 for a layer of 13 million weights (`benchmarks.dense_forms`: its work `cnn`, and
`digits` in the same way)."""


@dataclass(frozen=True)
class LayerWork:
    """A client's work in a round.

    Attributes:
        steps: Optimiser steps.
        seen: Samples read in all steps together.
        samples: Distinct samples among these.
    """

    steps: int
    seen: int
    samples: int

    @classmethod
    def of(cls, schedule: Schedule) -> LayerWork:
        """The work of a schedule."""
        return cls(schedule.steps, schedule.seen, schedule.examples)

    def low_rank_first(self, weight: Tensor, optimizer: Optimizer, form: Form) -> bool:
        """Whether a layer that reads the samples takes its low-rank form."""
        return self._low_rank(weight, optimizer, form, self.samples, FIRST_PAYS)

    def low_rank_later(self, weight: Tensor, optimizer: Optimizer, form: Form) -> bool:
        """Whether a layer that reads another layer's outputs takes its low-rank form."""
        return self._low_rank(weight, optimizer, form, self.seen, LATER_PAYS)

    def low_rank_alone(self, weight: Tensor, optimizer: Optimizer, form: Form) -> bool:
        """The same for a large layer of a client that trains alone, by kind of processor."""
        pays: Mapping[str, int] = {**LATER_PAYS, **ALONE_PAYS["intel" if is_intel() else "other"]}
        return self._low_rank(weight, optimizer, form, self.seen, pays)

    def _low_rank(
        self, weight: Tensor, optimizer: Optimizer, form: Form, rows: int, pays: Mapping[str, int]
    ) -> bool:
        if form == "dense" or optimizer.spec.name != "sgd" or optimizer.spec.clip_norm:
            return False
        if form == "low_rank":
            return True
        if accelerator.is_accelerator(weight.device):  # not measured
            return False
        outputs, inputs = weight.shape
        width = outputs * inputs / (outputs + inputs)
        size = "small" if weight.numel() < LARGE else "large" if weight.numel() < HUGE else "huge"
        limit = pays.get(size, pays["large"])
        return rows**2 < limit * self.steps * width


def may_be_low_rank(trainer: ClientTrainer) -> bool:
    """Whether dense layers of a method's network may take low-rank form; it is exact under SGD."""
    task = trainer.task
    if task.holds or task.formed:
        return False  # activation checkpointing, or something else reads the weights
    spec = task.optimizer.spec
    return spec.name == "sgd" and not spec.clip_norm and takes_usual_steps(trainer)


def takes_usual_steps(trainer: ClientTrainer) -> bool:
    """Whether a method only minimises the scenario's loss by the scenario's optimiser.

    In low-rank form, weights, gradients and momentum of a layer are not available to the method's
    own code.
    """
    own = ["objective", "pull", "loss", "gradients", "step"]
    if trainer.task.optimizer.spec.momentum:
        own.append("finish")
    usual = all(getattr(type(trainer), name) is getattr(ClientTrainer, name) for name in own)
    return usual and all(
        phase == Phase(phase.split, phase.epochs, phase.steps) for phase in trainer.phases()
    )


def sends_the_model(trainer: ClientTrainer) -> bool:
    """Whether a method's update is the trained model (`finish` is not overridden)."""
    return type(trainer).finish is ClientTrainer.finish
