"""A pretend accelerator: tensors that say they are on ``pretend`` and compute on the CPU.

It shows two things of accelerator code on a machine without any: that every tensor is made where it
is used, since an operation that mixes devices raises as CUDA's would, and what a round costs the
host, exactly and repeatably:

- ``launches``: operations of PyTorch that start a kernel; views, allocations and copies between
  host and device are none. An operation on lists of tensors (``torch._foreach_*``) is as many as
  CUDA needs: one for some dozens of tensors of the same types and strides, else one for each.
- ``waits``: points at which the host stops until the device is done: ``.item()``, ``float(t)``,
  ``tolist``, copies to the host, and operations whose result has a shape that depends on values.
- ``to_device`` and ``to_host``: copies between the two.

What it cannot show: times of kernels, memory, streams, choices of algorithms, and numerics of
shorter floats. Graphs are lists of operations that are played again (`helpers.pretend_graphs`).
Generators are the CPU's, as no Python backend can have its own; autocast changes nothing.

It stands on PyTorch's experimental Python backend (``torch.utils.backend_registration``) and is
registered for the whole process by `install`; it is there for `torch.accelerator` only within
`present`, so that other tests of the process do not come to run on it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_flatten, tree_map

from fedlab.accelerator import has_float64
from helpers.pretend_costs import (
    COPIES,
    FREE,
    NAME,
    TAKES_HOST_INDICES,
    allocated,
    count,
    count_copy,
    is_here,
    is_view,
    launched,
    waited,
)
from helpers.pretend_costs import counting as counting

Operation = tuple[Any, Sequence[Any], Mapping[str, Any], Any]
"""(operation of PyTorch, arguments, keywords, result), with tensors of the CPU for the device's."""

SETUP = "_setup_privateuseone_for_python_backend"
MISSING = f"this PyTorch has no torch.utils.backend_registration.{SETUP}, or a real accelerator"
SUPPORTED = hasattr(backend_registration, SETUP) and not torch.accelerator.is_available()
"""Whether it can be installed; a real accelerator would be hidden by it."""

tapes: list[list[Operation]] = []
"""Lists to which every operation is added when it has been done (`helpers.pretend_graphs`)."""

_present = 0
_float64 = True
_library: list[torch.library.Library] = []


@contextmanager
def present() -> Generator[torch.device]:
    """Installs the device, and lets `torch.accelerator` find it within the context."""
    global _present
    install()
    _present += 1
    try:
        yield torch.device(NAME)
    finally:
        _present -= 1


@contextmanager
def without_float64() -> Generator[None]:
    """Lets the device refuse tensors of double precision within the context, as MPS does."""
    global _float64
    _float64 = False
    has_float64.cache_clear()
    try:
        yield
    finally:
        _float64 = True
        has_float64.cache_clear()


