"""Several scenarios in one table, with the numbers that papers report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fedlab.comparison.comparison import Comparison
from fedlab.comparison.comparison_folder import PLAN
from fedlab.comparison.suite_numbers import SuiteNumbers
from fedlab.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Suite(SuiteNumbers):
    """The same methods in several scenarios.

    Attributes:
        comparisons: A comparison for each scenario, by its name; all have the same methods.
    """

    comparisons: Mapping[str, Comparison]

    @classmethod
    def of(cls, comparisons: Mapping[str, Comparison]) -> Suite:
        """Puts comparisons together.

        Raises:
            InputError: If there are less than two, or they have other methods or metrics.
        """
        if len(comparisons) < 2:
            raise InputError("a suite takes two scenarios or more; compare one by itself")
        first, *others = comparisons.items()
        for name, other in others:
            labels = [[group.label for group in each.groups] for each in (first[1], other)]
            if labels[0] != labels[1]:
                differing = sorted(set(labels[0]) ^ set(labels[1])) or labels[1]
                raise InputError(
                    f"scenarios: {first[0]} and {name} compare other methods "
                    f"({', '.join(differing)}); a table of both needs the same in both"
                )
            if first[1].score != other.score:
                raise InputError(
                    f"scenarios: {first[0]} is scored by {first[1].score.name} and {name} by "
                    f"{other.score.name}; begin evaluation.metrics with the same in both"
                )
        return cls(dict(comparisons))

    @classmethod
    def open(cls, folder: str | Path) -> Suite:
        """Opens the folders of several comparisons.

        Raises:
            InputError: If the folder does not hold two comparisons of the same methods.
        """
        inner = sorted(file.parent for file in Path(folder).glob(f"*/{PLAN}"))
        return cls.of({each.name: Comparison.open(each) for each in inner})

    def to_markdown(self) -> str:
        """The table in Markdown, with its notes."""
        from fedlab.comparison.suite_formats import markdown

        return markdown(self)

    def to_latex(self) -> str:
        r"""The table in LaTeX for ``\usepackage{booktabs}``."""
        from fedlab.comparison.suite_formats import latex

        return latex(self)

    def to_csv(self) -> str:
        """The numbers of `table`, one line per method."""
        frame = self.table()
        frame.columns = [" ".join(column) for column in frame.columns]
        return frame.reset_index().to_csv(index=False)

    def plot(self) -> Figure:
        """The critical-difference diagram: methods by average rank; bars join equal ones.

        Raises:
            InputError: If there are no ranks.
        """
        from fedlab.comparison.critical_difference import critical_difference

        if self.ranks is None:
            raise InputError(
                "ranks take two methods and two scenarios in which each has a finished run"
            )
        return critical_difference(self.labels, self.ranks, len(self.complete))
