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
from fedlab.models.anatomy.outputs import Origin, origin
from fedlab.models.copies import copy_of

T = TypeVar("T")

ROUNDING = 1e-4
"""Largest difference of equal outputs, relative to the largest output."""

MANY = 15
"""Number of other samples in a large batch."""


@dataclass(frozen=True)
class Observed:
    """Observations of a network on two samples; None where the run failed.

    Attributes:
        order: Paths of modules in the order in which their last calls ended.
        maps: Path and shape (channels, height, width) of feature maps: the outputs of modules that
            are called once, in the same order.
        head: Path of the dense layer that all outputs come from, if there is one, in both modes.
        head_is_last: Whether the head's outputs are the network's outputs, without further layers.
        in_training: Paths of the modules that are called in training mode.
        ends: The parts (`fedlab.models.anatomy.division`) that are last on some way to the outputs,
            in one mode or the other; the empty one is of tensors that belong to no part.
        read: Parts whose weights count although neither they nor a module in them is called.
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
    in_training: frozenset[str] | None = None
    ends: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
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
        tests = _tried(lambda: origin(model, samples, training=False))
        training = _tried(lambda: origin(model, samples, training=True))
        moving, chance = _tried(lambda: _train(model, samples)) or (None, None)
        remembers, kept = _tried(lambda: _remembers(model, samples)) or (None, ())
        return Observed(
            **_of_outputs(tests, training),
            moving=moving,
            random=chance,
            mixes_in_training=_tried(lambda: _mixes(model, samples, training=True)),
            mixes_in_tests=_tried(lambda: _mixes(model, samples, training=False)),
            remembers=remembers,
            kept=kept,
            counts_tests=_tried(lambda: _counts_tests(model, samples)) or (),
        )


def _of_outputs(tests: Origin | None, training: Origin | None) -> dict[str, Any]:
    """What is known of outputs: nothing if tests fail, and of tests alone if training fails."""
    if tests is None:
        return {}
    both = [tests] if training is None else [tests, training]
    head = tests.head if len({each.head for each in both}) == 1 else None
    return {
        "order": tuple(tests.order),
        "maps": tuple((path, shape) for path, shape in tests.order.items() if shape is not None),
        "head": head,
        "head_is_last": head is not None and tests.head_is_last,
        "in_training": None if training is None else frozenset(training.order),
        "ends": tuple(dict.fromkeys(part for each in both for part in each.ends)),
        "read": tuple(dict.fromkeys(part for each in both for part in each.read)),
    }


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
