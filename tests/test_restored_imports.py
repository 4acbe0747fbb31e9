"""A module of one test's folder is not found by the next test."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import imports

NET = """
from torch import nn


def net(num_classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))
"""


def test_the_command_line_leaves_neither_folder_nor_module(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net_of_one_test.py").write_text(NET)
    before = sys.path[:]
    with imports.restored(tmp_path.parent):
        code, _, errors = run("show", "net_of_one_test:net")
        assert (code, errors) == (0, "")
        assert str(tmp_path) in sys.path
        assert "net_of_one_test" in sys.modules
    assert sys.path == before
    assert "net_of_one_test" not in sys.modules


def test_modules_of_a_folder_that_stays_on_the_path_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_of_a_fixture.py").write_text("number = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    with imports.restored(tmp_path.parent):
        module = importlib.import_module("module_of_a_fixture")
    assert sys.modules["module_of_a_fixture"] is module
