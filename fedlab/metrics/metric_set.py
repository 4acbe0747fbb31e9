"""The metrics of a scenario, with names, units and directions of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch

from fedlab.errors import InputError
from fedlab.metrics.accuracy import Accuracy
from fedlab.metrics.base import Counts, Metric, SampleMean
from fedlab.metrics.log_likelihood import MeanLoss
from fedlab.targets.base import Target
from fedlab.targets.classes import Classes

ACCURACY, LOSS = Accuracy().title, MeanLoss().title
ALWAYS = (ACCURACY, LOSS)
"""The means that every test has where classes are learnt."""


@dataclass(frozen=True)
class Score:
    """A number by which models are compared.

    Attributes:
        name: What the history calls it.
        higher_is_better: Which way is better.
        share: Whether it is shown in per cent.
        averages: Whether that of all samples is the mean of clients' scores, by examples.
        called: What a reader calls it, where it is not the name.
    """

    name: str
    higher_is_better: bool = True
    share: bool = True
    averages: bool = True
    called: str = ""

    @property
    def words(self) -> str:
        """The name for readers."""
        return self.called or self.name.replace("_", " ")

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.higher_is_better else -1

    @property
    def scale(self) -> int:
        """Factor of values in a table: 100 for per cent."""
        return 100 if self.share else 1

    @property
    def digits(self) -> int:
        """Digits behind the point in a table."""
        return 1 if self.share else 3

    @property
    def unit(self) -> str:
        """The unit of a table's numbers: `` in per cent``, or nothing."""
        return " in per cent" if self.share else ""

    def text(self, value: float, sign: str = "") -> str:
        """A value as it stands in a table, without its unit.

        Args:
            value: The number.
            sign: ``+`` to have the sign of a difference in any case.
        """
        return f"{self.scale * value:{sign}.{self.digits}f}"


ACCURACY_SCORE = Score(ACCURACY, called=Accuracy().words)


@dataclass(frozen=True)
class MetricSet:
    """The metrics of a scenario; the first is the one in tables, curves and progress.

    Attributes:
        metrics: In the order of the scenario.
        target: What is learnt.
    """

    metrics: tuple[Metric, ...] = (Accuracy(), MeanLoss())
    target: Target = field(default_factory=Classes)

    @cached_property
    def always(self) -> tuple[str, str]:
        """The two metrics of every test, chosen or not, as means over a client's samples."""
        return self.target.always

    @cached_property
    def counted(self) -> tuple[Metric, ...]:
        """Those whose counts travel; the two means of `always` are sent with every test."""
        return tuple(metric for metric in self.metrics if metric.title not in self.always)

    @cached_property
    def scores(self) -> dict[str, Score]:
        """The scores of all metrics that have one, by name, in the order of the scenario."""
        return {
            metric.title: Score(
                metric.title,
                metric.higher_is_better,
                metric.share,
                isinstance(metric, SampleMean),
                metric.words,
            )
            for metric in self.metrics
            if metric.scalar
        }

    @property
    def first(self) -> Score:
        """The score that is shown where there is space for one."""
        return next(iter(self.scores.values()))

    @property
    def others(self) -> tuple[Score, ...]:
        """The chosen scores besides the first."""
        chosen = tuple(self.scores) != self.always
        return tuple(self.scores.values())[1:] if chosen else ()

    def score(self, name: str) -> Score:
        """A score by its name.

        Raises:
            InputError: If the scenario measures no such thing.
        """
        if name not in self.scores:
            raise InputError(
                f"'{name}' is not measured; choose from {', '.join(self.scores)}, or add it to "
                "evaluation.metrics and run again"
            )
        return self.scores[name]

    def check(self, classes: int) -> None:
        """Checks that all metrics support a task, and that their counts are additive.

        Args:
            classes: Number of classes, or of outputs.

        Raises:
            InputError: With the metric and the remedy.
        """
        outputs = self.target.readable(torch.zeros(2, classes))
        labels = self.target.example(2, classes)
        for metric in self.metrics:
            if metric.title == LOSS:
                continue  # the target's own
            metric.check(self.target.cases(classes))
            try:
                self._try(metric, outputs, labels)
            except InputError:
                raise
            except Exception as error:  # a user's metric may raise anything
                raise InputError(
                    f"evaluation.metrics: '{metric.name}' fails on two samples of {classes} "
                    f"{self.target.nouns[1]}: {error}; mend the metric"
                ) from error

    def _try(self, metric: Metric, outputs: torch.Tensor, labels: torch.Tensor) -> None:
        some, none = metric.count(outputs, labels), metric.count(outputs[:0], labels[:0])
        forms = [{n: (c.dtype, c.shape) for n, c in counts.items()} for counts in (some, none)]
        if forms[0] != forms[1] or not all(
            counts.dtype in {torch.int64, torch.float64} for counts in some.values()
        ):
            raise InputError(
                f"evaluation.metrics: '{metric.name}' must count int64 or float64 tensors of the "
                "same names and shapes for any number of samples, none among them"
            )
        self._refuse_means(metric, outputs.shape[1])
        for counts in (some, none):
            found = metric.compute(counts)
            if metric.scalar and metric.title not in found:
                raise InputError(
                    f"evaluation.metrics: '{metric.name}'.compute must give '{metric.title}', and "
                    f"gives {', '.join(found) or 'nothing'}"
                )

    def _refuse_means(self, metric: Metric, classes: int) -> None:
        """Refuses counts of a union that are not the sums of the counts of its parts."""
        labels = self.target.example(7, classes)
        outputs = torch.arange(7.0 * classes).view(7, classes).sin()  # any numbers, none alike
        if labels.dim() == 1:
            outputs[::2] += 5 * torch.eye(classes)[labels[::2]]  # four right, and others wrong
        else:
            outputs[::2] += 5 * self.target.to_learn(labels[::2])
        outputs = self.target.readable(outputs)
        whole = metric.count(outputs, labels)
        parts = summed([metric.count(outputs[p], labels[p]) for p in (slice(3), slice(3, 7))])
        for name, count in whole.items():
            if not torch.allclose(count.double(), parts[name].double(), rtol=1e-6, equal_nan=True):
                raise InputError(
                    f"evaluation.metrics: '{metric.name}' does not add up: its '{name}' of seven "
                    "samples is not the sum of those of three and four of them; count sums over "
                    "samples, and divide in compute"
                )


def summed(counts: Sequence[Counts]) -> Counts:
    """The counts of several sets of samples together, added in the order given."""
    total = dict(counts[0])
    for each in counts[1:]:
        total = {name: total[name] + each[name] for name in total}
    return total
