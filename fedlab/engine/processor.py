"""The processor of this machine, as far as the choice between equal ways of computing needs it."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

INTEL = "GenuineIntel"
CPUINFO = Path("/proc/cpuinfo")


@cache
def is_intel() -> bool:
    """Whether the processor is one of Intel's; false where the system does not say."""
    if CPUINFO.exists():
        with CPUINFO.open(encoding="utf-8", errors="replace") as lines:
            vendor = next((line for line in lines if line.startswith("vendor_id")), "")
    else:
        vendor = platform.processor()
    return INTEL in vendor
