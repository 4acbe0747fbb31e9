"""What samples that stay in their files cost: memory of every process, and time, beside in-memory.

    python -m benchmarks.larger_than_memory --gigabytes 2
    python -m benchmarks.larger_than_memory --gigabytes 40 --only-mapped --folder /data

Writes images of that size (real bytes, as `.npy` files of several domains) and trains a few rounds
on two Ray actors: with the files mapped and, unless only that is asked for, once more with all
samples in memory. Prints the largest memory of its own of driver and actors (anonymous, and shared
pages of Ray's store; not the page cache, which is the machine's), the seconds of a round, and
whether both histories have the same bytes. Ends with 1 where a process takes more than `MOST_MB`,
mapped files take more than `MOST_TIMES` the time, or histories differ.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZE, CHANNELS, BATCH = 64, 3, 4096
TESTS = 1000

MOST_MB = 3000
"""Memory of its own that a process may take, in megabytes."""

MOST_TIMES = 1.3
"""How many times as long a round may take with mapped files, where the machine caches them."""


def write(folder: Path, gigabytes: float, owners: int, domains: int) -> None:
    """Writes images, labels and owners of each domain; a piece at a time."""
    rows = int(gigabytes * 1e9 / (CHANNELS * SIZE * SIZE)) // domains
    random = np.random.default_rng(0)
    for domain in range(domains):
        place = folder / f"d{domain}"
        place.mkdir()
        for name, number in (("", rows), ("test_", TESTS // domains)):
            shape = (number, CHANNELS, SIZE, SIZE)
            images = np.lib.format.open_memmap(place / f"{name}x.npy", "w+", np.uint8, shape)
            labels = np.arange(number) % 10
            for start in range(0, number, BATCH):
                piece = images[start : start + BATCH]
                piece[:] = random.integers(0, 200, piece.shape, np.uint8)
                piece += 5 * labels[start : start + BATCH, None, None, None].astype(np.uint8)
            images.flush()
            np.save(place / f"{name}y.npy", labels)
            own = domain + domains * random.integers(0, owners // domains, number)
            np.save(place / f"{name}o.npy", own)


def scenario(folder: Path, rounds: int, domains: int) -> dict[str, Any]:
    """A small network on few of many owners."""
    names = {"x_train": "x", "y_train": "y", "x_test": "test_x", "y_test": "test_y"}
    names |= {"owner_train": "o", "owner_test": "test_o"}
    sources = [
        {"name": "npy", **{key: str(folder / f"d{d}" / f"{f}.npy") for key, f in names.items()}}
        for d in range(domains)
    ]
    return {
        "name": "larger_than_memory",
        "rounds": rounds,
        "data": {"sources": sources, "image_size": SIZE, "channels": CHANNELS},
        "partition": {"clients": "natural"},
        "participation": {"fraction": 0.02},
        "model": {"name": "small_cnn", "norm": "group", "widths": [8, 8, 8]},
        "training": {"batch_size": 32, "optimizer": {"lr": 0.01}},
        "evaluation": {"every": rounds},
        "resources": {"actors": 2},
    }


def own_memory(pid: str) -> int:
    """Bytes that a process holds beyond the page cache of files: anonymous and shared memory."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    wanted = [line.split() for line in lines if line.startswith(("RssAnon", "RssShmem"))]
    return sum(1024 * int(words[1]) for words in wanted)


def watch(pid: int, most: dict[str, int], ended: threading.Event) -> None:
    """Keeps the largest memory of the driver and of each of its actors."""
    while not ended.wait(0.2):
        most["driver"] = max(most.get("driver", 0), own_memory(str(pid)))
        for each in Path("/proc").glob("[0-9]*"):
            try:
                title = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if title.startswith("ray::") and "Actor" in title:
                most["actors"] = max(most.get("actors", 0), own_memory(each.name))


def one(folder: Path, words: str, smallest: int) -> dict[str, Any]:
    """A run in a process of its own, where arrays from so many bytes on are mapped."""
    out = folder / f"run-{smallest}"
    code = (
        "import json, sys, fedlab; from fedlab.data import mapped; "
        f"mapped.SMALLEST = {smallest}; "
        "fedlab.simulate(json.loads(sys.argv[1]), out=sys.argv[2], progress=False)"
    )
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, words, str(out)])
    most: dict[str, int] = {}
    ended = threading.Event()
    watcher = threading.Thread(target=watch, args=(process.pid, most, ended))
    watcher.start()
    process.wait()
    ended.set()
    watcher.join()
    lines = (out / "timings.csv").read_text().splitlines()
    header = lines[0].split(",")
    rows = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
    train = [float(row["seconds"]) for row in rows if row["phase"] == "train"]
    return {
        **{f"{name}_mb": round(number / 1e6) for name, number in most.items()},
        "seconds_a_round": round(float(np.median(train)), 2),
        "seconds": round(time.perf_counter() - began, 1),
        "history": (out / "history.csv").read_bytes(),
    }


def faults(found: dict[str, dict[str, Any]]) -> list[str]:
    """What is more than it may be."""
    mapped = found["mapped"]
    said = [
        f"{name}: {mapped[name]} MB, more than {MOST_MB}"
        for name in ("driver_mb", "actors_mb")
        if mapped[name] > MOST_MB
    ]
    if "in memory" in found:
        beside = found["in memory"]
        times = mapped["seconds_a_round"] / beside["seconds_a_round"]
        print(f"a round takes {times:.2f} times as long as in memory")
        said += [f"more than {MOST_TIMES} times"] if times > MOST_TIMES else []
        said += ["histories differ"] if mapped["history"] != beside["history"] else []
    return said


def main() -> None:
    """Compares mapped files with samples in memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--owners", type=int, default=500)
    parser.add_argument("--domains", type=int, default=4)
    parser.add_argument("--only-mapped", action="store_true", help="not beside samples in memory")
    parser.add_argument("--folder", type=Path, help="where to write; by default a temporary one")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free / 1e9
        if free < chosen.gigabytes + 2:
            sys.exit(f"'{folder}' has {free:.1f} GB free; name another place with --folder")
        write(folder, chosen.gigabytes, chosen.owners, chosen.domains)
        words = json.dumps(scenario(folder, chosen.rounds, chosen.domains))
        found = {"mapped": one(folder, words, 1)}
        if not chosen.only_mapped:
            found["in memory"] = one(folder, words, 2**62)
    for way, numbers in found.items():
        print(way, json.dumps({k: v for k, v in numbers.items() if k != "history"}))
    sys.exit("; ".join(faults(found)) or 0)


if __name__ == "__main__":
    main()
