"""The software and hardware of a run: versions, devices, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from typing import Any

from fedlab import accelerator
from fedlab.version import version_of

PACKAGES = ("fedlab-sim", "torch", "torchvision", "flwr", "ray", "numpy", "pandas")

OID, NONE = "# branch.oid", "(initial)"
"""What git says before the commit, and in its place where there is none yet."""


def describe_environment() -> dict[str, Any]:
    """Everything outside the scenario that may affect results."""
    gpus = [accelerator.name_of(name) for name in accelerator.known() if name != "cpu"]
    return {
        "python": platform.python_version(),
        "packages": {package: version_of(package) for package in PACKAGES},
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpu_count": os.cpu_count(),
        "gpus": gpus,
        "git_commit": _commit(),
    }


def _commit() -> str | None:
    """Commit of the current folder's repository, with a plus if tracked files have changed."""
    ask = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = done.stdout.splitlines()
    commit = next((line.split()[2] for line in lines if line.startswith(OID)), NONE)
    changed = any(not line.startswith("#") for line in lines)
    return None if commit == NONE else commit + "+" * changed
