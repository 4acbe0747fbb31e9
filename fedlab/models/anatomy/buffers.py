"""Roles of buffers in aggregation: averaged, taken from one client, or kept local.

A module declares the roles of its own buffers, or of those of its submodules:

    class Quantiser(nn.Module):
        fedlab_buffers = {"codebook": "last", "usage": "local", "scratch": "none"}

Running statistics of PyTorch's normalisation, and the singular vectors of its spectral norm, are
known. By default, floating-point buffers are averaged and of integers the largest is taken. Buffers
that are not in the state dict, and those without a mean (complex, or infinite as a mask is), keep
their initial values, unless training changes them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import ParametrizationList
from torch.nn.utils.spectral_norm import SpectralNorm

from fedlab.errors import InputError
from fedlab.models.anatomy.names import first_names, joined
from fedlab.models.normalisation import normalises
from fedlab.records import Tensors

SAYS = "fedlab_buffers"
"""The attribute with which a module declares the roles of its buffers."""


class Role(StrEnum):
    """Treatment of a buffer when clients' models are aggregated."""

    MEAN = "mean"
    """The weighted mean (running statistics)."""

    LARGEST = "largest"
    """The largest (integers: counters)."""

    LAST = "last"
    """That of the last client, in the order of their indices."""

    DERIVED = "derived"
    """Recomputed from the aggregated weights (spectral norm's singular vectors)."""

    LOCAL = "local"
    """It stays with its client and is kept from round to round."""

    NONE = "none"
    """It stays with its client, and every round starts from its initial value."""


SAID = (Role.MEAN, Role.LAST, Role.LOCAL, Role.NONE)
"""The roles that a module may declare."""


@dataclass(frozen=True)
class SingularVectors:
    """The singular vectors of a spectrally normalised weight.

    Attributes:
        left: Name of the buffer u.
        right: Name of the buffer v.
        inputs: Names of the parameters from which the weight is computed.
        module: Path of the module with the weight.
        tensor: Name of the weight in the module.
        place: Index among the weight's parametrisations; None for the older form of spectral norm.
        dim: The dimension of the weight that becomes the rows of the matrix.
    """

    left: str
    right: str
    inputs: tuple[str, ...]
    module: str
    tensor: str
    place: int | None
    dim: int


def buffer_roles(
    model: nn.Module, moving: Collection[str] | None
) -> tuple[dict[str, Role], tuple[str, ...]]:
    """The role of every buffer by its first name, and the buffers whose role is a default.

    Args:
        model: Any network.
        moving: Buffers that a training step changes, if that was observed.

    Raises:
        InputError: If a module's ``fedlab_buffers`` is invalid.
    """
    _, buffers = first_names(model)
    named = dict(model.named_buffers())
    persistent = set(model.state_dict())
    stated = dict(_stated(model, buffers))
    derived = {name for each in singular_vectors(model) for name in (each.left, each.right)}
    known = {
        buffers[joined(path, name)]
        for path, module in model.named_modules()
        if normalises(module)
        for name, _ in module.named_buffers(recurse=False)
    }
    roles: dict[str, Role] = {}
    unknown = []
    for name, tensor in named.items():
        fixed = moving is not None and name not in moving
        if name in stated:
            roles[name] = stated[name]
        elif name in derived:
            roles[name] = Role.DERIVED
        elif (fixed or moving is None) and (name not in persistent or not _has_mean(tensor)):
            roles[name] = Role.NONE
        elif not tensor.is_floating_point():
            roles[name] = Role.LARGEST
        else:
            roles[name] = Role.MEAN
            if moving is not None and name in moving and name not in known:
                unknown.append(name)
    return roles, tuple(unknown)


def _has_mean(tensor: torch.Tensor) -> bool:
    if tensor.is_meta:  # a network that is made for the shapes of its tensors alone
        return True
    return not tensor.is_complex() and bool(tensor.isfinite().all())


