"""No file of fedlab imports in a circle: not at the top, not inside a function, not for a type."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("imports")  # one process reads all sources, once

ROOT = Path(__file__).parents[1]
METHODS = {"strategies", "clients"}
MACHINERY = {"fedlab.engine", "fedlab.runs", "fedlab.report", "fedlab.deploy", "fedlab.cli", "ray"}


@cache
def imports() -> dict[str, set[str]]:
    """Module -> the modules of fedlab, or packages of others, that it imports anywhere.

    An ``__init__`` shows names of its package and draws no arrow.
    """
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in (ROOT / "fedlab").rglob("*.py")
        if path.name != "__init__.py"
    }
    return {name: _targets(path, files.keys()) - {name} for name, path in files.items()}


def _targets(path: Path, known: object) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name in known or not name.startswith("fedlab")}  # type: ignore[operator]


def test_there_is_no_circle() -> None:
    graph = {name: {t for t in targets if t in imports()} for name, targets in imports().items()}
    assert len(graph) > 300
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None


def test_methods_know_neither_the_engine_nor_ray_nor_files_of_runs() -> None:
    methods = [name for name in imports() if name.split(".")[1] in METHODS]
    assert len(methods) > 60
    wrong = [
        f"{name} imports {target}"
        for name in methods
        for target in imports()[name]
        if any(target == each or target.startswith(f"{each}.") for each in MACHINERY)
    ]
    assert wrong == []


def test_a_name_stands_for_one_module() -> None:
    """But for bases, specs, and the two halves of a method."""
    seen: dict[str, str] = {}
    twice = []
    for name in sorted(imports()):
        _, room, *_ = name.split(".")
        last = name.rpartition(".")[2]
        key = f"{room} {last}" if room == "clients" else last
        if last not in {"base", "spec", "__main__"} and seen.setdefault(key, name) != name:
            twice.append(f"{seen[key]} and {name}")
    assert twice == []


def test_every_module_stands_in_a_layer() -> None:
    """Import-linter checks the order of the listed modules, and nothing of the others."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (layers,) = (each["layers"] for each in contracts if each["type"] == "layers")
    layered = {name for layer in layers for name in re.split(r" [:|] ", layer)}
    missing = [n for n in imports() if not any(f"{n}.".startswith(f"{each}.") for each in layered)]
    assert missing == []
    assert not any(
        f"{name}.".startswith(f"{other}.") for name in layered for other in layered - {name}
    )


def test_no_test_module_imports_another() -> None:
    modules = sorted((ROOT / "tests").glob("test_*.py"))
    assert len(modules) > 80
    pattern = re.compile(r"^\s*(?:from|import) test_\w+", re.MULTILINE)
    assert [m.name for m in modules if pattern.search(m.read_text(encoding="utf-8"))] == []
    loose = {path.stem for path in (ROOT / "tests").glob("*.py")} - {m.stem for m in modules}
    assert loose == {"conftest"}, "helpers lie in tests/helpers"
