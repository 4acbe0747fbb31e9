"""Checks of every network before training."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from fedlab.errors import InputError, format_error
from fedlab.models.spec import ModelSpec


def check_module(spec: ModelSpec, made: object) -> nn.Module:
    """Returns a model's `network` result if it is a module that clients can train and send.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(made, nn.Module):
        raise InputError(
            f"model '{spec.name}' makes an object of type {type(made).__name__}; it has to return "
            "a torch.nn.Module"
        )
    _refuse_wrappers(spec, made)
    parameters = dict(made.named_parameters())
    lazy = [name for name, each in parameters.items() if isinstance(each, UninitializedParameter)]
    if lazy:
        raise InputError(
            f"model '{spec.name}' has lazy layers ({lazy[0]}), whose sizes are not known yet; make "
            "them of the input_shape that it is given"
        )
    odd = [name for name, each in parameters.items() if each.dtype != torch.float32]
    if odd:
        raise InputError(
            f"model '{spec.name}' has parameters of type {parameters[odd[0]].dtype} ({odd[0]}); "
            "use float32 (training.precision=bf16 computes in less)"
        )
    for name, each in parameters.items():
        if not each.isfinite().all():
            raise InputError(
                f"model '{spec.name}': '{name}' has initial values that are not finite; set them "
                "where it is made"
            )
    for path, module in made.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.sparse:
            raise InputError(
                f"model '{spec.name}': '{path}' has sparse gradients, and updates are of dense "
                "tensors; make it with sparse=False"
            )
    _refuse_other_names(spec, made)
    _part_views(spec, parameters)
    return made


def _refuse_other_names(spec: ModelSpec, model: nn.Module) -> None:
    """Refuses a state dict that is not of the network's tensors: clients train and send these.

    Raises:
        InputError: With the first name that is missing or too much, or the first other value.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    tensors = {**parameters, **dict(model.named_buffers(remove_duplicate=False))}
    state = model.state_dict()
    mend = "; take off what changes it (_register_state_dict_hook, or a state_dict of one's own)"
    for name, value in state.items():
        if name not in tensors:
            path, _, last = name.rpartition(".")
            if last == "_extra_state":
                kind = type(model.get_submodule(path)).__name__
                raise InputError(
                    f"model '{spec.name}': {kind}{f' ({path})' if path else ''} has a state beside "
                    "its tensors (get_extra_state), which no client could send; make it a tensor "
                    "with register_buffer, or leave get_extra_state out"
                )
            raise InputError(
                f"model '{spec.name}': its state dict has '{name}', which is the name of no "
                f"parameter or buffer{mend}"
            )
        own = tensors[name].detach()
        if value.data_ptr() != own.data_ptr() and not torch.equal(value, own):
            raise InputError(
                f"model '{spec.name}': its state dict has another value for '{name}' than the "
                f"network itself{mend}"
            )
    for name in parameters:
        if name not in state:
            raise InputError(f"model '{spec.name}': its state dict lacks '{name}'{mend}")


def _part_views(spec: ModelSpec, parameters: Mapping[str, nn.Parameter]) -> None:
    """Gives parameters that are views of one tensor memory of their own.

    Raises:
        InputError: If two of them have numbers in common: both would learn in the same place.
    """
    ends: dict[int, list[tuple[int, int, str]]] = {}
    for name, each in parameters.items():
        if each.numel():
            last = sum((n - 1) * step for n, step in zip(each.shape, each.stride(), strict=True))
            first = int(each.storage_offset())
            where = ends.setdefault(each.untyped_storage().data_ptr(), [])
            where.append((first, first + int(last), name))
    for where in ends.values():
        where.sort(key=lambda place: place[:2])
        for (_, end, one), (start, _, other) in pairwise(where):
            if start <= end:
                raise InputError(
                    f"model '{spec.name}': the parameters '{one}' and '{other}' are views of one "
                    "tensor and share its numbers, so that clients cannot have both; make them one "
                    "parameter (b.weight = a.weight), or clone one"
                )
        for _, _, name in where if len(where) > 1 else ():
            parameters[name].data = parameters[name].data.clone()


def _refuse_wrappers(spec: ModelSpec, model: nn.Module) -> None:
    """Refuses modules whose tensors cannot be replaced by a client's."""
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    for module in model.modules():
        if isinstance(module, parallel):
            raise InputError(
                f"model '{spec.name}' has a {type(module).__name__}, which spreads one model over "
                "devices, and fedlab spreads clients over them; return the module that is in it"
            )
        if isinstance(module, torch.jit.ScriptModule):
            raise InputError(
                f"model '{spec.name}' is compiled by torch.jit.script, which keeps its tensors "
                "to itself, so that clients cannot have their own; return the module that was "
                "compiled"
            )
    for name, parameter in model.named_parameters():
        if getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise InputError(
                f"model '{spec.name}': '{name}' has a hook that runs after gradients were "
                "accumulated (register_post_accumulate_grad_hook), which they are not here; take "
                "it off, or use register_hook"
            )


