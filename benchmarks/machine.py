"""The machine that figures were taken on."""

from __future__ import annotations

import os
import platform
import re
import time
from importlib import metadata
from pathlib import Path


def kind() -> str:
    """A short name for files, such as ``2-cores`` or ``nvidia-h200``."""
    import torch

    if torch.cuda.is_available():
        return re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")
    return f"{cores()}-cores"


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0))


def description() -> str:
    """Processor, memory and GPU in one line."""
    import torch

    model, gigabytes = platform.processor() or platform.machine(), 0.0
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            gigabytes = int(line.split()[1]) / 2**20
    instructions = "AVX-512, " if any("avx512f" in line for line in _lines("/proc/cpuinfo")) else ""
    if asked := os.environ.get("ATEN_CPU_CAPABILITY"):
        instructions += f"held to {asked.upper()}, "
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{model}, {instructions}{cores()} cores, {gigabytes:.0f} GB{gpu}"


def arithmetic() -> str:
    """What last digits depend on: cores or GPU, the processor's make and vectors, PyTorch."""
    import torch

    cpu = "\n".join(_lines("/proc/cpuinfo"))
    makes = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}
    make = next((name for vendor, name in makes.items() if vendor in cpu), platform.machine())
    vectors = torch.backends.cpu.get_cpu_capability()
    return f"{kind()}, {make} {vectors}, torch {torch.__version__.partition('+')[0]}"


def busy(seconds: float = 0.5) -> float:
    """The share of all CPU time that any process uses; 0 where it is unknown."""

    def times() -> tuple[int, int]:
        for line in _lines("/proc/stat")[:1]:
            fields = [int(text) for text in line.split()[1:9]]
            return sum(fields), fields[3] + fields[4]
        return 0, 0

    before = times()
    time.sleep(seconds)
    total, idle = (now - then for now, then in zip(times(), before, strict=True))
    return 1 - idle / total if total else 0.0


def versions(*packages: str) -> dict[str, str]:
    """Versions of Python and of packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
