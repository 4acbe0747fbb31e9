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
    """The type of the available accelerator, without an index, or None."""
    return torch.accelerator.current_accelerator(check_available=True)


def count() -> int:
    """Number of available accelerators."""
    return torch.accelerator.device_count() if current() is not None else 0


def known() -> list[str]:
    """The devices of this machine by name, the CPU first."""
    kind = current()
    names = [f"{kind.type}:{index}" for index in range(count())] if kind else []
    return ["cpu", *(names if len(names) > 1 else [name.partition(":")[0] for name in names])]


def device_of(asked: str, key: str, accelerated: bool = True) -> torch.device:
    """The device of a name, if this machine has it.

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
    """The device of a name, whether or not this machine has it.

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
    """Whether a device is neither the CPU nor the meta device."""
    return torch.device(device).type not in ("cpu", "meta")


def name_of(device: torch.device | str) -> str:
    """A device's product name; its type where the backend has no name."""
    device = torch.device(device)
    name = _own(device, "get_device_name")
    return str(name(device)) if name else device.type


def empty_cache(device: torch.device | str | None = None) -> None:
    """Releases cached memory of a device for other processes; by default of the current one."""
    _call(device, "empty_cache")


def synchronize(device: torch.device | str | None = None) -> None:
    """Waits until all kernels of a device have finished."""
    _call(device, "synchronize")


def make_deterministic(device: torch.device | str) -> None:
    """Selects deterministic kernels on a device; PyTorch warns where there is none."""
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
    """Whether a type of device supports float64; MPS does not."""
    try:
        torch.zeros((), dtype=torch.float64, device=kind)
    except (TypeError, RuntimeError):
        return False
    return True


def exact(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor where float64 is supported: on its own device, or on the CPU."""
    return tensor if has_float64(tensor.device.type) else tensor.cpu()


def moved(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on a device; float64 tensors stay where the device does not support float64."""
    stays = tensor.dtype == torch.float64 and not has_float64(device.type)
    return tensor if stays else tensor.to(device)


def seed(value: int) -> None:
    """Seeds the generators of all accelerators in use; does not initialise others."""
    if module := _in_use():
        every = getattr(module, "manual_seed_all", None) or module.manual_seed
        every(value)


def generator_states() -> list[tuple[int, torch.Tensor]]:
    """The states of the accelerators' generators, by index."""
    if (module := _in_use()) is None:
        return []
    if not hasattr(module, "device_count"):
        return [(0, module.get_rng_state())]
    return [(index, _state(module, index)) for index in range(module.device_count())]


def restore_generators(states: list[tuple[int, torch.Tensor]]) -> None:
    """Restores the `generator_states`."""
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
    """The accelerator's module, if this process has initialised it."""
    kind = torch.accelerator.current_accelerator()
    if kind is None:
        return None
    module = torch.get_device_module(kind)
    begun = getattr(module, "is_initialized", module.is_available)
    return module if begun() else None


def _own(device: torch.device, function: str) -> Any:
    """A function of the module of a device's type, or None."""
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
