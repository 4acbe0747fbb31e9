"""The ``evaluation`` block of a scenario."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from fedlab.config.component import Chosen, ConfigBlock
from fedlab.metrics.base import Metric
from fedlab.row import Split


class ValidationSpec(ConfigBlock):
    """Samples set aside by each client, used for selection and not for training or tests.

    Attributes:
        share: Share of each client's training samples, stratified by domain and class, drawn
            before labels are hidden or made wrong.
    """

    share: float = Field(gt=0, lt=1)


class EvaluationSpec(ConfigBlock):
    """The metrics, and when and on which samples they are computed.

    Attributes:
        every: Rounds between evaluations; the last round is always evaluated.
        fraction: Share of the clients that test their own model on their own test split.
        domains: Whether the global model (where the method has one) is tested on each domain's
            whole test set. Where all clients test (`fraction` 1), their tests add up to those of
            their domains in any case, so that only domains without a client are left to test.
        batch_size: Samples per forward pass.
        metrics: What is computed of outputs and labels; the first is the one in tables and curves.
            By default accuracy and loss of classes, and what `data.target` says of others.
        validation: Samples that clients set aside, ``{share: 0.2}`` or the share alone; tested in
            every evaluated round.
        select: Which round's model is the run's: the ``last``, or the one whose mean of the first
            metric over domains is best on ``validation``; that one alone is then tested, once.
        patience: Evaluated rounds without a better validation after which the run ends early.
        adapt_steps: Optimiser steps after which clients that are never trained
            (``partition.held_out_clients``) are tested a second time: on their own training
            samples, from the model that came down, by the scenario's optimiser and loss. 0 does
            without.
    """

    every: PositiveInt = 1
    fraction: float = Field(default=1.0, ge=0, le=1)
    domains: bool = True
    batch_size: PositiveInt = 256
    metrics: tuple[Chosen[Metric], ...] = ("accuracy", "loss")  # type: ignore[assignment]
    validation: ValidationSpec | None = None
    select: Literal["last", "validation"] = "last"
    patience: PositiveInt | None = None
    adapt_steps: NonNegativeInt = 0

    @field_validator("validation", mode="before")
    @classmethod
    def _a_share_is_a_split(cls, value: Any) -> Any:
        alone = isinstance(value, int | float | str) and not isinstance(value, bool)
        return {"share": value} if alone else value

    @model_validator(mode="after")
    def _chosen_by_something(self) -> EvaluationSpec:
        asks = {"select: validation": self.select == "validation", "patience": bool(self.patience)}
        for key in (key for key, wanted in asks.items() if wanted):
            if self.validation is None:
                raise ValueError(
                    f"{key} chooses by samples that no client has set aside; add validation: "
                    "{share: 0.2}, or leave it out"
                )
            if self.fraction == 0:
                raise ValueError(
                    f"{key} chooses by clients' validation, and fraction 0 lets none of them "
                    "validate; raise fraction"
                )
        return self

    @property
    def validation_share(self) -> float:
        """Share of the training samples that is set aside."""
        return self.validation.share if self.validation else 0.0

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that an evaluated round tests."""
        if self.validation is None:
            return ("test",)
        return ("validation",) if self.select == "validation" else ("validation", "test")

    @field_validator("metrics", mode="before")
    @classmethod
    def _one_is_a_list(cls, metrics: Any) -> Any:
        return [metrics] if isinstance(metrics, str | dict | type | Metric) else metrics

    @field_validator("metrics")
    @classmethod
    def _tell_apart(cls, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        titles = [metric.title for metric in metrics]
        if twice := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(f"'{twice[0]}' is there twice; leave one of them out")
        if not metrics or not metrics[0].scalar:
            raise ValueError(
                "the first metric is the one in tables and curves, and must have one figure; begin "
                "with one such as accuracy or f1"
            )
        return metrics
