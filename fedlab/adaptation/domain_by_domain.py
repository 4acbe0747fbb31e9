"""Adaptation of a model to one domain after another, each time from the run's own model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fedlab import rng
from fedlab.adaptation.batch_statistics import Stream
from fedlab.adaptation.label_shift import (
    Estimator,
    Prior,
    confusion,
    estimate,
    refuse_lacking,
    refuse_singular,
)
from fedlab.adaptation.score_calibration import Calibration, fit_biased
from fedlab.adaptation.source_samples import source_samples
from fedlab.adaptation.trained import Trained
from fedlab.engine.execution.memory import out_of_memory
from fedlab.errors import InputError
from fedlab.models.norms import has_batch_norm
from fedlab.records import Tensors


class Way(Protocol):
    """A method of adaptation to a domain."""

    def adapt(self, domain: str, rows: np.ndarray, before: Tensor) -> tuple[Tensor, Tensors]:
        """Adapts to the test samples of a domain.

        Args:
            domain: Its name.
            rows: Indices into the test pool, shape (n,).
            before: The run's model's logits for them, shape (n, classes), on the CPU.

        Returns:
            Logits in the order of `rows`, float32 on the CPU, and the domain's full state dict.
        """
        ...


class Online(Way):
    """The network adapts to batches of test samples while it predicts them.

    Args:
        trained: The run.
        stream: Adapts the run's model to batches.
        batch_size: Test samples per batch; what is left over is spread over the others, so that
            none has fewer. 0 is the whole domain.
        seed: Seed of the order in which samples come.
        takes_statistics: Whether `stream` normalises by statistics of a batch.

    Attributes:
        single: The domains so far that were a single batch.
    """

    def __init__(
        self,
        trained: Trained,
        stream: Callable[[Iterable[Tensor]], Stream],
        batch_size: int,
        seed: int,
        *,
        takes_statistics: bool = True,
    ) -> None:
        self.trained, self.stream = trained, stream
        self.batch_size, self.seed = batch_size, seed
        self.takes_statistics = takes_statistics
        self.single: list[str] = []

    def meet(self, before: Tensor) -> None:
        """Called for each batch, before the network is.

        Args:
            before: The run's model's logits for it, shape (n, classes), on the CPU.
        """

    def adapt(self, domain: str, rows: np.ndarray, before: Tensor) -> tuple[Tensor, Tensors]:
        """See `Way.adapt`.

        Raises:
            InputError: If there are too few samples for statistics, or too many for the memory.
        """
        network = self.trained.runtime.trainer.task.model
        if len(rows) < 2 and self.takes_statistics and has_batch_norm(network):
            raise InputError(
                f"--method: '{domain}' has a single test sample, which has no statistics; name "
                "another --domain"
            )
        order = rng.generator(self.seed, "adapt-test", domain).permutation(len(rows))
        size = self.batch_size or len(rows)
        if len(rows) < 2 * size:
            self.single.append(domain)
        try:
            found = self.stream(self._batches(rows, before, order, size))
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            raise InputError(
                f"--batch-size: {min(size, len(rows))} test samples of '{domain}' do not fit into "
                "memory as one batch; use fewer"
            ) from error
        outputs = torch.empty_like(found.outputs)
        outputs[torch.from_numpy(order)] = found.outputs
        return outputs, found.model

    def _batches(
        self, rows: np.ndarray, before: Tensor, order: np.ndarray, size: int
    ) -> Iterator[Tensor]:
        pool = self.trained.runtime.data.test
        for part in np.array_split(order, max(1, len(order) // size)):
            self.meet(before[torch.from_numpy(part)])
            yield self.trained.batch(pool, rows[part])


class LabelShift(Way):
    """The network stays as it is, and its probabilities are multiplied by w = q / p.

    Args:
        trained: The run.
        model: Its global model.
        estimator: Estimates q.
        calibrated: Whether probabilities are first calibrated on validation samples, by a
            temperature and biases (`fedlab.adaptation.score_calibration`). None does so for ``em``
            where there are validation samples.

    Attributes:
        source: What the source statistics come from, and what was calibrated, in words.
        priors: What was estimated, by domain.

    Raises:
        InputError: If the source has no sample of a class, no validation samples to calibrate on,
            or predictions that BBSE cannot invert.
    """

    def __init__(
        self, trained: Trained, model: Tensors, estimator: Estimator, calibrated: bool | None
    ) -> None:
        self.model = model
        self.estimator: Estimator = estimator
        self.names = trained.runtime.data.class_names
        found = source_samples(trained, model)
        self.labels = found.labels.numpy()
        refuse_lacking(self.labels, self.names)
        validated = found.split == "validation"
        if calibrated and not validated:
            raise InputError(
                f"--calibrate: the run '{trained.run.folder}' has no validation samples to "
                "calibrate on; leave it out, or run again with evaluation.validation=0.2"
            )
        if calibrated is None:
            calibrated = estimator == "em" and validated
        self.calibration = Calibration.none(len(self.names))
        self.source = found.words
        if calibrated:
            try:
                self.calibration = fit_biased(found.outputs, found.labels)
            except InputError as error:
                raise InputError(f"{error}; or do without (--no-calibrate)") from error
            self.source += f"; temperature {self.calibration.temperature:.3g} and biases fitted"
        elif estimator == "em":
            self.source += "; em takes uncalibrated probabilities at their word"
        self.chances = self.calibration.logs(found.outputs).exp().numpy()
        if estimator == "bbse":
            predicted = self.chances.argmax(axis=1)
            refuse_singular(confusion(predicted, self.labels, len(self.names)), self.names)
        self.priors: dict[str, Prior] = {}

    def adapt(self, domain: str, rows: np.ndarray, before: Tensor) -> tuple[Tensor, Tensors]:
        """See `Way.adapt`.

        Raises:
            InputError: If there are too few samples, or the prior cannot be estimated.
        """
        logs = self.calibration.logs(before)
        prior = self.priors[domain] = self.prior(domain, logs)
        heeding = logs + torch.from_numpy(prior.weights).log()
        return heeding.log_softmax(dim=1).float(), self.model

    def prior(self, domain: str, logs: Tensor) -> Prior:
        """The class prior of a domain's test samples.

        Args:
            domain: Its name.
            logs: log p(class | x) of them, calibrated, float64 of shape (n, classes).

        Raises:
            InputError: If there are too few samples, or the prior cannot be estimated.
        """
        if len(logs) < len(self.names):
            raise InputError(
                f"--method: '{domain}' has {len(logs)} test samples, too few to estimate the "
                f"shares of {len(self.names)} classes; name another --domain"
            )
        chances = logs.exp().numpy()
        return estimate(self.estimator, self.chances, self.labels, chances, self.names)