class Pretend(torch.Tensor):
    """A tensor on the device: a wrapper around one on the CPU, `raw`."""

    raw: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> Pretend:
        if raw.dtype == torch.float64 and not _float64:
            raise TypeError(f"{NAME} has no float64")
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            layout=raw.layout,
            device=torch.device(NAME, 0),
            requires_grad=False,
        )
        made.raw = raw
        return made

    def __repr__(self) -> str:
        return f"Pretend({self.raw})"

    def tolist(self) -> Any:
        """One copy to the host; PyTorch's own would read value after value."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


def wrap(value: Any) -> Any:
    """A tensor on the device for one on the CPU, whose memory it shares; other values stay."""
    return Pretend(value) if isinstance(value, torch.Tensor) and not is_here(value) else value


def unwrap(value: Any) -> Any:
    """The opposite of `wrap`."""
    return value.raw if isinstance(value, Pretend) else value


def _dispatch(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    name = func._schema.name
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    asked = kwargs.get("device")
    leaves = asked is not None and torch.device(asked).type != NAME
    if name in COPIES:
        source = args[1] if name == "aten::copy_" else args[0]
        arrives = is_here(args[0]) if name == "aten::copy_" else not leaves
        count_copy(is_here(source), arrives)
    elif not (name in FREE or is_view(func)):
        _refuse_mixed(func, tensors)
        count(func, args, tensors)
    elif "empty" in name:
        allocated()
    given = tree_map(unwrap, args)
    named = {
        key: torch.device("cpu") if key == "device" and value is not None else value
        for key, value in tree_map(unwrap, dict(kwargs)).items()
    }
    made = func(*given, **named)
    for tape in tapes:
        tape.append((func, given, named, made))
    if leaves:
        return made
    if not func._schema.is_mutable:
        return tree_map(wrap, made)
    for tensor in tensors:  # a wrapper's form cannot be changed
        if is_here(tensor) and tensor.size() != tensor.raw.size():
            raise NotImplementedError(f"{func} changes a tensor's shape in place")
    if name == "aten::copy_" and not is_here(args[0]):
        return args[0]
    known = {id(unwrap(tensor)): tensor for tensor in tensors}
    return tree_map(lambda t: known.get(id(t), wrap(t)), made)


def _refuse_mixed(func: Any, tensors: Sequence[torch.Tensor]) -> None:
    """As CUDA does: single numbers of the host may take part in elementwise operations.

    Raises:
        RuntimeError: If any other tensor is on the CPU.
    """
    elementwise = torch.Tag.pointwise in func.tags or func._schema.name == "aten::fill_"
    allowed = func._schema.name in TAKES_HOST_INDICES
    first = tensors[0] if tensors and func._schema.is_mutable else None
    for tensor in tensors:
        if (
            is_here(tensor)
            or allowed
            or (elementwise and tensor.dim() == 0 and tensor is not first)
        ):
            continue
        raise RuntimeError(
            f"{func}: expected all tensors to be on the same device, but found {NAME} and cpu, "
            f"of shape {tuple(tensor.shape)}"
        )


class _Module:
    """``torch.pretend``: what PyTorch and callers of `torch.get_device_module` need."""

    def is_initialized(self) -> bool:
        return bool(_present)

    def is_available(self) -> bool:
        return bool(_present)

    def device_count(self) -> int:
        return int(self.is_available())

    def current_device(self) -> int:
        return 0

    def get_device_name(self, device: Any = None) -> str:
        return "a pretend accelerator"

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        """Nothing: its generator is the CPU's."""

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.zeros(1, dtype=torch.uint8)

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def synchronize(self, device: Any = None) -> None:
        waited()

    def empty_cache(self) -> None:
        pass


def install() -> None:
    """Registers the device with PyTorch, once in a process and before its first backward pass.

    PyTorch makes its queues for backward passes then, and only for devices that it knows.

    Raises:
        RuntimeError: If this PyTorch has no backends in Python, or another one was registered.
    """
    if _library:
        return
    if not SUPPORTED:
        raise RuntimeError(MISSING)
    getattr(backend_registration, SETUP)(rename=NAME, backend_module=_Module())
    library = torch.library.Library("aten", "IMPL")
    others = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    _library.extend([library, others])
    others.fallback(torch.library.fallthrough_kernel)

    def empty(size: Any, *, dtype: Any = None, memory_format: Any = None, **_: Any) -> torch.Tensor:
        form = {} if memory_format is None else {"memory_format": memory_format}
        allocated()
        return Pretend(torch.empty(size, dtype=dtype, **form))

    def empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> torch.Tensor:
        allocated()
        return Pretend(torch.empty_strided(size, stride, dtype=dtype))

    def copy_from(source: Any, target: Any, non_blocking: bool = False) -> Any:
        count_copy(is_here(source), is_here(target))
        unwrap(target).copy_(unwrap(source))
        return target

    def arange(*numbers: Any, dtype: Any = None, **_: Any) -> torch.Tensor:
        launched("aten.arange")  # PyTorch's own resizes its result, which a wrapper cannot
        return Pretend(torch.arange(*numbers, dtype=dtype))

    for form in ("arange", "arange.start", "arange.start_step"):
        library.impl(form, arange, "PrivateUse1")
    library.impl("empty.memory_format", empty, "PrivateUse1")
    library.impl("empty_strided", empty_strided, "PrivateUse1")
    library.impl("_copy_from", copy_from, "PrivateUse1")
