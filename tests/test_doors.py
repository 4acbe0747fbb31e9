"""What is public: the names that a package shows, from which documents import and nothing else."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedlab.config import registry

ROOT = Path(__file__).parents[1]
DOORS = (
    "clients",
    "data",
    "features",
    "losses",
    "metrics",
    "models",
    "runs",
    "scenarios",
    "strategies",
    "tracking",
    "updates",
)
SUBMODULES = {("fedlab", "rng"), ("fedlab", "metrics")}
"""Modules that are public as a whole: what they define without an underscore."""

IMPORT = re.compile(r"^\s*(?:>>> )?from (fedlab[\w.]*) import \(?([\w, ]+)", re.MULTILINE)
NAMED = re.compile(r"(?:^::: |`)(fedlab(?:\.\w+)+)(?:`|\(|$)", re.MULTILINE)


def documents() -> list[Path]:
    """Whatever a person reads before writing code of their own."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for folder in ("docs", "notebooks", "examples"):
        found += sorted((ROOT / folder).rglob("*.md")) + sorted((ROOT / folder).rglob("*.py"))
    inside = (ROOT / "docs" / "generator", ROOT / "docs" / "decisions")
    return [f for f in found if not any(folder in f.parents for folder in inside)]


@pytest.mark.parametrize("name", ["", *DOORS])
def test_a_package_shows_what_it_says(name: str) -> None:
    package = importlib.import_module(f"fedlab.{name}".rstrip("."))
    assert list(package.__all__) == sorted(package.__all__, key=str)
    for public in package.__all__:
        assert getattr(package, public)
        assert public in dir(package)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018


def test_showing_costs_nothing() -> None:
    """A package is imported without PyTorch, which takes seconds."""
    names = ", ".join(f"fedlab.{name}" for name in DOORS)
    code = f"import sys, {names}; print('torch' in sys.modules or 'flwr' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_documents_import_what_is_public() -> None:
    imported = [
        (page, module, name.split(" as ")[0].strip())
        for page in documents()
        for module, names in IMPORT.findall(page.read_text(encoding="utf-8"))
        for name in names.split(",")
    ]
    assert len(imported) > 15
    hidden = [
        f"{page.relative_to(ROOT)}: {module}.{name}"
        for page, module, name in imported
        if name
        and (module, name) not in SUBMODULES
        and name not in importlib.import_module(module).__all__
    ]
    assert hidden == []


def test_documents_name_what_is_public() -> None:
    """A dotted name is a package, a module, or what an ``__all__`` shows."""
    named = {
        (page.relative_to(ROOT), name)
        for page in documents()
        if page.suffix == ".md"
        for name in NAMED.findall(page.read_text(encoding="utf-8"))
    }
    assert len(named) > 30
    hidden = [f"{page}: {name}" for page, name in sorted(named) if not _public(name)]
    assert hidden == []


def _public(name: str) -> bool:
    module, _, last = name.rpartition(".")
    if module == "fedlab" and last in registry.BUILTIN:  # a group of entry points
        return True
    try:
        importlib.import_module(name)
    except ImportError:
        pass
    else:
        return True
    if module == "fedlab.rng":
        return not last.startswith("_")
    try:
        shown = importlib.import_module(module)
    except ImportError:
        return False
    return last in getattr(shown, "__all__", ())


@pytest.mark.parametrize(
    ("old", "name", "new"),
    [
        ("fedlab.scenarios.skews", "LabelSkew", "fedlab.partition.base"),
        ("fedlab.strategies.updates", "ClientUpdate", "fedlab.federation.client_updates"),
        ("fedlab.clients.task", "Batch", "fedlab.training.task"),
    ],
)
def test_old_names_work_and_say_the_new_one(old: str, name: str, new: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new}; the old name goes"):
        module = importlib.import_module(old)
    assert getattr(module, name) is getattr(importlib.import_module(new), name)
    assert module.__spec__ is not None
    assert module.__spec__.name == new
