"""Regression: one or several numbers for each sample."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, FiniteFloat, PositiveFloat, field_validator, model_validator
from torch import Tensor, nn

from fedlab.accelerator import exact
from fedlab.errors import InputError
from fedlab.targets.base import REGRESSION, Target


class Regression(Target):
    """Each sample has one or several numbers, float64 of shape (n, targets).

    The network learns them less their mean, by their standard deviation; metrics and exports are
    in the units of the data. Strata, which label skews divide, are bins between quantiles.

    Attributes:
        standardise: Whether the network learns (y - mean) / std.
        mean: The mean of each target; by default that of the training samples, those of unseen
            domains left out.
        std: The standard deviation of each, likewise.
        bins: How many strata there are, each with about as many training samples.
        binned: Position of the target whose values are binned.
        edges: The upper ends of all bins but the last, ascending; by default quantiles of the
            training samples.
    """

    name: Literal["regression"] = "regression"
    kind: ClassVar[str] = REGRESSION
    nouns: ClassVar[tuple[str, str]] = ("target", "targets")
    strata_nouns: ClassVar[tuple[str, str]] = ("bin", "bins")
    loss: ClassVar[str] = "mse"
    metrics: ClassVar[tuple[str, ...]] = ("mae", "r2", "loss")
    score: ClassVar[str] = "mae"
    score_is_share: ClassVar[bool] = False
    output: ClassVar[tuple[str, str]] = ("values", "the targets, in the units of the data")
    standardise: bool = True
    mean: tuple[FiniteFloat, ...] | None = Field(default=None, min_length=1)
    std: tuple[PositiveFloat, ...] | None = Field(default=None, min_length=1)
    bins: int = Field(default=10, ge=2)
    binned: int = Field(default=0, ge=0)
    edges: tuple[FiniteFloat, ...] | None = None

    @field_validator("edges")
    @classmethod
    def _ascend(cls, edges: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if edges and any(a >= b for a, b in itertools.pairwise(edges)):
            raise ValueError("edges have to ascend; sort them, and name each once")
        return edges

    @model_validator(mode="after")
    def _both_or_neither(self) -> Regression:
        if (self.mean is None) != (self.std is None) or (
            self.mean and self.std and len(self.mean) != len(self.std)
        ):
            raise ValueError("mean and std have to be given together, a number for each target")
        if self.mean is not None and not self.standardise:
            raise ValueError(
                "standardise: false learns the numbers as they are, and mean and std are given; "
                "leave these or that out"
            )
        made = None if self.edges is None else len(self.edges) + 1
        if made is not None and self.bins not in (made, type(self).model_fields["bins"].default):
            raise ValueError(
                f"edges make {made} bins, and bins is {self.bins}; leave bins out, or edges for "
                "bins between quantiles"
            )
        return self

    def check(self, labels: np.ndarray, samples: int, names: Sequence[str], where: str) -> None:
        """Checks that there is a finite number for each sample and target."""
        if labels.shape != (samples, len(names)) or labels.dtype.kind not in "biuf":
            raise InputError(
                f"{where} has {samples} inputs and {len(names)} target names but labels of shape "
                f"{labels.shape} and type {labels.dtype}; give a number for each input and target"
            )
        self.check_values(labels, names, where)

    def check_values(self, labels: np.ndarray, names: Sequence[str], where: str) -> None:
        """See `Target.check_values`."""
        if not np.isfinite(labels).all():
            row, column = np.argwhere(~np.isfinite(labels))[0]
            raise InputError(
                f"{where} has the label {labels[row, column]} ('{names[column]}' of sample {row}); "
                "targets have to be finite: correct it, or leave the sample out"
            )

    def check_known(self) -> None:
        """Refuses unknown mean and deviation, which are those of all training samples."""
        if self.standardise and self.mean is None:
            raise InputError(
                "data.target.standardise: mean and std are those of all training samples, which "
                "are not here; give data.target.mean and data.target.std, or set "
                "data.target.standardise=false"
            )

    def stored(self, labels: np.ndarray) -> np.ndarray:
        """See `Target.stored`."""
        return labels.astype(np.float64, copy=False)

    def kinds(self, labels: np.ndarray) -> np.ndarray:
        """The bins fitted to these samples alone."""
        return np.searchsorted(self._quantiles(labels), labels[:, self._place(labels)])

    def _place(self, labels: np.ndarray) -> int:
        if self.binned >= labels.shape[1]:
            raise InputError(
                f"data.target.binned: there is no target {self.binned}; they are 0 to "
                f"{labels.shape[1] - 1}"
            )
        return self.binned

    def _quantiles(self, labels: np.ndarray) -> np.ndarray:
        """Upper ends of all bins except the last; fewer than `bins` where values repeat."""
        values = labels[:, self._place(labels)].astype(np.float64)
        inner = np.linspace(0, 1, self.bins + 1)[1:-1]
        edges = np.unique(np.quantile(values, inner, method="lower"))
        return edges[edges < values.max()]

    def fitted(self, labels: np.ndarray) -> Self:
        """With mean, deviation and the bins of these labels.

        Raises:
            InputError: If a target has one value throughout, or another number of means is given.
        """
        mean, std, edges = self.mean, self.std, self.edges
        if mean is None or std is None:
            with np.errstate(over="ignore", invalid="ignore"):  # refused below
                mean, std = (tuple(f(labels, axis=0).tolist()) for f in (np.mean, np.std))
            beyond = np.flatnonzero(~np.isfinite([*zip(mean, std, strict=True)]).all(axis=1))
            if len(beyond):
                raise InputError(
                    f"data.sources: target {beyond[0]} has values up to "
                    f"{np.abs(labels[:, beyond[0]]).max():g}, whose mean or standard deviation is "
                    "no finite number in double precision; correct it, or give it in a larger unit"
                )
            centred = np.abs(labels - np.array(mean)).max(axis=0)
            constant = np.flatnonzero(centred <= 1e-12 * np.abs(labels).max(axis=0))
            if len(constant):
                self._refuse_constant(labels[:, constant[0]], int(constant[0]))
        elif len(mean) != labels.shape[1]:
            raise InputError(
                f"data.target.mean has {len(mean)} numbers, and there are {labels.shape[1]} "
                "targets; give one for each"
            )
        self._place(labels)
        if edges is None:
            edges = tuple(self._quantiles(labels).tolist())
        return self.model_copy(update={"mean": mean, "std": std, "edges": edges})

    def _refuse_constant(self, values: np.ndarray, place: int) -> None:
        """Refuses a target of one value, or of values that differ in their last digits alone."""
        span = values.max() - values.min()
        if span == 0:
            raise InputError(
                f"data.sources: target {place} is {values[0]:g} in all training samples, and there "
                "is nothing to learn; check where it comes from"
            )
        raise InputError(
            f"data.sources: target {place} has values up to {np.abs(values).max():g} that differ "
            f"by {span:g} at most, and of so small a part double precision leaves too few digits; "
            "subtract an offset, such as its smallest value"
        )

    def remarks(self, names: Sequence[str]) -> list[str]:
        """A remark that the network learns standardised numbers."""
        if not self.standardise or self.mean is None or self.std is None:
            return []
        numbers = [
            f"{name}: mean {mean:.6g}, std {std:.6g}"
            for name, mean, std in zip(names, self.mean, self.std, strict=True)
        ]
        more = f", and {len(numbers) - 5} more" if len(numbers) > 5 else ""
        return [
            f"data.target: the network learns (y - mean) / std ({'; '.join(numbers[:5])}{more}), "
            "and metrics are in the units of the data; data.target.standardise=false learns y "
            "itself"
        ]

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """See `Target.strata`."""
        assert self.edges is not None
        return np.searchsorted(np.array(self.edges), labels[:, self._place(labels)])

    def strata_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """``<= 1``, ``1 to 2``, ``> 2``."""
        assert self.edges is not None
        ends = [f"{edge:.5g}" for edge in self.edges]
        if not ends:
            return ("all",)
        between = (f"{a} to {b}" for a, b in itertools.pairwise(ends))
        return (f"<= {ends[0]}", *between, f"> {ends[-1]}")

    def to_learn(self, labels: Tensor) -> Tensor:
        """Standardised in double precision, then float32."""
        if not self._scales:
            return labels.to(torch.float32)
        values = exact(labels).double()
        mean, std = self._scale(values)
        return ((values - mean) / std).to(torch.float32).to(labels.device)

    def readable(self, outputs: Tensor) -> Tensor:
        """Outputs in the units of the data, float64; on the CPU where a device lacks that."""
        own = exact(outputs).double()
        if not self._scales:
            return own
        mean, std = self._scale(own)
        return own * std + mean

    def in_units(self) -> nn.Module | None:
        """The layer that multiplies by the standard deviation and adds the mean."""
        if not self._scales:
            return None
        return Unscale(*(each.clone() for each in self._scale(torch.zeros(1))))

    @property
    def _scales(self) -> bool:
        """Whether the learnt numbers are standardised; never before it is fitted."""
        return self.standardise and self.mean is not None

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation in double precision on the device of other values."""
        assert self.mean is not None
        assert self.std is not None
        mean, std = (_there(each, like.device, torch.float64) for each in (self.mean, self.std))
        return mean, std

    def scores(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Absolute error in the units of the data, the mean over targets."""
        errors = (outputs.float() - labels).abs()
        if self._scales and self.std is not None:
            errors = errors * _there(self.std, errors.device, errors.dtype)
        return errors.mean(dim=-1)

    def losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Squared error in the units that are learnt, the mean over targets."""
        return (outputs - labels).square().mean(dim=-1)

    def counts(self, labels: Tensor, outputs: int) -> Tensor:
        """All samples, for each target."""
        return torch.full((outputs,), len(labels), dtype=torch.int64, device=labels.device)

    def example(self, samples: int, outputs: int) -> Tensor:
        """Different numbers around the mean."""
        values = torch.arange(1.0, samples * outputs + 1, dtype=torch.float64).cos()
        values = values.view(samples, outputs)
        if self.mean is None:
            return values
        mean, std = self._scale(values)
        return values * std + mean

    def texts(self, labels: np.ndarray, names: Sequence[str]) -> list[str]:
        """The numbers, separated by spaces."""
        return [" ".join(f"{value:.10g}" for value in row) for row in labels.tolist()]


@lru_cache(maxsize=64)
def _there(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Numbers on a device, cached, since every step of every client uses them."""
    with torch.inference_mode(False):  # made in a test, it is for training, too
        return torch.tensor(values, dtype=dtype, device=device)


class Unscale(nn.Module):
    """Standardised numbers -> float32 in the units of the data.

    Args:
        mean: Shape (targets,).
        std: Likewise.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, outputs: Tensor) -> Tensor:
        """Shape (n, targets), both."""
        return (outputs.to(self.std.dtype) * self.std + self.mean).to(torch.float32)