def head_of(spec: ModelSpec, model: nn.Module) -> str | None:
    """The path of the head if the scenario gives it, else None.

    Raises:
        InputError: If the network has no dense layer there.
    """
    if spec.head is None or "head" in spec.taken:
        return None
    dense = [path for path, each in model.named_modules() if isinstance(each, nn.Linear) and path]
    if spec.head not in dense:
        raise InputError(
            f"model.head: model '{spec.name}' has no dense layer (torch.nn.Linear) '{spec.head}'; "
            f"it has {', '.join(dense) or 'none with a name'}"
        )
    return spec.head


def check_outputs(
    spec: ModelSpec,
    model: nn.Module,
    samples: torch.Tensor,
    classes: int,
    nouns: tuple[str, str] = ("class", "classes"),
) -> None:
    """Runs a network on two samples and checks its outputs.

    Args:
        spec: The scenario's ``model`` block.
        model: The network, as clients train it.
        samples: Two samples, as clients read them.
        classes: Number of classes, or of outputs.
        nouns: What one output is for, and several are.

    Raises:
        InputError: If it fails, does not give a finite number for each class, or has no trainable
            parameter.
    """
    name = f"model '{spec.name}'"
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"{name} has no parameter that learns (requires_grad); give it one")
    training = model.training
    if samples.is_floating_point():
        samples = samples.to(next(model.parameters()).dtype)
    try:
        with torch.no_grad():
            outputs = model.eval()(samples)
    except InputError:  # what a method has put into the network refuses the samples itself
        raise
    except Exception as error:  # a user's module may raise anything
        raise InputError(
            f"{name} fails on inputs of shape {tuple(samples.shape)}: {format_error(error)}; "
            f"samples have the shape {tuple(samples.shape[1:])}, which it is given as input_shape"
        ) from error
    finally:
        model.train(training)
    if not isinstance(outputs, torch.Tensor):
        raise InputError(
            f"{name} gives a {type(outputs).__name__} for a batch; it has to give one tensor of "
            f"shape (batch, {nouns[1]})"
        )
    if outputs.shape != (2, classes):
        raise InputError(
            f"{name} gives outputs of shape {tuple(outputs.shape)} for 2 samples; there "
            f"{'is' if classes == 1 else 'are'} {classes} {nouns[classes != 1]}, so they must be "
            f"of shape (2, {classes})"
        )
    if not outputs.isfinite().all():
        raise InputError(
            f"{name} gives outputs that are not finite before anything is trained; mend its "
            "initial values"
        )
    _refuse_squeezed(name, model, samples[:1], classes)


def _refuse_squeezed(name: str, model: nn.Module, sample: torch.Tensor, classes: int) -> None:
    """Refuses other outputs for a batch of one, as a last batch may be."""
    training = model.training
    try:
        with torch.no_grad():
            alone = model.eval()(sample)
    except Exception:  # a network that needs the statistics of a batch has none of one sample
        return
    finally:
        model.train(training)
    if alone.shape != (1, classes):
        raise InputError(
            f"{name} gives outputs of shape {tuple(alone.shape)} for 1 sample, as a last batch may "
            f"be; they must be of shape (1, {classes}) (squeeze() drops that dimension, too; use "
            "squeeze(-1) or flatten(1))"
        )
