"""Arithmetic on many tensors at once: one call of PyTorch for all tensors of a network.

An accelerator is given each operation by itself, which takes the host some 5 to 10 µs; a network of
50 tensors costs that 50 times. PyTorch's ``_foreach`` operations take lists, and `torch.optim` is
built on them. They have no rule for `torch.func.vmap`; `_OnLists` gives it the stacked tensors, so
that methods use these functions for one client and for a stack alike.

Values are those of tensor by tensor arithmetic, bit by bit; sums over tensors are added up in
another order on accelerators than on a CPU. No gradients pass through these functions.
"""

# `torch.optim` uses the same foreach operations, which PyTorch does not export by name.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fedlab.accelerator import is_accelerator
from fedlab.records import Tensors

Lists = tuple[list[Tensor], ...]


def copied(tensors: Tensors) -> Tensors:
    """Copies of the tensors, each in its own memory."""
    if not tensors:
        return {}
    return dict(zip(tensors, run(_copy, [list(tensors.values())]), strict=True))


def copied_records(records: Mapping[str, Tensors]) -> dict[str, Tensors]:
    """Copies of the tensors of several records, which are made together."""
    tensors = [tensor for record in records.values() for tensor in record.values()]
    copies = iter(run(_copy, [tensors]))
    return {key: {name: next(copies) for name in record} for key, record in records.items()}


