"""Temperature scaling of a finished run's model, so that its confidence matches its accuracy.

On Calibration of Modern Neural Networks, Guo, Pleiss, Sun, Weinberger, ICML 2017, arXiv 1706.04599,
section 4.2: the logits are divided by T, which minimises the negative log-likelihood of validation
samples. The order of the classes stays, and so does every prediction.

In a federation clients would send the derivative of their sums at the server's T, step by step; the
mean of clients' own temperatures is another number. Here it is fitted where the run's data are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from fedlab.adaptation.score_calibration import fit_temperature
from fedlab.adaptation.scoring import DomainOutputs, before_and_after
from fedlab.adaptation.source_samples import refuse_infinite, validation_samples
from fedlab.adaptation.trained import open_classifier, refuse_without_known_classes
from fedlab.errors import InputError
from fedlab.metrics.accuracy import Accuracy
from fedlab.metrics.base import Counts
from fedlab.metrics.brier import Brier
from fedlab.metrics.ece import ECE
from fedlab.metrics.log_likelihood import NLL
from fedlab.records import as_tensor
from fedlab.runs.run import Run

if TYPE_CHECKING:
    import pandas

METRICS = (NLL(), ECE(), Brier(), Accuracy())


class TemperatureScaled(NamedTuple):
    """A model with a temperature.

    Attributes:
        temperature: T, by which its logits are to be divided.
        samples: Validation samples that it was fitted on.
        table: One row per domain and metric (``nll``, ``ece``, ``brier``, ``accuracy``):
            ``domain``, ``metric``, ``before``, ``after``, ``examples``.
        bins: Counts of `fedlab.metrics.ECE` over the test samples of all domains, before and after.
    """

    temperature: float
    samples: int
    table: pandas.DataFrame
    bins: tuple[Counts, Counts]


def temperature_scaling(run: Run) -> TemperatureScaled:
    """Fits a temperature to a run's global model on validation samples; tests it on every domain.

    Args:
        run: A finished run with validation samples.

    Raises:
        InputError: If the run has not finished, learns no classes, or has no global model or no
            validation samples; or if no temperature is best.
    """
    refuse_without_known_classes(run, "a temperature is of probabilities of classes")
    trained = open_classifier(run, "calibrate", "a temperature is of probabilities of classes")
    model = trained.model(None)
    found = validation_samples(trained, model)
    if found is None:
        raise InputError(
            f"the run '{run.folder}' has no validation samples, and a temperature that is fitted "
            "on training samples takes the network's certainty about them for knowledge; run again "
            "with evaluation.validation=0.2"
        )
    refuse_infinite(trained, found.outputs)
    temperature = fit_temperature(found.outputs, found.labels)
    pool, outcomes = trained.runtime.data.test, list[DomainOutputs]()
    for index, domain in enumerate(trained.domains()):
        rows = np.flatnonzero(pool.domains == index)
        if not len(rows):
            continue
        outputs = trained.outputs(model, pool, rows)
        labels = as_tensor(pool.labels[rows])
        outcomes.append(DomainOutputs(domain, outputs, outputs / temperature, labels))
    labels = torch.cat([each.labels for each in outcomes])
    before, after = (
        ECE().count(torch.cat(parts), labels)
        for parts in zip(*((each.before, each.after) for each in outcomes), strict=True)
    )
    table = before_and_after(outcomes, METRICS)
    return TemperatureScaled(temperature, len(found.labels), table, (before, after))
