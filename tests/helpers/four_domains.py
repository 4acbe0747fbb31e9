"""Four small domains of images in a file each, and a scenario over them, for tests of devices."""

from pathlib import Path

import numpy as np

DOMAINS = ("north", "south", "east", "west")
CLASSES = 4
TEXT = """\
# Four devices, four looks. For tests.
name: four
rounds: 3
data:
  sources:
    - {name: npz, domain: north, path: north.npz}
    - {name: npz, domain: south, path: south.npz}
    - {name: npz, domain: east, path: east.npz}
    - {name: npz, domain: west, path: west.npz}
  root: ROOT
  image_size: 8
partition: {clients: 4}
model: small_cnn
strategy: fedbn
training: {batch_size: 16, optimizer: {lr: 0.05}}
engine: {execution: sequential}  # as on a device, where there is one client
evaluation: {metrics: [accuracy, loss, f1, ece, auroc, brier, confusion], validation: 0.2}
resources: {backend: local}
"""


def write_four(folder: Path, text: str = TEXT) -> Path:
    """Writes the scenario and its data into a folder; returns the scenario's file."""
    for index, domain in enumerate(DOMAINS):
        random = np.random.default_rng(index)
        arrays = {}
        for split, count in (("train", 40), ("test", 20)):
            labels = np.arange(count) % CLASSES
            images = random.normal(70 + 30 * index, 20, (count, 3, 8, 8))
            for image, label in zip(images, labels, strict=True):
                image[:, :, 2 * label : 2 * label + 2] += 90 - 40 * index
            arrays |= {f"x_{split}": images.clip(0, 255).astype(np.uint8), f"y_{split}": labels}
        np.savez(folder / f"{domain}.npz", **arrays)
    path = folder / "four.yaml"
    path.write_text(text.replace("ROOT", str(folder)))
    return path
