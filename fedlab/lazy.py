"""Packages whose public names are imported from their modules on first use."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fedlab.renamed import old_names


def doors(
    package: str, homes: Mapping[str, str], renamed: Mapping[str, str] = MappingProxyType({})
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package.

    PyTorch, Flower and pandas take seconds to import, so that a package imports each of its public
    names only when it is first used.

    Args:
        package: Its name.
        homes: Name -> the module that defines it, or a submodule's own name.
        renamed: Old name -> the name that it has now.
    """
    old = old_names(package, renamed)

    def get(name: str) -> Any:
        if name not in homes:
            return old(name)
        return getattr(importlib.import_module(homes[name]), name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names
