"""The diabetes table of scikit-learn: progression of the disease after a year.

Least Angle Regression, Efron, Hastie, Johnstone, Tibshirani, Annals of Statistics 32, 2004: 442
patients, ten measurements, and a measure of progression between 25 and 346.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from fedlab import rng
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source
from fedlab.data.stored_numbers import stored
from fedlab.data.stratify import split_domain
from fedlab.errors import InputError
from fedlab.targets.base import REGRESSION

AGE, SEX = 0, 1
"""Columns that patients are divided by."""

EDGES = (38, 50, 59)
"""Ages up to which the groups go; each has about a quarter of the patients."""


class Diabetes(Source):
    """442 patients, divided into sites by age or by sex; nothing is downloaded.

    The column that they are divided by stays among the ten features.

    Attributes:
        by: ``age``: four groups of about a hundred; ``sex``: the two codes of the table.
        test_share: Share of a domain's patients that become its test split, stratified by bins of
            the progression.
    """

    targets: ClassVar[frozenset[str]] = frozenset({REGRESSION})
    name: Literal["diabetes"] = "diabetes"
    by: Literal["age", "sex"] = "age"
    test_share: float = Field(default=0.25, gt=0, lt=1)

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`."""
        if self.by == "sex":
            return ["sex_1", "sex_2"]
        between = [f"{low + 1}_to_{high}" for low, high in pairwise(EDGES)]
        return [f"up_to_{EDGES[0]}", *between, f"over_{EDGES[-1]}"]

    def load(self, context: LoadContext) -> list[Domain]:
        """Reads and divides the table.

        Raises:
            InputError: If scikit-learn is not installed.
        """
        try:
            from sklearn.datasets import load_diabetes
        except ImportError as error:
            raise InputError(
                f"{context.key}: the diabetes table comes with scikit-learn, which is not "
                "installed; run: pip install 'fedlab-sim[sim]'"
            ) from error
        table: Any = load_diabetes(scaled=False)
        (inputs,) = stored([np.asarray(table.data, np.float64)])
        progression = np.asarray(table.target, np.float64)[:, None]
        groups = np.searchsorted(EDGES, inputs[:, AGE])
        if self.by == "sex":
            groups = inputs[:, SEX].astype(np.int64) - 1
        return [
            split_domain(
                name,
                inputs[groups == group],
                progression[groups == group],
                ("progression",),
                self.test_share,
                rng.generator(context.seed, "split", name),
                target=context.target,
            )
            for group, name in enumerate(self.names(context))
        ]
