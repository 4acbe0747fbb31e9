"""Replaces layers of any network at any depth."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def replace_modules(model: nn.Module, replacement: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Replaces every module of a network by ``replacement(module)``.

    Args:
        model: The network; changed in place.
        replacement: Returns the new module, or the module itself to keep it. It is called once per
            module, in the order of registration, so a module used in two places stays shared.

    Returns:
        The network: `model`, unless its outermost module was itself replaced.
    """
    new = {module: replacement(module) for module in model.modules()}
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if path and new[module] is not module:
            model.set_submodule(path, new[module])
    return new[model]
