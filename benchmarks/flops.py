"""Arithmetic of a round, counted, and what the hardware can do at most, measured."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.works import Work


def of_round(work: Work, network: nn.Module) -> int:
    """Floating-point operations of a cohort's forward and backward passes.

    Convolutions and matrix products only, as `torch.utils.flop_counter` counts them; a
    multiplication and an addition are two.

    Args:
        work: The work.
        network: Its network, on any device; it is left as it is.
    """
    meta = _on_meta(network)
    whole, rest = divmod(work.samples, work.batch)
    flops = whole * _of_step(work, meta, work.batch)
    if rest:
        flops += _of_step(work, meta, rest)
    return flops * work.cohort


def peak(precision: str, size: int, device: torch.device, seconds: float = 1.0) -> float:
    """The highest rate of a square matrix product, in TFLOP/s.

    Args:
        precision: ``float32``, ``tf32`` or ``bfloat16``.
        size: Rows and columns.
        device: Where to compute.
        seconds: How long to try.
    """
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        best = _quickest(lambda: left @ right, device, seconds)
    finally:
        torch.set_float32_matmul_precision(before)
    return 2 * size**3 / best / 1e12


def _quickest(action: Callable[[], object], device: torch.device, seconds: float) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    best, end = float("inf"), time.perf_counter() + seconds
    action()
    while time.perf_counter() < end or best == float("inf"):
        wait()
        start = time.perf_counter()
        for _ in range(5):
            action()
        wait()
        best = min(best, (time.perf_counter() - start) / 5)
    return best


def _on_meta(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).to("meta").train()


def _of_step(work: Work, meta: nn.Module, batch: int) -> int:
    inputs = torch.empty(batch, *work.input_shape, device="meta")
    labels = torch.zeros(batch, dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as counter:
        nn.functional.cross_entropy(meta(inputs), labels).backward()
    return counter.get_total_flops()
