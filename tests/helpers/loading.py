"""What the tests of the data sources share."""

from pathlib import Path

import numpy as np

from fedlab.data.load import load_data
from fedlab.data.samples import FederatedData
from fedlab.data.spec import DataSpec


def load(root: Path, *sources: dict, **fields) -> FederatedData:
    fields = {"image_size": 8, "channels": 3, "root": root, **fields}
    return load_data(DataSpec.model_validate({"sources": sources, **fields}))


def of(data: FederatedData, domain: str, split: str = "train") -> np.ndarray:
    samples = data.train if split == "train" else data.test
    return samples.inputs[samples.domains == data.domain_names.index(domain)]


def numbers(count: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(count)
    return generator.integers(0, 256, (count, *shape), np.uint8), np.arange(count) % 3
