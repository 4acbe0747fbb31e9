"""Test-time adaptation of a finished run's model to the unlabelled test samples of each domain.

Four ways: statistics of the test samples in batch normalisation
(`fedlab.adaptation.batch_statistics`), entropy minimisation (`fedlab.adaptation.tent`),
predictions corrected by the test set's class prior (`fedlab.adaptation.label_shift`), and a last
layer that an adapter changes by this prior (`fedlab.adaptation.prior_following`), alone or with one
of the first two. Every domain starts from the run's model. Labels of test samples are used for
scores, and for the true prior that stands beside the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from fedlab.adaptation.adapter_training import Training
from fedlab.adaptation.batch_statistics import Stream, adapt_statistics
from fedlab.adaptation.choice import above_zero, one_of
from fedlab.adaptation.domain_by_domain import LabelShift, Online, Way
from fedlab.adaptation.label_shift import Estimator, Prior
from fedlab.adaptation.prior_following import (
    Base,
    PriorEstimator,
    PriorFollowing,
    predicted,
)
from fedlab.adaptation.scoring import DomainOutputs, before_and_after
from fedlab.adaptation.source_samples import refuse_infinite
from fedlab.adaptation.tent import affine_names, tent
from fedlab.adaptation.trained import Trained, open_classifier, refuse_without_known_classes
from fedlab.errors import InputError
from fedlab.models.norms import has_batch_norm
from fedlab.records import Tensors, as_tensor
from fedlab.runs.run import Run

if TYPE_CHECKING:
    import pandas

OTHER = "a model that has some, with model.norm=batch"
"""The remedy where a network has no normalisation."""

Method = Literal["batch_statistics", "tent", "label_shift", "label_shift_adapter"]

Progress = Callable[[int, int], None]
"""(domains done, domains in all)."""

DEFAULTS: dict[Method, dict[str, Any]] = {
    "batch_statistics": {"alpha": 1.0, "batch_size": 0},
    "tent": {"lr": 1e-3, "steps": 1, "batch_size": 64},
    "label_shift": {"estimator": "bbse", "calibrate": None},
    "label_shift_adapter": {
        **{"base": "none", "estimator": "ema", "calibrate": None, "momentum": 0.8},
        "batch_size": 64,
        **{"rounds": 20, "epochs": 1, "hidden": 32, "lr": 1e-3},
    },
}
"""The options of each method. A batch size of 0 is the whole domain."""

CHOICES = {
    ("label_shift", "estimator"): get_args(Estimator),
    ("label_shift_adapter", "estimator"): get_args(PriorEstimator),
    ("label_shift_adapter", "base"): get_args(Base),
}


class Adapted(NamedTuple):
    """The result of test-time adaptation.

    Attributes:
        table: One row per domain and figure of the scenario's metrics: ``domain``, ``metric``,
            ``before``, ``after``, ``examples`` (test samples).
        models: Each domain's full state dict after its last batch; with ``label_shift`` the run's
            model, whose outputs alone change.
        outputs: Each domain's logits after adaptation, in the order of its test samples.
        priors: With ``label_shift`` and ``label_shift_adapter``, one row per domain and class:
            ``domain``, ``class``, ``source``, ``estimated`` (the last one, of a moving average),
            ``true`` (shares) and ``weight``; else None.
        source: With ``label_shift``, what the source statistics come from and what was
            calibrated, in words; with ``label_shift_adapter``, what it was trained on.
        untouched: Domains that TENT's steps did not reach: they are one batch, which is scored
            before its only step.
    """

    table: pandas.DataFrame
    models: dict[str, Tensors]
    outputs: dict[str, Tensor]
    priors: pandas.DataFrame | None = None
    source: str = ""
    untouched: tuple[str, ...] = ()


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
        method: ``batch_statistics``, ``tent``, ``label_shift`` or ``label_shift_adapter``.
        domain: This domain alone.
        seed: Seed of the order in which test samples come, where batches are smaller than a
            domain, and of the adapter.
        progress: Called after every domain.
        options: Of the method, None for its default: ``alpha`` (share of the test samples'
            statistics), ``batch_size`` (test samples per batch at least, 0 for all of a domain),
            ``lr`` and ``steps`` per batch (of ``tent``), ``estimator`` (``bbse``, ``rlls``,
            ``em``), ``calibrate`` (whether probabilities are first calibrated on validation
            samples; by default with ``em``, where there are any). Of the adapter: ``base`` (what
            else adapts the network: ``none``, ``batch_statistics`` or ``tent``, with their
            defaults), ``estimator`` (also ``ema``), ``calibrate``, ``momentum`` (of ``ema``), and
            ``rounds``, ``epochs``, ``hidden`` and ``lr`` (see
            `fedlab.adaptation.adapter_training.Training`).

    Raises:
        InputError: If the run has not finished, learns no classes or has no global model, the
            network has nothing that the method adapts, an option is not the method's or out of
            range, or there are too few samples.
    """
    chosen = _options(method, options)
    refuse_without_known_classes(run, "adaptation is to predictions of classes")
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
    if isinstance(way, Online) and "tent" in (method, chosen.get("base")):
        found = found._replace(untouched=tuple(way.single) * (chosen.get("steps", 1) == 1))
    if isinstance(way, LabelShift | PriorFollowing):
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
            verb = "have" if len(owners) > 1 else "has"
            raise InputError(
                f"{flag}: {method} has no such option, {' and '.join(owners) or 'no method'} "
                f"{verb}; leave it out"
            )
        if (method, name) in CHOICES:
            one_of(value, CHOICES[method, name], flag)
        if name in ("alpha", "momentum") and not 0 <= value <= 1:
            raise InputError(f"{flag}: {value:g} must be between 0 and 1")
        if name in ("lr", "steps", "rounds", "epochs", "hidden"):
            above_zero(value, flag)
        alone = method == "label_shift_adapter" and stated.get("base", "none") == "none"
        if name == "batch_size" and (value < 0 or (value == 1 and not alone)):
            raise InputError(
                f"{flag}: a batch of {value} has no statistics; use 2 or more, or 0 for all test "
                "samples of a domain"
            )
    chosen = {**DEFAULTS[method], **stated}
    if method == "label_shift_adapter":
        _refuse_of_another_estimator(chosen["estimator"], stated)
    return chosen


