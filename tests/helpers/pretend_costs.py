"""What a pretend accelerator costs the host (see `helpers.pretend_accelerator`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

NAME = "pretend"

TAKES_HOST_INDICES = {"aten::index", "aten::index_put_", "aten::_index_put_impl_"}
"""Operations that copy indices to the device by themselves."""

COPIES = {"aten::copy_", "aten::_to_copy"}

FREE = {
    "aten::_unsafe_view",
    "aten::_has_compatible_shallow_copy_type",
    "aten::empty",
    "aten::empty_like",
    "aten::empty_strided",
    "aten::is_same_size",
    "aten::lift_fresh",
    "aten::new_empty",
    "aten::new_empty_strided",
    "aten::resize_",
    "aten::set_",
}
"""Operations, beside views, that start no kernel."""

WAITING = {
    "aten::_linalg_eigh",
    "aten::_linalg_svd",
    "aten::_unique2",
    "aten::bincount",
    "aten::equal",
    "aten::masked_select",
    "aten::nonzero",
    "aten::repeat_interleave",
    "aten::unique_consecutive",
    "aten::unique_dim",
}
"""Operations whose result has a shape that depends on values, or that is a number of the host."""


class Cost(Counter[str]):
    """What the host has done: ``launches``, ``waits``, ``to_device``, ``to_host``.

    ``allocations`` are tensors without values; results of operations are no part of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()


_costs: list[Cost] = []


@contextmanager
def counting() -> Generator[Cost]:
    """Counts what is done on the device within the context."""
    cost = Cost()
    _costs.append(cost)
    try:
        yield cost
    finally:
        _costs[:] = [each for each in _costs if each is not cost]


def allocated() -> None:
    """Counts an allocation without values."""
    for cost in _costs:
        cost["allocations"] += 1


def waited() -> None:
    """Counts a wait of the host."""
    for cost in _costs:
        cost["waits"] += 1


def launched(operation: str) -> None:
    """Counts the launch of a kernel."""
    for cost in _costs:
        cost["launches"] += 1
        cost.operations[operation] += 1


def is_here(value: Any) -> bool:
    """Whether a value is a tensor on the device."""
    return isinstance(value, torch.Tensor) and value.device.type == NAME


def count_copy(leaves: bool, arrives: bool) -> None:
    """Counts a copy: on the device, to it or from it."""
    for cost in _costs:
        if leaves and arrives:
            cost["launches"] += 1
            cost.operations["copy"] += 1
        elif arrives:
            cost["to_device"] += 1
        else:
            cost["to_host"] += 1
            cost["waits"] += 1


def count(func: Any, args: Sequence[Any], tensors: Sequence[torch.Tensor]) -> None:
    """Counts an operation on the device."""
    name = func._schema.name
    masks = [] if name not in TAKES_HOST_INDICES else [m for m in args[1] if _is_mask(m)]
    lists = [i for i in args[1] if i is not None] if name in TAKES_HOST_INDICES else []
    for cost in _costs:
        if name == "aten::_local_scalar_dense":
            cost["waits"] += 1
            continue
        number = _of_lists(args, tensors) if name.startswith("aten::_foreach") else 1
        cost["launches"] += number
        cost.operations[str(func)] += number
        cost["waits"] += name in WAITING or bool(masks)
        cost["to_device"] += sum(not is_here(index) for index in lists)


def _of_lists(args: Sequence[Any], tensors: Sequence[torch.Tensor]) -> int:
    """Kernels of an operation on lists, by the rules of PyTorch's ``multi_tensor_apply``."""
    lists = [arg for arg in args if isinstance(arg, list | tuple)]
    lists = [each for each in lists if each and isinstance(each[0], torch.Tensor)]
    first = lists[0]
    alike = len({tensor.dtype for tensor in tensors}) == 1 and all(
        len({(tensor.shape, tensor.stride()) for tensor in places}) == 1
        for places in zip(*lists, strict=True)
    )
    if not alike:
        return len(first)
    tensors_of_a_launch = (110, 64, 48, 36, 30)[min(len(lists), 4)]  # the result is a list, too
    blocks = sum(-(-tensor.numel() // 2**16) for tensor in first)
    return max(-(-len(first) // tensors_of_a_launch), -(-blocks // 320))


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)


def is_view(func: Any) -> bool:
    """Whether an operation shares its argument's memory and writes nothing."""
    returned = [result.alias_info for result in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in returned)
