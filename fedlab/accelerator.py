"""The accelerator that PyTorch was built for: CUDA, ROCm, XPU, MPS or another.

`torch.accelerator` knows its kind, and the kind's own module (``torch.cuda``, ``torch.mps``) the
rest: generators, memory, names. ROCm goes by the name ``cuda``, as in PyTorch.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch

from fedlab.errors import InputError


def current() -> torch.device | None:
    """The kind of accelerator that is here and answers, without an index, or None."""
    return torch.accelerator.current_accelerator(check_available=True)


def count() -> int:
    """How many of it there are."""
    return torch.accelerator.device_count() if current() is not None else 0


def known() -> list[str]:
    """The devices of this machine by their names, the CPU first."""
    kind = current()
    names = [f"{kind.type}:{index}" for index in range(count())] if kind else []
    return ["cpu", *(names if len(names) > 1 else [name.partition(":")[0] for name in names])]


def device_of(asked: str, key: str, accelerated: bool = True) -> torch.device:
    """The device of a name, if it is there.

    Args:
        asked: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or another name that PyTorch knows.
        key: The setting's name, for the error message.
        accelerated: Whether ``auto`` may be the accelerator.

    Raises:
        InputError: If there is no such device, with those that there are.
    """
    if asked == "auto":
        return (current() if accelerated else None) or torch.device("cpu")
    device = parsed(asked, key)
    kind = current()
    here = device.type == "cpu" and not device.index
    if kind is not None and device.type == kind.type:
        here = (device.index or 0) < count()
    if not here:
        raise InputError(
            f"{key}: '{asked}' is not there; PyTorch finds {', '.join(known())} on this machine, "
            "and auto takes the best of these"
        )
    return device


def parsed(asked: str, key: str) -> torch.device:
    """The device of a name, wherever it may be.

    Raises:
        InputError: If PyTorch knows no such name.
    """
    try:
        return torch.device(asked)
    except RuntimeError as error:
        raise InputError(
            f"{key}: '{asked}' is no name of a device; use auto, cpu, or a name of PyTorch's such "
            "as cuda, cuda:1, xpu or mps"
        ) from error


def is_accelerator(device: torch.device | str) -> bool:
    """Whether a device computes and is not the CPU."""
    return torch.device(device).type not in ("cpu", "meta")


def name_of(device: torch.device | str) -> str:
    """A device's model in words; its kind where it does not say."""
    device = torch.device(device)
    name = _own(device, "get_device_name")
    return str(name(device)) if name else device.type


def empty_cache(device: torch.device | str | None = None) -> None:
    """Gives unused memory back to other processes; by default that of the device in use."""
    _call(device, "empty_cache")


def synchronize(device: torch.device | str | None = None) -> None:
    """Waits until a device has done what it was given."""
    _call(device, "synchronize")


def make_deterministic(device: torch.device | str) -> None:
    """Lets a device give the same bytes twice, wherever it can; PyTorch warns where it cannot."""
    if not is_accelerator(device):
        return
    # Deterministic cuBLAS needs a fixed workspace; other kinds do not read this.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory that it has not written, and filling it is a kernel each time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


@cache
def has_float64(kind: str) -> bool:
    """Whether a kind of device computes in double precision; MPS does not."""
    try:
        torch.zeros((), dtype=torch.float64, device=kind)
    except (TypeError, RuntimeError):
        return False
    return True


def exact(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor where float64 is to be had: on its own device, or on the CPU."""
    return tensor if has_float64(tensor.device.type) else tensor.cpu()


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on a device; on the CPU where that has none of its numbers (float64)."""
    stays = tensor.dtype == torch.float64 and not has_float64(device.type)
    return tensor if stays else tensor.to(device)


def seed(value: int) -> None:
    """Seeds the generators of all accelerators that are in use; none is started for it."""
    if module := _in_use():
        every = getattr(module, "manual_seed_all", None) or module.manual_seed
        every(value)


def generator_states() -> list[tuple[int, torch.Tensor]]:
    """The states of their generators, by index."""
    if (module := _in_use()) is None:
        return []
    if not hasattr(module, "device_count"):
        return [(0, module.get_rng_state())]
    return [(index, _state(module, index)) for index in range(module.device_count())]


def restore_generators(states: list[tuple[int, torch.Tensor]]) -> None:
    """Puts `generator_states` back."""
    module = _in_use() if states else None
    for index, state in states if module else ():
        try:
            module.set_rng_state(state, index)  # type: ignore[union-attr]
        except TypeError:  # there is only one
            module.set_rng_state(state)  # type: ignore[union-attr]


def _state(module: Any, index: int) -> torch.Tensor:
    try:
        return module.get_rng_state(index)
    except TypeError:  # there is only one
        return module.get_rng_state()


def _in_use() -> Any:
    """The accelerator's module, if this process has begun to use it."""
    kind = torch.accelerator.current_accelerator()
    if kind is None:
        return None
    module = torch.get_device_module(kind)
    begun = getattr(module, "is_initialized", module.is_available)
    return module if begun() else None


def _own(device: torch.device, function: str) -> Any:
    """A function of a device's own module, or None."""
    return (
        getattr(torch.get_device_module(device), function, None) if device.type != "cpu" else None
    )


def _call(device: torch.device | str | None, function: str) -> None:
    if device is None:
        module = _in_use()
        own = getattr(module, function, None) if module else None
    else:
        own = _own(torch.device(device), function)
    if own:
        own()
