"""Names in a scenario -> classes, without importing what is not used.

A name is looked up in three places, in this order: fedlab's own table below, the entry points of
installed packages (group ``fedlab.<group>``), and, if it has the form ``package.module:Class``, the
Python path. A user's own method, model or data source thus comes in by the same door as ours.

A class that no other process can import, because a notebook or a function defines it, is lent: it
travels by value to the processes that need it (`session_classes`, `register_classes`).
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from fedlab.errors import InputError, told

BUILTIN: dict[str, dict[str, str]] = {
    "strategies": {
        "fedavg": "fedlab.strategies.fedavg:FedAvg",
        "fedprox": "fedlab.strategies.fedprox:FedProx",
        "fedbn": "fedlab.strategies.fedbn:FedBN",
        "silobn": "fedlab.strategies.silobn:SiloBN",
        "fedwon": "fedlab.strategies.fedwon:FedWon",
        "ditto": "fedlab.strategies.ditto:Ditto",
        "fedper": "fedlab.strategies.fedper:FedPer",
        "fedrep": "fedlab.strategies.fedrep:FedRep",
        "lg_fedavg": "fedlab.strategies.lg_fedavg:LGFedAvg",
        "fedproto": "fedlab.strategies.fedproto:FedProto",
        "local_only": "fedlab.strategies.local_only:LocalOnly",
        "centralised": "fedlab.strategies.centralised:Centralised",
        "scaffold": "fedlab.strategies.scaffold:Scaffold",
        "feddyn": "fedlab.strategies.feddyn:FedDyn",
        "fednova": "fedlab.strategies.fednova:FedNova",
        "feddc": "fedlab.strategies.feddc:FedDC",
        "fedavgm": "fedlab.strategies.fedavgm:FedAvgM",
        "fedadam": "fedlab.strategies.fedadam:FedAdam",
        "fedyogi": "fedlab.strategies.fedyogi:FedYogi",
        "fedadagrad": "fedlab.strategies.fedadagrad:FedAdagrad",
        "fedbuff": "fedlab.strategies.fedbuff:FedBuff",
        "fraug": "fedlab.strategies.fraug:FRAug",
        "fedlabel": "fedlab.strategies.fedlabel:FedLabel",
        "fixmatch": "fedlab.strategies.fixmatch:FixMatch",
        "uda": "fedlab.strategies.uda:UDA",
        "ggeur": "fedlab.strategies.ggeur:GGEUR",
        "moon": "fedlab.strategies.moon:MOON",
        "fedntd": "fedlab.strategies.fedntd:FedNTD",
        "fedsam": "fedlab.strategies.fedsam:FedSAM",
        "fixbn": "fedlab.strategies.fixbn:FixBN",
    },
    "clients": {
        "fedavg": "fedlab.clients.fedavg:FedAvg",
        "fedprox": "fedlab.clients.fedprox:FedProx",
        "fedbn": "fedlab.clients.fedbn:FedBN",
        "silobn": "fedlab.clients.silobn:SiloBN",
        "fedwon": "fedlab.clients.fedwon:FedWon",
        "ditto": "fedlab.clients.ditto:Ditto",
        "fedper": "fedlab.clients.fedper:FedPer",
        "fedrep": "fedlab.clients.fedrep:FedRep",
        "lg_fedavg": "fedlab.clients.lg_fedavg:LGFedAvg",
        "fedproto": "fedlab.clients.fedproto:FedProto",
        "local_only": "fedlab.clients.local_only:LocalOnly",
        "centralised": "fedlab.clients.centralised:Centralised",
        "scaffold": "fedlab.clients.scaffold:Scaffold",
        "feddyn": "fedlab.clients.feddyn:FedDyn",
        "fednova": "fedlab.clients.fednova:FedNova",
        "feddc": "fedlab.clients.feddc:FedDC",
        "fraug": "fedlab.clients.fraug:FRAug",
        "fedlabel": "fedlab.clients.fedlabel:FedLabel",
        "fixmatch": "fedlab.clients.fixmatch:FixMatch",
        "uda": "fedlab.clients.uda:UDA",
        "ggeur": "fedlab.clients.ggeur:GGEUR",
        "moon": "fedlab.clients.moon:MOON",
        "fedntd": "fedlab.clients.fedntd:FedNTD",
        "fedsam": "fedlab.clients.fedsam:FedSAM",
        "fixbn": "fedlab.clients.fixbn:FixBN",
    },
    "models": {
        "linear": "fedlab.models.dense:Linear",
        "mlp": "fedlab.models.dense:MLP",
        "small_cnn": "fedlab.models.small_cnn:SmallCNN",
        "digits_cnn": "fedlab.models.digits_cnn:DigitsCNN",
        "alexnet": "fedlab.models.alexnet:AlexNet",
        "resnet18": "fedlab.models.resnet:ResNet18",
        "resnet20": "fedlab.models.resnet:ResNet20",
        "mobilenet_v2": "fedlab.models.mobilenet:MobileNetV2",
    },
    "losses": {
        "cross_entropy": "fedlab.losses.cross_entropy:CrossEntropy",
        "label_smoothing": "fedlab.losses.label_smoothing:LabelSmoothing",
        "balanced_softmax": "fedlab.losses.prior:BalancedSoftmax",
        "logit_adjustment": "fedlab.losses.prior:LogitAdjustment",
        "ldam": "fedlab.losses.ldam:LDAM",
        "ldr_kl": "fedlab.losses.ldr:LDRKL",
        "aldr_kl": "fedlab.losses.aldr:ALDRKL",
    },
    "metrics": {
        "accuracy": "fedlab.metrics.accuracy:Accuracy",
        "loss": "fedlab.metrics.log_likelihood:MeanLoss",
        "balanced_accuracy": "fedlab.metrics.recall:BalancedAccuracy",
        "f1": "fedlab.metrics.f1:F1",
        "kappa": "fedlab.metrics.agreement:Kappa",
        "mcc": "fedlab.metrics.agreement:MCC",
        "recall": "fedlab.metrics.recall:Recall",
        "confusion": "fedlab.metrics.confusion:Confusion",
        "top_k": "fedlab.metrics.accuracy:TopK",
        "nll": "fedlab.metrics.log_likelihood:NLL",
        "brier": "fedlab.metrics.brier:Brier",
        "ece": "fedlab.metrics.ece:ECE",
        "auroc": "fedlab.metrics.auroc:AUROC",
        "average_precision": "fedlab.metrics.auroc:AveragePrecision",
    },
    "sources": {
        "digits": "fedlab.data.digits:Digits",
        "torchvision": "fedlab.data.torchvision_source:Torchvision",
        "image_folder": "fedlab.data.image_folder:ImageFolder",
        "npz": "fedlab.data.npz:Npz",
        "csv": "fedlab.data.csv_table:Csv",
    },
    "extractors": {
        "none": "fedlab.features.base:NoExtractor",
        "warm_up": "fedlab.features.warm_up:WarmUp",
        "run": "fedlab.features.saved_run:SavedRun",
        "torchvision": "fedlab.features.torchvision_network:Torchvision",
        "open_clip": "fedlab.features.open_clip:OpenClip",
    },
    "transforms": {
        "rotation": "fedlab.data.transforms:Rotation",
        "colour": "fedlab.data.transforms:Colour",
        "blur": "fedlab.data.transforms:Blur",
        "noise": "fedlab.data.transforms:Noise",
        "invert": "fedlab.data.transforms:Invert",
        "photo_blend": "fedlab.data.transforms:PhotoBlend",
    },
    "domain_skews": {
        "one_per_client": "fedlab.scenarios.domain_skew:OnePerClient",
        "several_per_client": "fedlab.scenarios.domain_skew:SeveralPerClient",
        "mixed": "fedlab.scenarios.domain_skew:Mixed",
    },
    "label_skews": {
        "iid": "fedlab.scenarios.label_skew:IID",
        "dirichlet": "fedlab.scenarios.dirichlet:Dirichlet",
        "shards": "fedlab.scenarios.label_skew:Shards",
        "classes_per_client": "fedlab.scenarios.label_skew:ClassesPerClient",
    },
    "quantity_skews": {
        "natural": "fedlab.scenarios.quantity_skew:Natural",
        "equal": "fedlab.scenarios.quantity_skew:Equal",
        "dirichlet": "fedlab.scenarios.quantity_skew:DirichletSizes",
        "lognormal": "fedlab.scenarios.quantity_skew:LogNormal",
        "power_law": "fedlab.scenarios.quantity_skew:PowerLaw",
    },
    "label_noises": {
        "none": "fedlab.scenarios.label_noise:NoNoise",
        "symmetric": "fedlab.scenarios.label_noise:Symmetric",
        "pair": "fedlab.scenarios.label_noise:Pair",
    },
    "update_transforms": {
        "clip": "fedlab.updates.clip:Clip",
    },
    "compressions": {
        "none": "fedlab.updates.plain:NoCompression",
        "top_k": "fedlab.updates.top_k:TopK",
        "int8": "fedlab.updates.int8:Int8",
    },
    "aggregation_rules": {
        "mean": "fedlab.updates.plain:Mean",
        "median": "fedlab.updates.robust:Median",
        "trimmed_mean": "fedlab.updates.robust:TrimmedMean",
    },
    "trackers": {
        "tensorboard": "fedlab.tracking.tensorboard:TensorBoard",
    },
}


OTHER_SPELLINGS = {"centralized": "centralised"}
"""Names as others spell them -> as they stand in the tables."""

_LENT: dict[str, Any] = {}
"""Classes that others may not be able to import, by path."""


@cache
def _installed(group: str) -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=f"fedlab.{group}")}


def names(group: str) -> list[str]:
    """All names of a group: fedlab's own first, then those of installed packages."""
    return list(BUILTIN[group]) + [name for name in _installed(group) if name not in BUILTIN[group]]


