"""Observations from running a network: its head, changing buffers, random numbers, mixing."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fedlab import rng
from fedlab.models.anatomy.kept import changed, kept_by_modules
from fedlab.models.copies import copy_of

T = TypeVar("T")

ROUNDING = 1e-4
"""Largest difference of equal outputs, relative to the largest output."""

MANY = 15
"""Number of other samples in a large batch."""

MAP_DIMENSIONS = 4
"""Dimensions of a batch of feature maps: samples, channels, height, width."""

RESHAPING = ("View", "Reshape", "Squeeze", "Unsqueeze", "Alias", "Clone", "Flatten", "UnsafeView")


@dataclass(frozen=True)
class Observed:
    """Observations of a network on two samples; None where the run failed.

    Attributes:
        order: Paths of modules in the order in which their last calls ended.
        maps: Path and shape (channels, height, width) of feature maps: the outputs of modules that
            are called once, in the same order.
        head: Path of the dense layer that all outputs come from, if there is one.
        head_is_last: Whether the head's outputs are the network's outputs, without further layers.
        moving: Buffers that a forward pass in training mode changed.
        random: Whether it drew random numbers in training mode.
        mixes_in_training: Whether a sample's output depended on the other sample in training mode.
        mixes_in_tests: The same in evaluation mode, also in larger batches.
        remembers: Whether it has state outside of buffers: the same samples and tensors give other
            outputs, or other attributes, the second time.
        kept: Paths of those attributes.
        counts_tests: Buffers and parameters that a pass in evaluation mode changes, where the same
            samples then have other outputs.
    """

    order: tuple[str, ...] = ()
    maps: tuple[tuple[str, tuple[int, ...]], ...] = ()
    head: str | None = None
    head_is_last: bool = False
    moving: frozenset[str] | None = None
    random: bool | None = None
    mixes_in_training: bool | None = None
    mixes_in_tests: bool | None = None
    remembers: bool | None = None
    kept: tuple[str, ...] = ()
    counts_tests: tuple[str, ...] = ()


def observe(model: nn.Module, samples: Tensor) -> Observed:
    """Runs a copy of a network in both modes.

    No generator is advanced, and nothing is raised: the later checks refuse what fails here, with
    the reason.

    Args:
        model: Any network.
        samples: Two samples, shape (2, ...).
    """
    parameter = next(model.parameters(), None)
    if samples.is_floating_point() and parameter is not None:
        samples = samples.to(parameter)
    with same_chance():
        traced = _tried(lambda: _trace(model, samples))
        order, maps, head, last = traced or ((), (), None, False)
        moving, chance = _tried(lambda: _train(model, samples)) or (None, None)
        remembers, kept = _tried(lambda: _remembers(model, samples)) or (None, ())
        return Observed(
            order=order,
            maps=maps,
            head=head,
            head_is_last=last,
            moving=moving,
            random=chance,
            mixes_in_training=_tried(lambda: _mixes(model, samples, training=True)),
            mixes_in_tests=_tried(lambda: _mixes(model, samples, training=False)),
            remembers=remembers,
            kept=kept,
            counts_tests=_tried(lambda: _counts_tests(model, samples)) or (),
        )


@contextmanager
def same_chance(seed: int = 0) -> Generator[None]:
    """Seeds PyTorch's, NumPy's and Python's generators; restores their states afterwards."""
    with rng.torch_seed(seed, "trial"):
        yield


def _tried(find: Callable[[], T]) -> T | None:
    try:
        return find()
    except Exception:  # a user's network may raise anything
        return None


def _trace(
    model: nn.Module, samples: Tensor
) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[int, ...]], ...], str | None, bool]:
    """The order of calls, maps, and the head, found in the autograd graph of the outputs."""
    copied = copy_of(model).requires_grad_().eval()
    order: dict[str, tuple[int, ...] | None] = {}
    heads: dict[Any, str] = {}

    def listen(path: str, module: nn.Module) -> None:
        def record(_: nn.Module, __: Any, outputs: Any) -> None:
            once = path not in order
            order.pop(path, None)
            is_map = once and isinstance(outputs, Tensor) and outputs.dim() == MAP_DIMENSIONS
            order[path] = tuple(outputs.shape[1:]) if is_map else None
            if isinstance(module, nn.Linear) and isinstance(outputs, Tensor):
                heads[outputs.grad_fn] = path

        module.register_forward_hook(record)

    for path, module in copied.named_modules():
        listen(path, module)
    with torch.enable_grad():
        outputs = copied(samples)
    found, last = _origin(outputs, heads)
    maps = tuple((path, shape) for path, shape in order.items() if shape is not None)
    return tuple(order), maps, found, last