def _refuse_of_another_estimator(estimator: str, stated: Mapping[str, Any]) -> None:
    """Refuses options of the adapter's prior that its estimator does not read.

    Raises:
        InputError: If there is one.
    """
    average = estimator == "ema"
    if average and stated.get("calibrate"):
        raise InputError(
            "--calibrate: ema takes predictions as they are; leave it out, or use --estimator "
            "bbse, rlls or em"
        )
    if not average and "momentum" in stated:
        raise InputError(
            f"--momentum: it is of the moving average, and {estimator} reads a whole domain at "
            "once; leave it out, or use --estimator ema"
        )


def _way(
    trained: Trained, model: Tensors, method: Method, options: dict[str, Any], seed: int
) -> Way:
    """The adaptation method as a `Way`.

    Raises:
        InputError: If the network has nothing that it adapts.
    """
    if method == "label_shift":
        return LabelShift(trained, model, options["estimator"], options["calibrate"])
    if method == "label_shift_adapter":
        names = ("hidden", "rounds", "epochs", "lr")
        training = Training(**{name: options.pop(name) for name in names})
        base = options["base"]
        stream = _stream(trained, model, base, DEFAULTS.get(base, {}), "base")
        return PriorFollowing(trained, model, stream, **options, training=training, seed=seed)
    stream = _stream(trained, model, method, options, "method")
    return Online(trained, stream, options["batch_size"], seed)


def _stream(
    trained: Trained,
    model: Tensors,
    name: str,
    options: dict[str, Any],
    flag: Literal["method", "base"],
) -> Callable[[Iterable[Tensor]], Stream]:
    """What runs a model on batches, and adapts it as `name` says (``none``: not at all).

    Raises:
        InputError: If the network has nothing that it adapts.
    """
    network, chosen = trained.runtime.trainer.task.model, trained.run.scenario.model.name
    affine = affine_names(network)
    if name == "none":
        return partial(predicted, network, model)
    if name == "tent":
        if not affine:
            remedy = "--method label_shift" if flag == "method" else "--base none"
            raise InputError(
                f"--{flag}: tent adapts scales and shifts of normalisation layers, and the run's "
                f"model '{chosen}' has none; use {remedy}, or train {OTHER}"
            )
        return partial(tent, network, model, lr=options["lr"], steps=options["steps"])
    if not has_batch_norm(network):
        other = "label_shift" if flag == "method" else "none"
        raise InputError(
            f"--{flag}: batch_statistics is of batch normalisation, and the run's model "
            f"'{chosen}' has none; use --{flag} {'tent or ' * bool(affine)}{other}, or train "
            + OTHER
        )
    return partial(adapt_statistics, network, model, alpha=options["alpha"])


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
