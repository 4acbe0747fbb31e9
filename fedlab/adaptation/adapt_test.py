"""Test-time adaptation of a finished run's model to the unlabelled test samples of each domain.

Three ways: statistics of the test samples in batch normalisation
(`fedlab.adaptation.batch_statistics`), entropy minimisation (`fedlab.adaptation.tent`), and
predictions corrected by the test set's class prior (`fedlab.adaptation.label_shift`). Every domain
starts from the run's model. Labels of test samples are used for scores, and for the true prior that
stands beside the estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from fedlab.adaptation.batch_statistics import adapt_statistics
from fedlab.adaptation.choice import one_of
from fedlab.adaptation.domain_by_domain import LabelShift, Online, Way
from fedlab.adaptation.label_shift import Estimator, Prior
from fedlab.adaptation.scoring import DomainOutputs, before_and_after
from fedlab.adaptation.source_samples import refuse_infinite
from fedlab.adaptation.tent import affine_names, tent
from fedlab.adaptation.trained import Trained, open_classifier
from fedlab.errors import InputError
from fedlab.models.norms import has_batch_norm
from fedlab.records import Tensors, as_tensor
from fedlab.runs.run import Run

if TYPE_CHECKING:
    import pandas

OTHER = "a model that has some, with model.norm=batch"
"""The remedy where a network has no normalisation."""

Method = Literal["batch_statistics", "tent", "label_shift"]

Progress = Callable[[int, int], None]
"""(domains done, domains in all)."""

DEFAULTS: dict[Method, dict[str, Any]] = {
    "batch_statistics": {"alpha": 1.0, "batch_size": 0},
    "tent": {"lr": 1e-3, "steps": 1, "batch_size": 64},
    "label_shift": {"estimator": "bbse", "calibrate": None},
}
"""The options of each method. A batch size of 0 is the whole domain."""


class Adapted(NamedTuple):
    """The result of test-time adaptation.

    Attributes:
        table: One row per domain and figure of the scenario's metrics: ``domain``, ``metric``,
            ``before``, ``after``, ``examples`` (test samples).
        models: Each domain's full state dict after its last batch; with ``label_shift`` the run's
            model, whose outputs alone change.
        outputs: Each domain's logits after adaptation, in the order of its test samples.
        priors: With ``label_shift``, one row per domain and class: ``domain``, ``class``,
            ``source``, ``estimated``, ``true`` (shares) and ``weight``; else None.
        source: With ``label_shift``, what the source statistics come from and what was
            calibrated, in words.
    """

    table: pandas.DataFrame
    models: dict[str, Tensors]
    outputs: dict[str, Tensor]
    priors: pandas.DataFrame | None = None
    source: str = ""


def adapt_test(
    run: Run,
    *,
    method: Method = "batch_statistics",
    domain: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Adapted:
    """Adapts a run's global model to each domain's test samples; tests it before and after.

    Args:
        run: A finished run.
        method: ``batch_statistics``, ``tent`` or ``label_shift``.
        domain: This domain alone.
        seed: Seed of the order in which test samples come, where batches are smaller than a domain.
        progress: Called after every domain.
        options: Of the method, None for its default: ``alpha`` (share of the test samples'
            statistics), ``batch_size`` (test samples per batch at least, 0 for all of a domain),
            ``lr`` and ``steps`` per batch (of ``tent``), ``estimator`` (``bbse``, ``rlls``,
            ``em``), ``calibrate`` (whether probabilities are first calibrated on validation
            samples; by default with ``em``, where there are any).

    Raises:
        InputError: If the run has not finished, learns no classes or has no global model, the
            network has nothing that the method adapts, an option is not the method's or out of
            range, or there are too few samples.
    """
    chosen = _options(method, options)
    trained = open_classifier(run, "adapt", "adaptation is to predictions of classes")
    names, model = trained.domains(domain), trained.model(None)
    way = _way(trained, model, method, chosen, seed)
    pool, every = trained.runtime.data.test, trained.runtime.data.domain_names
    outcomes, models = list[DomainOutputs](), dict[str, Tensors]()
    for done, name in enumerate(names, 1):
        rows = np.flatnonzero(pool.domains == every.index(name))
        if len(rows):
            before = trained.outputs(model, pool, rows)
            refuse_infinite(trained, before)
            after, models[name] = way.adapt(name, rows, before)
            outcomes.append(DomainOutputs(name, before, after, as_tensor(pool.labels[rows])))
        if progress:
            progress(done, len(names))
    table = before_and_after(outcomes, run.metric_set.metrics)
    found = Adapted(table, models, {each.domain: each.after for each in outcomes})
    if isinstance(way, LabelShift):
        priors = _prior_table(way.priors, outcomes, trained.runtime.data.class_names)
        return found._replace(priors=priors, source=way.source)
    return found


def _options(method: Method, given: dict[str, Any]) -> dict[str, Any]:
    """The method's options with defaults filled in.

    Raises:
        InputError: If one is another method's, or out of range.
    """
    stated = {name: value for name, value in given.items() if value is not None}
    for name, value in stated.items():
        flag = f"--{name.replace('_', '-')}"
        if name not in DEFAULTS[method]:
            owners = [each for each, own in DEFAULTS.items() if name in own]
            raise InputError(
                f"{flag}: {method} has no such option, {' and '.join(owners) or 'no method'} has; "
                "leave it out"
            )
        if name == "estimator":
            one_of(value, get_args(Estimator), flag)
        if name == "alpha" and not 0 <= value <= 1:
            raise InputError(f"{flag}: {value:g} must be between 0 and 1")
        if name in ("lr", "steps") and not value > 0:
            raise InputError(f"{flag}: {value:g} must be above 0")
        if name == "batch_size" and (value < 0 or value == 1):
            raise InputError(
                f"{flag}: a batch of {value} has no statistics; use 2 or more, or 0 for all test "
                "samples of a domain"
            )
    return {**DEFAULTS[method], **stated}


def _way(
    trained: Trained, model: Tensors, method: Method, options: dict[str, Any], seed: int
) -> Way:
    """The adaptation method as a `Way`.

    Raises:
        InputError: If the network has nothing that it adapts.
    """
    if method == "label_shift":
        return LabelShift(trained, model, options["estimator"], options["calibrate"])
    network, name = trained.runtime.trainer.task.model, trained.run.scenario.model.name
    affine = affine_names(network)
    if method == "tent":
        if not affine:
            raise InputError(
                "--method: tent adapts scales and shifts of normalisation layers, and the run's "
                f"model '{name}' has none; use --method label_shift, or train {OTHER}"
            )
        stream = partial(tent, network, model, lr=options["lr"], steps=options["steps"])
    else:
        if not has_batch_norm(network):
            raise InputError(
                "--method: batch_statistics is of batch normalisation, and the run's model "
                f"'{name}' has none; use --method {'tent or ' * bool(affine)}label_shift, or train "
                + OTHER
            )
        stream = partial(adapt_statistics, network, model, alpha=options["alpha"])
    return Online(trained, stream, options["batch_size"], seed)


def _prior_table(
    priors: dict[str, Prior], outcomes: list[DomainOutputs], names: tuple[str, ...]
) -> pandas.DataFrame:
    import pandas

    rows = []
    for each in outcomes:
        prior = priors[each.domain]
        true = torch.bincount(each.labels, minlength=len(names)).double() / len(each.labels)
        columns = (prior.source, prior.test, true.numpy(), prior.weights)
        rows += [
            (each.domain, name, *map(float, numbers))
            for name, *numbers in zip(names, *columns, strict=True)
        ]
    return pandas.DataFrame(
        rows, columns=["domain", "class", "source", "estimated", "true", "weight"]
    )