def _origin(outputs: Tensor, heads: dict[Any, str]) -> tuple[str | None, bool]:
    """The only dense layer that is last on all paths of the autograd graph, or None."""
    found, others, last = set[str](), 0, True
    ahead, seen = [outputs.grad_fn], set[Any]()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node in heads:
            found.add(heads[node])
        elif (leaf := getattr(node, "variable", None)) is not None:
            # A scale or a temperature after the head does not count.
            others += leaf.numel() > outputs.shape[-1]
        else:
            last &= node.name().removesuffix("Backward0") in RESHAPING
            ahead += [following for following, _ in node.next_functions]
    if len(found) != 1 or others:
        return None, False
    return found.pop(), last


def _train(model: nn.Module, samples: Tensor) -> tuple[frozenset[str], bool]:
    """Buffers that a forward pass in training mode changes, and whether it draws random numbers."""
    copied = copy_of(model).train()
    before = {name: tensor.clone() for name, tensor in copied.named_buffers()}
    chance = _states()
    with torch.no_grad():
        copied(samples)
    drew = any(new != old for new, old in zip(_states(), chance, strict=True))
    after = dict(copied.named_buffers())
    return frozenset(
        name
        for name, tensor in before.items()
        if name not in after or not _equal(after[name], tensor)
    ), drew


def _states() -> tuple[bytes, ...]:
    _, words, place, *_ = np.random.get_state()
    numpy = np.asarray(words).tobytes() + str(place).encode()
    return torch.get_rng_state().numpy().tobytes(), numpy, repr(random.getstate()).encode()


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _mixes(model: nn.Module, samples: Tensor, *, training: bool) -> bool:
    """Whether the output of a batch's first sample depends on the others.

    In evaluation mode, which draws no random numbers, also with samples of the opposite sign and
    with many: a network may branch on a mean, or have experts of limited capacity.
    """
    first = samples[:1]
    batches = [samples[[0, 0]], samples]
    if not training:
        many = samples[[1] * MANY]
        batches.append(torch.cat([first, many]))
        if samples.is_floating_point():
            batches += [torch.cat([first, -3 * first]), torch.cat([first, -many])]
    outputs = []
    for batch in batches:
        copied = copy_of(model).train(training)
        with same_chance(), torch.no_grad():
            outputs.append(copied(batch)[0].double())
    return any(not _alike(outputs[0], other) for other in outputs[1:])


def _remembers(model: nn.Module, samples: Tensor) -> tuple[bool, tuple[str, ...]]:
    """Whether a pass depends on earlier ones, with the same tensors and the same seed.

    Compares outputs, and attributes after the pass, which may affect outputs only later.
    """
    copied = copy_of(model).train()
    tensors = {name: tensor.clone() for name, tensor in copied.named_buffers()}
    outputs, kept = [], []
    for batch in (samples, samples[[1, 1]], samples):
        with same_chance(), torch.no_grad():
            outputs.append(copied(batch).double())
            for name, tensor in copied.named_buffers():
                if name in tensors and tensor.shape == tensors[name].shape:
                    tensor.copy_(tensors[name])
        kept.append(kept_by_modules(copied))
    names = tuple(changed(kept[0], kept[-1]))
    return bool(names) or not _alike(outputs[0], outputs[-1]), names


def _counts_tests(model: nn.Module, samples: Tensor) -> tuple[str, ...]:
    """Tensors that tests change, where that changes the outputs of later tests.

    A tensor that is only put into the form in which it is used (an embedding's vectors scaled to
    their largest norm) leaves outputs as they are.
    """
    copied = copy_of(model).eval()
    tensors = {**dict(copied.named_parameters()), **dict(copied.named_buffers())}
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    outputs = []
    for batch in (samples, samples[[1, 1]], samples):
        with same_chance(), torch.no_grad():
            outputs.append(copied(batch).double())
    if _alike(outputs[0], outputs[-1]):
        return ()
    after = {**dict(copied.named_parameters()), **dict(copied.named_buffers())}
    return tuple(n for n, old in before.items() if n in after and not _equal(after[n], old))


def _alike(one: Tensor, other: Tensor) -> bool:
    scale = max(float(one.abs().max()), 1e-6)
    return bool((one - other).abs().max() <= ROUNDING * scale)
