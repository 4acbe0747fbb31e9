"""The software and hardware of a run: versions, devices, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fedlab import accelerator

PACKAGES = ("fedlab-sim", "torch", "torchvision", "flwr", "ray", "numpy", "pandas")


def describe_environment() -> dict[str, Any]:
    """Everything outside the scenario that may affect results."""
    gpus = [accelerator.name_of(name) for name in accelerator.known() if name != "cpu"]
    return {
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in PACKAGES},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpu_count": os.cpu_count(),
        "gpus": gpus,
        "git_commit": _commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the current folder's repository, with a plus if tracked files have changed."""
    try:
        commit = _git("rev-parse", "HEAD")
        return commit + "+" * bool(_git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
