"""Where a network's outputs come from: a walk through their autograd graph, one for each mode."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, enable_grad, nn
from torch.utils._pytree import tree_leaves

from fedlab.models.anatomy.division import places
from fedlab.models.copies import copy_of

MAP_DIMENSIONS = 4
"""Dimensions of a batch of feature maps: samples, channels, height, width."""

RESHAPING = ("View", "Reshape", "Squeeze", "Unsqueeze", "Alias", "Clone", "Flatten", "UnsafeView")

OWN = ""
"""The part of tensors that belong to none: the network's own, outside of its layers."""


@dataclass(frozen=True)
class Origin:
    """Where the outputs of one forward pass come from.

    Attributes:
        order: Paths of modules in the order in which their last calls ended; with each the shape
            (channels, height, width) of the feature map that it gives in its only call, or None.
        head: Path of the only dense layer whose call is last on all ways to the outputs, or None.
        head_is_last: Whether its outputs are the network's outputs, without further layers.
        ends: The parts that are last on some way to the outputs, `OWN` included.
        read: Parts whose weights count although neither they nor a module in them is called.
    """

    order: Mapping[str, tuple[int, ...] | None]
    head: str | None
    head_is_last: bool
    ends: tuple[str, ...]
    read: tuple[str, ...]


def origin(model: nn.Module, samples: Tensor, *, training: bool) -> Origin:
    """Runs a copy of a network, and follows its outputs back.

    Args:
        model: Any network.
        samples: Two samples, shape (2, ...).
        training: Whether it runs in training mode.
    """
    copied = copy_of(model).train(training).requires_grad_()
    calls = _Calls(copied)
    with enable_grad():
        outputs = copied(samples)
    heads, others, last = set[str](), 0, True
    for node, leaf in _walk(outputs.grad_fn, lambda node: node in calls.dense):
        if node in calls.dense:
            heads.add(calls.dense[node])
        elif leaf is not None:
            # A scale or a temperature after the head does not count.
            others += leaf.numel() > outputs.shape[-1]
        else:
            last &= node.name().removesuffix("Backward0") in RESHAPING
    head = heads.pop() if len(heads) == 1 and not others else None
    return Origin(
        calls.order, head, last and head is not None, *_Parts(copied, calls).behind(outputs)
    )


class _Calls:
    """Records the calls of a network's modules, by hooks.

    Attributes:
        order: See `Origin`.
        dense: Node of the graph -> path of the dense layer whose output it is.
        every: Node -> paths of all modules whose output it is, from the innermost.
    """

    def __init__(self, model: nn.Module) -> None:
        self.order: dict[str, tuple[int, ...] | None] = {}
        self.dense: dict[Any, str] = {}
        self.every: dict[Any, list[str]] = {}
        for path, module in model.named_modules():
            module.register_forward_hook(self._recorder(path))

    def _recorder(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, _: Any, outputs: Any) -> None:
            once = path not in self.order
            self.order.pop(path, None)
            is_map = once and isinstance(outputs, Tensor) and outputs.dim() == MAP_DIMENSIONS
            self.order[path] = tuple(outputs.shape[1:]) if is_map else None
            if isinstance(module, nn.Linear) and isinstance(outputs, Tensor):
                self.dense[outputs.grad_fn] = path
            for each in tree_leaves(outputs):
                if isinstance(each, Tensor) and each.grad_fn is not None:
                    self.every.setdefault(each.grad_fn, []).append(path)

        return record


class _Parts:
    """Finds the parts of a network that its outputs come from."""

    def __init__(self, model: nn.Module, calls: _Calls) -> None:
        self.places, self.calls = places(model), calls
        self.names: dict[int, list[str]] = {}
        for name, tensor in model.named_parameters(remove_duplicate=False):
            self.names.setdefault(id(tensor), []).append(self._part(name) or OWN)

    def behind(self, outputs: Tensor) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """`Origin.ends` and `Origin.read`."""
        many = outputs.shape[-1]
        ends: dict[str, None] = {}
        for node, leaf in _walk(outputs.grad_fn, lambda node: self._called(node) is not None):
            if leaf is None and (part := self._called(node)) is not None:
                ends[part] = None
            elif leaf is not None and leaf.numel() > many:
                ends[self.names.get(id(leaf), [OWN])[0]] = None
        called = {part for path in self.calls.order if (part := self._part(path)) is not None}
        read: dict[str, None] = {}
        for _, leaf in _walk(outputs.grad_fn, lambda _: False):
            parts = [] if leaf is None else self.names.get(id(leaf), [])
            if not called & set(parts):
                read |= dict.fromkeys(part for part in parts if part != OWN)
        return tuple(ends), tuple(read)

    def _called(self, node: Any) -> str | None:
        found = (self._part(path) for path in self.calls.every.get(node, ()))
        return next((part for part in found if part is not None), None)

    def _part(self, path: str) -> str | None:
        """The part that a module or tensor is in, by the path of its layer; None for none."""
        for place in self.places:
            if f"{path}.".startswith(tuple(place)):
                return place[0].removesuffix(".")
        return None


def _walk(start: Any, stops: Callable[[Any], bool]) -> Iterator[tuple[Any, Tensor | None]]:
    """Nodes of an autograd graph, the nearest first, each with the parameter that it is, if any.

    Args:
        start: The node of the outputs.
        stops: Whether to go no further behind a node.
    """
    ahead, seen = deque([start]), set[Any]()
    while ahead:
        node = ahead.popleft()
        if node is None or node in seen:
            continue
        seen.add(node)
        yield node, getattr(node, "variable", None)
        if not stops(node):
            ahead += [following for following, _ in node.next_functions]
