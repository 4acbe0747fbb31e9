"""The scenario `office_home_features` on a small tree of made images in the form of Office-Home."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fedlab
from fedlab import Scenario, load_scenario
from fedlab.preparation import prepare
from fedlab.runs.curves import learning_curves

DOMAINS = ("Art", "Clipart", "Product", "Real World")
CLASSES = 65
SIZE = 32


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`office_home` with all 65 classes, and `few` with six: GGEUR takes seconds a class."""
    folder = tmp_path_factory.mktemp("data")
    write_tree(folder / "office_home", CLASSES, each=6)
    write_tree(folder / "few", 6, each=10)
    return folder


def write_tree(folder: Path, classes: int, each: int) -> None:
    """A colour for each class, brighter from domain to domain, in the form of Office-Home."""
    colours = np.random.default_rng(0).integers(0, 160, (classes, 3))
    for index, domain in enumerate(DOMAINS):
        for label in range(classes):
            own = folder / domain / f"Class_{label:02d}"
            own.mkdir(parents=True)
            for number in range(each):
                pixels = np.zeros((8, 8, 3), np.uint8) + colours[label] + 25 * index + number
                Image.fromarray(pixels.astype(np.uint8)).save(own / f"{number:05d}.png")
    (folder / "ImageInfo.csv").write_text("as distributed\n")


def small(root: Path, *overrides: str) -> Scenario:
    return load_scenario(
        "office_home_features",
        [f"data.root={root}", f"data.image_size={SIZE}", "resources.backend=local", *overrides],
    )


def test_a_client_has_its_part_of_each_class_of_one_domain(root: Path) -> None:
    prepared = prepare(
        small(root, "data.features=none", "strategy=fedavg", "partition.labels.alpha=1")
    )
    data, partition = prepared.data, prepared.partition
    assert data.domain_names == DOMAINS
    assert len(data.class_names) == CLASSES
    assert np.bincount(data.test.domains).tolist() == [117] * 4  # 30 % of 390 images
    parts = np.zeros((4, CLASSES))
    for client in range(4):
        rows = partition[client].train
        assert set(data.train.domains[rows]) == {client}
        parts[client] = np.bincount(data.train.labels[rows], minlength=CLASSES)
    own = np.array([np.bincount(data.train.labels[data.train.domains == d]) for d in range(4)])
    # A class's shares over the four clients are one draw, and add up to 1.
    assert (parts / own).sum(axis=0).mean() == pytest.approx(1, abs=0.1)
    assert parts.sum() < 0.5 * own.sum()


@pytest.mark.slow
def test_the_scenario_trains_on_features(root: Path, tmp_path: Path) -> None:
    tree = ["data.sources.0.path=few", f"data.features.size={SIZE}"]
    short = ["rounds=5", "training.local_steps=20", "training.optimizer.lr=0.01"]
    run = fedlab.simulate(small(root, *tree, *short), out=tmp_path / "run", progress=False)
    assert run.scenario.strategy.name == "ggeur"
    assert run.model_state()["1.weight"].shape == (6, 1280)
    curves = learning_curves(run.history)
    assert list(curves.columns) == list(DOMAINS)
    assert list(curves.index) == [1, 2, 3, 4, 5]  # enough for accuracy:last_five
    assert curves.iloc[-1].mean() > 2 / 6
