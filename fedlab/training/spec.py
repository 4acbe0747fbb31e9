"""The ``training`` block of a scenario."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from fedlab.config.component import Chosen, ConfigBlock
from fedlab.losses.base import Loss

Precision = Literal["float32", "bf16"]

Remainder = Literal["keep", "drop", "merge"]

BETAS = (0.9, 0.999)

Fading = Annotated[float, Field(ge=0, lt=1)]
"""Decay rate of an exponential moving average, in [0, 1)."""


class OptimizerSpec(ConfigBlock):
    """The clients' optimiser; it starts anew in every round.

    Attributes:
        name: ``sgd``, ``adam`` or ``adamw``.
        lr: Learning rate.
        lr_decay: Factor on the learning rate per round.
        momentum: Momentum of ``sgd``.
        nesterov: Whether momentum is Nesterov's.
        weight_decay: L2 penalty (decoupled for ``adamw``).
        betas: Decay rates of ``adam`` and ``adamw``.
        clip_norm: Largest L2 norm of a client's gradient; no clipping by default.
    """

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: PositiveFloat = 0.01
    lr_decay: float = Field(default=1.0, gt=0, le=1)
    momentum: Fading = 0.0
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[Fading, Fading] = BETAS
    clip_norm: PositiveFloat | None = None

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> OptimizerSpec:
        if self.name != "sgd" and (self.momentum or self.nesterov):
            given = f"momentum {self.momentum:g}" if self.momentum else "nesterov"
            raise ValueError(
                f"{given} is for sgd, and {self.name} would ignore it; set momentum=0 and "
                "nesterov=false, or name=sgd"
            )
        if self.nesterov and not self.momentum:
            raise ValueError(
                "nesterov is a form of momentum, and momentum is 0; set momentum, such as 0.9, or "
                "nesterov=false"
            )
        if self.name == "sgd" and self.betas != BETAS:
            raise ValueError(
                f"betas {self.betas} are for adam and adamw, and sgd would ignore them; leave "
                "them out, or set name=adam"
            )
        return self


class TrainingSpec(ConfigBlock):
    """Local training of a client in one round.

    Attributes:
        local_epochs: Passes over the client's training samples.
        local_steps: Optimiser steps instead of epochs, drawn from repeated passes. Only one of the
            two can be given; an override of one replaces the other.
        batch_size: Samples per step; ``full`` is all of the client's samples.
        remainder: Samples at the end of a pass that do not fill a batch. ``keep`` makes a smaller
            batch of them, as PyTorch's loaders do; a step on few samples can disturb a personal
            model. ``drop`` leaves them out of the pass, ``merge`` adds them to the last batch. A
            pass always has one batch.
        optimizer: The optimiser.
        loss: The loss function.
        precision: Precision of training. With ``bf16``, matrix products and convolutions are
            computed in bfloat16, which is faster where the hardware supports it; parameters,
            gradients, losses and tests stay float32, and results change slightly.
    """

    local_epochs: PositiveInt = 1
    local_steps: PositiveInt | None = None
    batch_size: PositiveInt | Literal["full"] = 32
    remainder: Remainder = "keep"
    optimizer: OptimizerSpec = OptimizerSpec()
    loss: Chosen[Loss] = "cross_entropy"  # type: ignore[assignment]
    precision: Precision = "float32"
    either: ClassVar[tuple[str, ...]] = ("local_epochs", "local_steps")

    @model_validator(mode="after")
    def _says_how_long_once(self) -> TrainingSpec:
        if self.local_steps is not None and self.local_epochs != 1:
            raise ValueError(
                f"local_steps {self.local_steps} is instead of epochs, and local_epochs "
                f"{self.local_epochs} would have no effect; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _a_full_batch_leaves_none(self) -> TrainingSpec:
        if self.batch_size == "full" and self.remainder != "keep":
            raise ValueError(
                f"remainder {self.remainder} would have no effect: a batch_size of full leaves no "
                "samples over; leave it out, or set batch_size to a number"
            )
        return self
