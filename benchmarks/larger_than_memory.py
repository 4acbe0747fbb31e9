"""What samples that stay in their files cost: memory of every process, and time, beside in-memory.

    python -m benchmarks.larger_than_memory --gigabytes 2

Writes a set of images of that size (real bytes, as `.npy` files) and trains a few rounds on two Ray
actors, once with the files mapped and once with all samples in memory. Prints the largest memory of
its own of driver and actors (anonymous, and shared pages of Ray's store; not the page cache, which
is the machine's), the seconds of a round, and whether both histories have the same bytes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

SIZE, CHANNELS, BATCH = 64, 3, 4096


def write(folder: Path, gigabytes: float, owners: int) -> None:
    """Writes images, labels and owners; a piece at a time."""
    rows = int(gigabytes * 1e9 / (CHANNELS * SIZE * SIZE))
    random = np.random.default_rng(0)
    for name, number in (("", rows), ("test_", 1000)):
        shape = (number, CHANNELS, SIZE, SIZE)
        images = np.lib.format.open_memmap(folder / f"{name}x.npy", "w+", np.uint8, shape)
        labels = np.arange(number) % 10
        for start in range(0, number, BATCH):
            piece = images[start : start + BATCH]
            piece[:] = random.integers(0, 200, piece.shape, np.uint8)
            piece += 5 * labels[start : start + BATCH, None, None, None].astype(np.uint8)
        images.flush()
        np.save(folder / f"{name}y.npy", labels)
        np.save(folder / f"{name}o.npy", random.integers(0, owners, number))


def scenario(folder: Path, rounds: int) -> dict[str, Any]:
    """A small network on few of many owners."""
    names = {"x_train": "x", "y_train": "y", "x_test": "test_x", "y_test": "test_y"}
    names |= {"owner_train": "o", "owner_test": "test_o"}
    source = {"name": "npy", **{key: str(folder / f"{file}.npy") for key, file in names.items()}}
    return {
        "name": "larger_than_memory",
        "rounds": rounds,
        "data": {"sources": [source], "image_size": SIZE, "channels": CHANNELS},
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


def one(folder: Path, smallest: int, rounds: int) -> dict[str, Any]:
    """A run in a process of its own, where arrays from so many bytes on are mapped."""
    out = folder / f"run-{smallest}"
    words = json.dumps(scenario(folder, rounds))
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


def main() -> None:
    """Compares mapped files with samples in memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--owners", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="where to write; by default a temporary one")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        write(folder, chosen.gigabytes, chosen.owners)
        found = {
            "mapped": one(folder, 1, chosen.rounds),
            "in memory": one(folder, 2**62, chosen.rounds),
        }
    same = found["mapped"].pop("history") == found["in memory"].pop("history")
    for way, numbers in found.items():
        print(way, json.dumps(numbers))
    print("same history:", same)


if __name__ == "__main__":
    main()
