"""Values of a scenario and contents of files that are refused, each with the key and the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fedlab
from fedlab import InputError
from fedlab.config.ranges import read_range
from fedlab.data.load import load_data
from fedlab.scenario_file import load_scenario
from helpers.tiny_scenario import write_tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small scenario."""
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["partition.left_out_samples=[0]", "partition.label_proportions.bag_size=2"],
            "left_out_samples: a bag of which a sample is left out",
        ),
        (["partition.left_out_samples=[-1]"], "-1 is no index; indices start at 0"),
        (["partition.left_out_samples=[1, 1]"], "name each sample once"),
        (["data.target={name: regression, edges: [2, 1]}"], "edges have to ascend"),
        (["data.target={name: multi_label, frequent: ['02']}"], "a 0 or a 1 for each label"),
        (["data.target={name: multi_label, frequent: ['01', '1']}"], "a 0 or a 1 for each label"),
        (["evaluation.metrics=[accuracy, accuracy]"], "'accuracy' is there twice"),
        (["data.sources.0.owner_test=tester"], "owner_test without owner_train; name both"),
        (["partition.clients=many"], "'many' is no number of clients; write one, or natural"),
    ],
)
def test_values_that_cannot_be_meant(tiny: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_scenario(str(tiny), overrides)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ([], "has no value to choose from"),
        ({"log": [0, 1]}, "log: 0 has no logarithm; begin above 0"),
        ({"uniform": [2, 1]}, "from 2 to 1 is nothing; name the lower first"),
        ({"integers": [1, 2.5]}, r"needs two whole numbers, such as \[1, 8\]"),
        ({"uniform": [1]}, "needs two numbers"),
    ],
)
def test_ranges_without_values(written: object, message: str) -> None:
    with pytest.raises(InputError, match=f"space.yaml: own.fedprox.mu.*{message}"):
        read_range(written, "space.yaml: own.fedprox.mu")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"budget": 0}, "budget: 0 draws are none; give at least 1"),
        ({"tuning_seeds": 0}, "tuning_seeds: 0 is no number of seeds; give at least 1"),
    ],
)
def test_a_tuning_without_draws_or_seeds(
    tiny: Path, asked: dict[str, int], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        fedlab.tune(str(tiny), ["fedavg"], **{"budget": 1, **asked}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.jsonl", "[1]\n", "line 1 is no object"),
        ("rows.jsonl", "", "has no rows; add some or leave the file out"),
        ("rows.html", "<p>", r"ends with '\.html'; texts are read from"),
    ],
)
def test_files_without_texts(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    source = f"{{name: text, files: {{all: {name}}}, text: review, label: stars}}"
    with pytest.raises(InputError, match=message):
        load_data(load_scenario("smoke", _data(tmp_path, source)).data)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([[1.0, 2.0], "a text"], "are texts and lists of numbers; all must be of one kind"),
        ([[1.0, 2.0], [1.0]], "sample 1 of user 'u' has 1 number, and its sample 0 has 2"),
    ],
)
def test_users_of_leaf_with_unequal_samples(samples: list, message: str, tmp_path: Path) -> None:
    data = {"u": {"x": samples, "y": list(range(len(samples)))}}
    content = {"users": ["u"], "num_samples": [len(samples)], "user_data": data}
    (tmp_path / "all.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_data(load_scenario("smoke", _data(tmp_path, "{name: leaf, path: .}")).data)


def test_owners_of_arrays_for_another_number_of_samples(tmp_path: Path) -> None:
    for split, number in (("train", 6), ("test", 3)):
        np.save(tmp_path / f"x_{split}.npy", np.zeros((number, 2), np.float32))
        np.save(tmp_path / f"y_{split}.npy", np.arange(number) % 2)
        np.save(tmp_path / f"who_{split}.npy", np.arange(4))
    keys = [
        f"{a}_{b}: {c}_{b}.npy"
        for a, c in (("x", "x"), ("y", "y"), ("owner", "who"))
        for b in ("train", "test")
    ]
    source = f"{{name: npy, {', '.join(keys)}}}"
    with pytest.raises(InputError, match=r"owner_train has the shape \(4,\), and there are 6"):
        load_data(load_scenario("smoke", _data(tmp_path, source)).data)


def _data(root: Path, source: str) -> list[str]:
    return [f"data={{root: {root}, sources: [{source}]}}"]
