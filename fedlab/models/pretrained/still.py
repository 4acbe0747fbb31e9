"""Frozen parts of networks, and batch normalisation with frozen statistics."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, Self

from torch import nn

from fedlab.errors import InputError
from fedlab.models.anatomy.names import first_names
from fedlab.models.pretrained.spec import Freeze

SHOWN = 12


class _Still(nn.modules.batchnorm._BatchNorm):
    """A batch normalisation that is never in training mode: it normalises by its statistics."""

    fedlab_buffers: ClassVar = {
        "running_mean": "none",
        "running_var": "none",
        "num_batches_tracked": "none",
    }

    def train(self, mode: bool = True) -> Self:
        """Keeps evaluation mode."""
        return super().train(False)


class StillBatchNorm1d(_Still, nn.BatchNorm1d):
    """A `torch.nn.BatchNorm1d` that keeps its statistics."""


class StillBatchNorm2d(_Still, nn.BatchNorm2d):
    """A `torch.nn.BatchNorm2d` that keeps its statistics."""


class StillBatchNorm3d(_Still, nn.BatchNorm3d):
    """A `torch.nn.BatchNorm3d` that keeps its statistics."""


STILL: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: StillBatchNorm1d,
    nn.BatchNorm2d: StillBatchNorm2d,
    nn.BatchNorm3d: StillBatchNorm3d,
}


def freeze(model: nn.Module, what: Freeze, head: Sequence[str]) -> None:
    """Freezes parameters of a network.

    Args:
        model: The network; changed in place.
        what: The key ``model.freeze``.
        head: Names of the head's parameters; empty if it has none.

    Raises:
        InputError: If a pattern matches nothing, everything is frozen, or there is no head to
            leave out.
    """
    if what == "none":
        return
    names = dict.fromkeys(first_names(model)[0])
    if what == "backbone":
        if not head:
            raise InputError(
                "model.freeze: 'backbone' is all but the head, and the model has no dense layer "
                "that its outputs come from; name it as model.head, or give patterns of names"
            )
        frozen = [name for name in names if name not in head]
        if not frozen:
            raise InputError(
                "model.freeze: 'backbone' is all but the head, and the model consists of its "
                "head alone; leave model.freeze out"
            )
    else:
        matched = matching(what, [*names], "model.freeze", "parameter")
        frozen = [name for name in names if name in matched]
    hold(model, frozen, everything_else=what == "backbone")


def hold(model: nn.Module, frozen: Sequence[str], *, everything_else: bool) -> None:
    """Freezes parameters by name, and the batch normalisation that has no others.

    Statistics of such a layer belong to the weights that were frozen with it: if they moved, the
    frozen layers would see inputs that they were not trained on, and clients under domain skew
    would each move them elsewhere. The layer is therefore in evaluation mode in training, too.

    Args:
        model: The network; changed in place.
        frozen: Names, or further names, of parameters.
        everything_else: Whether layers without parameters are frozen as well.

    Raises:
        InputError: If no parameter is left that learns, or the network lets frozen ones learn.
    """
    every = dict(model.named_parameters(remove_duplicate=False))
    for name in frozen:
        every[name].requires_grad_(False)
    if not any(each.requires_grad for each in every.values()):
        raise InputError("model.freeze: no parameter is left that learns; freeze fewer")

    for module in model.modules():
        still = STILL.get(type(module))
        if still is None or not getattr(module, "track_running_stats", False):
            continue
        learns = [each.requires_grad for each in module.parameters()]
        if not any(learns) and (learns or everything_else):
            module.__class__ = still  # keeps its tensors, hooks and attributes
            module.eval()
    _refuse_thawing(model, [every[name] for name in frozen])


def _refuse_thawing(model: nn.Module, frozen: Sequence[nn.Parameter]) -> None:
    """Refuses a network whose ``train`` makes frozen parameters learn again.

    Raises:
        InputError: With the first of them.
    """
    held = {id(each) for each in frozen}
    for name, each in model.train().named_parameters():
        if each.requires_grad and id(each) in held:
            raise InputError(
                f"model.freeze, model.adapt: '{name}' is frozen, and "
                f"{type(model).__name__}.train() makes it learn again (requires_grad); leave "
                "requires_grad alone there"
            )


def matching(patterns: Sequence[str], names: Sequence[str], key: str, what: str) -> set[str]:
    """The names that patterns match.

    Args:
        patterns: With ``*``, ``?`` and ``[...]``, as the shell has them.
        names: The names that may be matched.
        key: The key of the patterns, for messages.
        what: What the names are of.

    Raises:
        InputError: If a pattern matches none of them; with the names that it could.
    """
    found: set[str] = set()
    for pattern in patterns:
        some = {name for name in names if fnmatchcase(name, pattern)}
        if not some:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise InputError(
                f"{key}: '{pattern}' matches no {what}; the model has "
                f"{', '.join(names[:SHOWN]) or 'none'}{more}; name one of these"
            )
        found |= some
    return found
