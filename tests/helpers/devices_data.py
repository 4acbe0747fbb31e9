"""Experiments of two small domains in a file each, for devices that learn from more than images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas

from helpers import shapes

DOMAINS = ("north", "south")
CASES = ("multi_label", "regression", "series", "ids", "text", "parquet")
LENGTH = 6
NETWORKS: dict[str, dict[str, Any]] = {
    "series": {"name": "gru", "width": 6},
    "ids": {"name": "transformer", "width": 8, "layers": 1, "heads": 2},
    "text": {"name": "text_mean", "width": 4},
}
NUMBERS = {"normalisation": {"mean": 0.0, "std": 1.0}}


def write_case(case: str, folder: Path, **changes: Any) -> tuple[Path, dict[str, Path]]:
    """Writes the scenario ``four.yaml`` and each domain's file; gives their places.

    Args:
        case: One of `CASES`, or ``classes`` of a table.
        folder: Where.
        changes: Blocks of the scenario that are to be others.
    """
    suffix = {"text": "jsonl", "parquet": "parquet"}.get(case, "npz")
    files = {domain: folder / f"{domain}.{suffix}" for domain in DOMAINS}
    for index, path in enumerate(files.values()):
        _write(case, path, np.random.default_rng(index), index)
    source: dict[str, Any] = {"name": "npz", "files": {d: str(f) for d, f in files.items()}}
    data: dict[str, Any] = {"sources": [source], **NUMBERS}
    if case == "series":
        data["inputs"] = "numbers"
    elif case == "ids":
        ids = {"vocabulary": shapes.VOCABULARY, "pad": 0, "length": LENGTH}
        data = {"sources": [source], "inputs": "ids", "ids": ids}
    elif case == "text":
        source |= {"name": "text", "tokenizer": "bytes", "length": 24}
        data = {"sources": [source]}
    elif case == "parquet":
        tables = [{"name": "parquet", "domain": d, "train": str(f)} for d, f in files.items()]
        data = {"sources": tables, **NUMBERS}
    elif case == "multi_label":
        data["target"] = case
    elif case == "regression":
        # Few bins, so that the bin of every test sample has training samples and a client.
        data["target"] = {"name": "regression", "bins": 2}
    fields = {
        "name": case.replace("_", "-"),
        "rounds": 2,
        "data": data,
        "partition": {"clients": 2},
        "model": NETWORKS.get(case, {"name": "mlp", "hidden": [8]}),
        "strategy": "fedper",  # whose clients are tested apart from one another, as on devices
        "training": {"batch_size": 8, "optimizer": {"lr": 0.05}},
        "engine": {"execution": "sequential", "dense_layers": "dense"},  # as on a device
        "evaluation": {"validation": 0.2},
        "resources": {"backend": "local"},
    }
    (folder / "four.yaml").write_text(json.dumps(fields | changes))
    return folder / "four.yaml", files


def _write(case: str, path: Path, generator: np.random.Generator, index: int) -> None:
    """One domain's file."""
    if case == "text":
        words = [("good", "fine"), ("bad", "dull")]
        rows = [
            {"text": f"a {words[k % 2][k % 4 // 2]} film, {k + index}", "label": words[k % 2][0]}
            for k in range(40)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    if case == "parquet":
        table = pandas.DataFrame(generator.normal(index, 1, (40, 3)), columns=[*"abc"])
        table["label"] = np.where(table["a"] > table["b"], "yes", "no")
        table.to_parquet(path)
        return
    splits = {}
    for split, count in (("train", 40), ("test", 20)):
        if case == "ids":
            inputs = generator.integers(1, shapes.VOCABULARY, (count, LENGTH))
            inputs[np.arange(LENGTH) >= generator.integers(2, LENGTH + 1, (count, 1))] = 0
            labels = (inputs[:, 0] > shapes.VOCABULARY / 2).astype(np.int64)
        else:
            size = (count, 2, 9) if case == "series" else (count, 5)
            inputs = generator.normal(index, 1, size).astype(np.float32)
            sums = inputs.reshape(count, -1)[:, :3].astype(np.float64)
            labels = {
                "multi_label": (sums > index).astype(np.uint8),
                "regression": 100 + 5 * sums[:, :2],
            }.get(case, (sums.sum(1) > 3 * index).astype(np.int64))
        splits |= {f"x_{split}": inputs, f"y_{split}": labels}
    np.savez(path, **splits)