def _stated(model: nn.Module, buffers: dict[str, str]) -> Iterator[tuple[str, Role]]:
    for path, module in model.named_modules(remove_duplicate=False):
        said = getattr(module, SAYS, None)
        if said is None:
            continue
        place = f"{type(module).__name__}.{SAYS}"
        if not isinstance(said, dict):
            raise InputError(
                f"{place} is a {type(said).__name__}; it has to be a dict of buffers' names and "
                f"what they are ({', '.join(SAID)})"
            )
        for own, role in said.items():
            if joined(path, own) not in buffers:
                raise InputError(
                    f"{place} names '{own}', which is no buffer of that module; its buffers are "
                    f"{', '.join(name for name, _ in module.named_buffers()) or 'none'}"
                )
            if role not in SAID:
                raise InputError(
                    f"{place}: '{role}' is nothing that the buffer '{own}' can be; choose from "
                    f"{', '.join(SAID)}"
                )
            yield buffers[joined(path, own)], Role(role)


def singular_vectors(model: nn.Module) -> list[SingularVectors]:
    """All spectral norms of a network, of PyTorch's newer and older form."""
    found = []
    parameters, buffers = first_names(model)
    for path, module in model.named_modules():
        if isinstance(module, ParametrizationList):
            originals = [joined(path, n) for n, _ in module.named_parameters(recurse=False)]
            owner, _, tensor = path.rpartition(".")
            owner = owner.removesuffix("parametrizations").removesuffix(".")
            for place, each in enumerate(module):
                if isinstance(each, _SpectralNorm) and hasattr(each, "_u"):
                    inside = joined(path, str(place))
                    left, right = buffers[f"{inside}._u"], buffers[f"{inside}._v"]
                    inputs = tuple(parameters[name] for name in originals if name in parameters)
                    found.append(
                        SingularVectors(left, right, inputs, owner, tensor, place, each.dim)
                    )
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, SpectralNorm):
                own = joined(path, hook.name)
                inputs = (parameters[f"{own}_orig"],)
                left, right = buffers[f"{own}_u"], buffers[f"{own}_v"]
                found.append(SingularVectors(left, right, inputs, path, hook.name, None, hook.dim))
    return found


ROUNDS = 200
"""Largest number of power iterations for singular vectors."""


@torch.no_grad()
def fitting_vectors(model: nn.Module, each: SingularVectors, state: Tensors) -> Tensors:
    """Singular vectors u and v of the weight in a state: unit vectors with the largest uᵀ W v.

    Args:
        model: The network, with that state in it.
        each: Names of the weight and its vectors.
        state: The tensors, with the vectors to start from.

    Returns:
        Both by name.
    """
    module = model.get_submodule(each.module)
    if each.place is None:
        weight = getattr(module, f"{each.tensor}_orig")
    else:
        parametrised = model.get_submodule(joined(each.module, f"parametrizations.{each.tensor}"))
        weight = _before(parametrised, each.place)
    matrix = weight.detach().movedim(each.dim, 0).flatten(1).double()
    left = nn.functional.normalize(state[each.left].double(), dim=0)
    right = left
    for _ in range(ROUNDS):
        right = nn.functional.normalize(matrix.t() @ left, dim=0)
        new = nn.functional.normalize(matrix @ right, dim=0)
        near = torch.dist(new, left) < 1e-9
        left = new
        if near:
            break
    return {each.left: left.to(state[each.left]), each.right: right.to(state[each.right])}


def _before(parametrised: nn.Module, place: int) -> torch.Tensor:
    """A parametrised weight as the input of its parametrisation with index `place`."""
    assert isinstance(parametrised, ParametrizationList)
    training = parametrised.training
    parametrised.eval()
    if parametrised.is_tensor:
        weight = parametrised.original
    else:
        originals = [getattr(parametrised, f"original{i}") for i in range(parametrised.ntensors)]
        weight = originals[0] if place == 0 else parametrised[0](*originals)
    start = 0 if parametrised.is_tensor else 1
    for earlier in list(parametrised)[start:place]:
        weight = earlier(weight)
    parametrised.train(training)
    return weight
