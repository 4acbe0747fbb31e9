"""A scenario of two domains of features that fits into milliseconds, for tests to break."""

from pathlib import Path

import numpy as np

TEXT = """\
# Two small tables. For tests.
name: tiny
rounds: 2
data:
  sources:
    - {name: npz, domain: north, path: north.npz}
    - {name: npz, domain: south, path: south.npz}
  root: ROOT
partition:
  clients: 4
  labels: {name: dirichlet, alpha: 0.5}
model: {name: mlp, hidden: [8], norm: none}
strategy: {name: fedprox, mu: 1e-3}
training: {batch_size: 10, optimizer: {lr: 0.05}}
resources: {backend: local}
output: {dir: ROOT/runs}
"""


def write_tiny(folder: Path, text: str = TEXT) -> Path:
    """Writes the scenario and its data into a folder; returns the scenario's file."""
    for shift, domain in enumerate(("north", "south")):
        random = np.random.default_rng(shift)
        labels = np.arange(90) % 3
        inputs = random.normal(size=(90, 5)) + labels[:, None] + shift
        np.savez(folder / f"{domain}.npz", x_train=inputs.astype(np.float32), y_train=labels)
    path = folder / "tiny.yaml"
    path.write_text(text.replace("ROOT", str(folder)))
    return path
