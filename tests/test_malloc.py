"""Freed memory stays with a process while it runs clients, and is returned between runs."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import numpy as np
from fedlab.engine.malloc import keep_freed_memory, return_freed_memory

def megabytes():
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1]) / 1024

keep_freed_memory()
before = megabytes()
blocks = [np.ones(2**20) for _ in range(40)]  # 8 MB each
last = np.ones(100)
del blocks
kept = megabytes() - before
return_freed_memory()
print(kept, megabytes() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="settings of glibc")
def test_freed_memory_is_kept_and_then_returned() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60
    )
    kept, left = map(float, done.stdout.split())
    assert kept > 250
    assert left < 100
