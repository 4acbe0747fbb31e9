"""What every network must fulfil, found out before anything is trained."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from fedlab.errors import InputError, told
from fedlab.models.spec import ModelSpec


def check_module(spec: ModelSpec, made: object) -> nn.Module:
    """What a model's `network` has made, if that is a module with parameters that can be sent.

    Raises:
        InputError: If it is something else.
    """
    if not isinstance(made, nn.Module):
        raise InputError(
            f"model '{spec.name}' makes an object of type {type(made).__name__}; it has to return "
            "a torch.nn.Module"
        )
    parameters = dict(made.named_parameters())
    lazy = [name for name, each in parameters.items() if isinstance(each, UninitializedParameter)]
    if lazy:
        raise InputError(
            f"model '{spec.name}' has lazy layers ({lazy[0]}), whose sizes nobody knows yet; make "
            "them of the input_shape that it is given"
        )
    odd = [name for name, each in parameters.items() if each.dtype != torch.float32]
    if odd:
        raise InputError(
            f"model '{spec.name}' has parameters of type {parameters[odd[0]].dtype} ({odd[0]}); "
            "use float32 (training.precision=bf16 computes in less)"
        )
    return made


def check_outputs(
    spec: ModelSpec, model: nn.Module, input_shape: tuple[int, ...], classes: int
) -> None:
    """Tries a network on two samples of noise.

    Args:
        spec: What it was made of.
        model: The network, as clients train it.
        input_shape: Shape of one sample.
        classes: Number of classes.

    Raises:
        InputError: If it fails on them, gives something else than a finite number for each class,
            or has nothing to learn.
    """
    name = f"model '{spec.name}'"
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"{name} has no parameter that learns (requires_grad); give it one")
    noise = torch.randn(2, *input_shape, generator=torch.Generator().manual_seed(0))
    training = model.training
    try:
        with torch.no_grad():
            outputs = model.eval()(noise)
    except Exception as error:  # a user's module may raise anything
        raise InputError(
            f"{name} fails on inputs of shape {tuple(noise.shape)}: {told(error)}; samples have "
            f"the shape {input_shape}, which it is given as input_shape"
        ) from error
    finally:
        model.train(training)
    if not isinstance(outputs, torch.Tensor):
        raise InputError(
            f"{name} gives a {type(outputs).__name__} for a batch; it has to give one tensor of "
            "shape (batch, classes)"
        )
    if outputs.shape != (2, classes):
        raise InputError(
            f"{name} gives outputs of shape {tuple(outputs.shape)} for 2 samples; there are "
            f"{classes} classes, so they must be of shape (2, {classes})"
        )
    if not outputs.isfinite().all():
        raise InputError(
            f"{name} gives outputs that are not finite before anything is trained; mend its "
            "initial values"
        )