def path_of(group: str, name: str) -> str:
    """Where the class behind a name is: ``package.module:Class``; nothing is imported.

    Args:
        group: A key of `BUILTIN`, e.g. ``"strategies"``.
        name: A registered name or ``package.module:Class``.

    Raises:
        InputError: If there is no such name; the nearest one is offered.
    """
    if group == "strategies" and name.startswith("flwr:"):
        return "fedlab.strategies.flower:Flower"
    if name in BUILTIN[group]:
        return BUILTIN[group][name]
    if name in _installed(group):
        return _installed(group)[name].value
    module, colon, attribute = name.partition(":")
    if colon and not module.endswith(".py"):
        return name
    if "." in name:
        if not colon:
            module, _, attribute = name.rpartition(".")
        path = module.removesuffix(".py").replace("/", ".")
        raise InputError(
            f"there is no {_singular(group)} '{name}'; a class of your own is named "
            f"module:Class, so '{path}:{attribute}'"
        )
    near = difflib.get_close_matches(name, names(group), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(names(group))}"
    raise InputError(f"there is no {_singular(group)} '{name}'; {hint}")


def resolve(group: str, name: str) -> Any:
    """The class behind a name (see `path_of`).

    Raises:
        InputError: If there is no such name or its module cannot be imported.
    """
    path = path_of(group, name)
    try:
        return _class_at(path)
    except Exception as error:  # a user's module may raise anything
        source = f" from '{path}'" if path != name else ""
        reason = str(error) if isinstance(error, ImportError | AttributeError) else told(error)
        if path.startswith("__main__:") or "<locals>" in path:
            raise InputError(
                f"the {_singular(group)} '{name}' was defined in a notebook or a script, and is "
                "not known here; define it again and go on from there in Python, or put it into "
                "a module and name it module:Class"
            ) from error
        raise InputError(
            f"the {_singular(group)} '{name}' cannot be imported{source}: {reason}; mend the "
            "module, or the path, which starts in the current folder or an installed package"
        ) from error