def overwrite(targets: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copies each value into the target of its place, in place; not under `torch.func.vmap`."""
    with torch.no_grad():
        for dtype in dict.fromkeys(target.dtype for target in targets):  # CUDA: one type at once
            places = [place for place, target in enumerate(targets) if target.dtype == dtype]
            torch._foreach_copy_([targets[k] for k in places], [values[k] for k in places])


def added(first: Tensors, second: Tensors) -> Tensors:
    """The sums, for the names of `first`, which are all in `second`."""
    return _named(_add, first, second)


def less(first: Tensors, second: Tensors) -> Tensors:
    """The differences, for the names of `first`, which are all in `second`."""
    return _named(_subtract, first, second)


def times(tensors: Tensors, factor: Tensor | float) -> Tensors:
    """The tensors times a number: a scalar, or one for each stacked client."""
    if not tensors:
        return {}
    made = run(_multiply, [list(tensors.values())], factor)
    return dict(zip(tensors, made, strict=True))


def divided(tensors: Tensors, divisor: Tensor | float) -> Tensors:
    """The tensors divided by a number; not for use under `torch.func.vmap`."""
    if not tensors:
        return {}
    made = torch._foreach_div(list(tensors.values()), divisor)  # type: ignore[arg-type]
    return dict(zip(tensors, made, strict=True))


def square_sum(tensors: Tensors) -> Tensor:
    """The sum of all squares, a scalar (one for each stacked client)."""
    return run(_square_sum, [list(tensors.values())])[0]


def norm(tensors: Tensors) -> Tensor:
    """The Euclidean norm of all tensors together, a scalar (one for each stacked client)."""
    return run(_norm, [list(tensors.values())])[0]


def dot(first: Tensors, second: Tensors) -> Tensor:
    """The inner product over the names of `first`, a scalar (one for each stacked client)."""
    return run(_dot, [list(first.values()), [second[name] for name in first]])[0]


def descend(tensors: Tensors, gradients: Tensors, lr: float) -> None:
    """A step of plain SGD for the names of `gradients`, in place."""
    if gradients:
        run(_descend, [[tensors[name] for name in gradients], list(gradients.values())], lr)


def advance(counts: Sequence[Tensor], by: Sequence[int]) -> None:
    """Adds a whole number to each of some counts, in place."""
    if counts:
        run(_advance, [list(counts)], tuple(by))


def _named(function: Function, first: Tensors, second: Tensors) -> Tensors:
    if not first:
        return {}
    made = run(function, [list(first.values()), [second[name] for name in first]])
    return dict(zip(first, made, strict=True))


# ---------------------------------------------------------------------- tensor lists

Function = Callable[..., Sequence[Tensor]]
"""(lists, number of leading axes that are clients, further values) -> tensors."""


def _copy(lists: Lists, stacked: int) -> Sequence[Tensor]:
    (tensors,) = lists
    made = [torch.empty_like(tensor) for tensor in tensors]
    for dtype in {tensor.dtype for tensor in tensors}:  # CUDA copies those of one type at once
        places = [place for place, tensor in enumerate(tensors) if tensor.dtype == dtype]
        torch._foreach_copy_([made[k] for k in places], [tensors[k] for k in places])
    return made


def _add(lists: Lists, stacked: int) -> Sequence[Tensor]:
    return torch._foreach_add(*lists)


def _subtract(lists: Lists, stacked: int) -> Sequence[Tensor]:
    return torch._foreach_sub(*lists)


def _multiply(lists: Lists, stacked: int, factor: Tensor | float) -> Sequence[Tensor]:
    (tensors,) = lists
    if not isinstance(factor, Tensor) or factor.dim() == 0:
        return torch._foreach_mul(tensors, factor)  # type: ignore[arg-type]
    beside = [factor.view(-1, *[1] * (tensor.dim() - 1)) for tensor in tensors]
    return torch._foreach_mul(tensors, beside)


def _descend(lists: Lists, stacked: int, lr: float) -> Sequence[Tensor]:
    torch._foreach_add_(*lists, alpha=-lr)
    return []


def _advance(lists: Lists, stacked: int, by: tuple[int, ...]) -> Sequence[Tensor]:
    torch._foreach_add_(lists[0], by)
    return []


def _square_sum(lists: Lists, stacked: int) -> Sequence[Tensor]:
    (tensors,) = lists
    if not is_accelerator(tensors[0].device):
        squares = [_total(tensor.square(), stacked) for tensor in tensors]
        return [sum(squares[1:], squares[0])]
    if not stacked:
        together = torch.cat([in_memory_order(tensor) for tensor in tensors])
        return [together.dot(together)]
    return [_joined(torch._foreach_mul(tensors, tensors), stacked)]


def _norm(lists: Lists, stacked: int) -> Sequence[Tensor]:
    (tensors,) = lists
    if not is_accelerator(tensors[0].device):
        squares = [_total(tensor.square(), stacked) for tensor in tensors]
        return [torch.stack(squares, dim=-1).sum(dim=-1).sqrt()]
    if not stacked:
        return [torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))]
    return [_joined(torch._foreach_mul(tensors, tensors), stacked).sqrt_()]


def _dot(lists: Lists, stacked: int) -> Sequence[Tensor]:
    first, second = lists
    if not is_accelerator(first[0].device):
        products = [_total(a * b, stacked) for a, b in zip(first, second, strict=True)]
        return [sum(products[1:], products[0])]
    return [_joined(torch._foreach_mul(first, second), stacked)]


def _total(tensor: Tensor, stacked: int) -> Tensor:
    return tensor.flatten(1).sum(dim=1) if stacked else tensor.sum()


def _joined(tensors: Sequence[Tensor], stacked: int) -> Tensor:
    """The sum over all tensors' values, in two launches."""
    if stacked:
        return torch.cat([tensor.flatten(1) for tensor in tensors], dim=1).sum(dim=1)
    return torch.cat([in_memory_order(tensor) for tensor in tensors]).sum()


def in_memory_order(tensor: Tensor) -> Tensor:
    """A tensor's values in one dimension, without a copy where it is contiguous in any format."""
    if tensor.dim() == 4 and not tensor.is_contiguous():
        tensor = tensor.permute(0, 2, 3, 1)  # channels last
    return tensor.reshape(-1)


# ---------------------------------------------------------------------- under vmap


def run(function: Function, lists: Sequence[list[Tensor]], *rest: Any) -> Sequence[Tensor]:
    """Calls a function of lists, under `torch.func.vmap` with the stacked tensors."""
    if torch._C._functorch.maybe_current_level() is None:  # type: ignore[attr-defined]
        with torch.no_grad():
            return function(tuple(lists), 0, *rest)
    sizes = tuple(len(each) for each in lists)
    flat = [tensor for each in lists for tensor in each]
    return _OnLists.apply(function, sizes, len(rest), *rest, *flat)


class _OnLists(torch.autograd.Function):
    """A function of lists, which `torch.func.vmap` gives the stacked tensors."""

    @staticmethod
    def forward(function: Function, sizes: tuple[int, ...], more: int, *values: Any) -> Any:
        """Without vmap."""
        return tuple(function(_cut(values[more:], sizes), 0, *values[:more]))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: there are no gradients."""
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def vmap(  # type: ignore[override]
        info: Any, in_dims: Any, function: Function, sizes: tuple[int, ...], more: int, *values: Any
    ) -> Any:
        """With the axis of clients in front of every tensor."""
        stacked = [
            _in_front(value, place, info.batch_size) if isinstance(value, Tensor) else value
            for value, place in zip(values, in_dims[3:], strict=True)
        ]
        made = tuple(function(_cut(stacked[more:], sizes), 1, *stacked[:more]))
        return made, (0,) * len(made)


def _in_front(tensor: Tensor, place: int | None, size: int) -> Tensor:
    return tensor.expand(size, *tensor.shape) if place is None else tensor.movedim(place, 0)


def _cut(values: Sequence[Tensor], sizes: Sequence[int]) -> Lists:
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return tuple(list(values[end - size : end]) for end, size in zip(ends, sizes, strict=True))
