"""Batch normalisation by the statistics of test batches.

Improving Robustness against Common Corruptions by Covariate Shift Adaptation, Schneider, Rusak,
Eck, Bringmann, Brendel, Bethge, NeurIPS 2020, arXiv 2006.16971. Their pseudo-count N of the stored
statistics, with batches of n samples, is alpha = n / (N + n) here. No weight changes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fedlab.errors import InputError
from fedlab.models.anatomy import anatomy_of
from fedlab.models.anatomy.names import joined
from fedlab.models.anatomy.places import with_tensors
from fedlab.models.eval_mode import evaluation_mode
from fedlab.models.normalisation import BATCH_NORMALISATION, normalises_batch
from fedlab.records import Tensors


class Stream(NamedTuple):
    """The result of a model on a sequence of test batches.

    Attributes:
        outputs: Logits of all samples in that order, float32 of shape (n, classes), on the CPU.
        model: The state dict after the last batch.
    """

    outputs: Tensor
    model: Tensors


@contextmanager
def batch_statistics(model: nn.Module, alpha: float = 1.0) -> Generator[Tensors]:
    """Within the context, batch normalisation uses statistics of the current batch.

    For use in evaluation mode: running statistics are read and not written, and dropout is off.
    Gradients go through the statistics, as in training. The variance is the biased one, by which
    training normalises.

    Args:
        model: The network.
        alpha: Share of the batch's mean and variance; the rest is of the stored ones, where a layer
            has any.

    Yields:
        The statistics that the last batch was normalised by, under the names of running ones.

    Raises:
        InputError: If a layer normalises batches otherwise than PyTorch's own layers.
    """
    used: Tensors = {}
    handles: list[Any] = []
    try:
        for path, module in model.named_modules():
            if isinstance(module, BATCH_NORMALISATION):
                handles.append(module.register_forward_hook(_by_the_batch(path, alpha, used)))
            elif normalises_batch(module):
                raise InputError(
                    f"the model's {type(module).__name__} ('{path}') is a batch normalisation of "
                    "which only the running statistics are known; use --method "
                    "label_shift, or a model with torch.nn.BatchNorm"
                )
        yield used
    finally:
        for handle in handles:
            handle.remove()


def _by_the_batch(
    path: str, alpha: float, used: Tensors
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
        assert isinstance(layer, BATCH_NORMALISATION)
        batch = inputs[0]
        over = [axis for axis in range(batch.dim()) if axis != 1]
        mean, var = batch.mean(over), batch.var(over, correction=0)
        if layer.running_mean is not None and layer.running_var is not None:
            mean = alpha * mean + (1 - alpha) * layer.running_mean
            var = alpha * var + (1 - alpha) * layer.running_var
            used[joined(path, "running_mean")] = mean.detach()
            used[joined(path, "running_var")] = var.detach()
        scale = (var + layer.eps).rsqrt()
        shift = -mean * scale
        if layer.weight is not None:
            scale, shift = scale * layer.weight, shift * layer.weight + layer.bias
        form = (-1, *[1] * (batch.dim() - 2))
        return batch * scale.view(form) + shift.view(form)

    return hook


def adapt_statistics(
    model: nn.Module, state: Tensors, batches: Iterable[Tensor], alpha: float
) -> Stream:
    """Tests a model with statistics of each batch.

    Args:
        model: The network; its own tensors are not changed.
        state: A full state dict.
        batches: What the network is fed with.
        alpha: See `batch_statistics`.
    """
    found: list[Tensor] = []
    with (
        torch.no_grad(),
        evaluation_mode(model),
        with_tensors(model, state),
        batch_statistics(model, alpha) as used,
    ):
        for batch in batches:
            found.append(model(batch).float().cpu())
    return Stream(torch.cat(found), replaced(model, state, used))


def replaced(model: nn.Module, state: Tensors, tensors: Tensors) -> Tensors:
    """A full state dict in which some tensors are replaced, under all of their names.

    Args:
        model: The network, which knows the names.
        state: A full state dict.
        tensors: By first names.
    """
    anatomy = anatomy_of(model)
    return {**state, **anatomy.state_dict({**anatomy.pick(state), **tensors})}