def name_of(group: str, target: type) -> str:
    """The name that stands for a class in a scenario; the class is lent from now on.

    Args:
        group: A key of `BUILTIN`.
        target: Any class of that group, wherever it is defined.
    """
    registered = registered_name(group, target)
    if registered is None:
        registered = f"{target.__module__}:{target.__qualname__}"
        _LENT[registered] = target
    return registered


def registered_name(group: str, target: type) -> str | None:
    """The registered name of a class, if it has one."""
    path = f"{target.__module__}:{target.__qualname__}"
    return next((name for name in names(group) if path_of(group, name) == path), None)


def session_classes() -> dict[str, Any]:
    """The classes that another process must be given, by path."""
    return dict(_LENT)


def register_classes(classes: Mapping[str, Any]) -> None:
    """Takes over what another process lends."""
    _LENT.update(classes)


def _class_at(path: str) -> Any:
    """The class at a path; one that is lent stands in where nothing can be imported."""
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        if path not in _LENT:
            raise
        return _LENT[path]
    if module == "__main__":
        _LENT[path] = found
    return found


def _singular(group: str) -> str:
    words = group.replace("_", " ")
    if words.endswith("ies"):
        return words[:-3] + "y"
    return words.removesuffix("es") if words.endswith("sses") else words.removesuffix("s")
