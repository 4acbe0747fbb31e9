"""What composes with clients that are owners, and what is refused before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlab
from fedlab.errors import InputError
from fedlab.partition.partition import Partition

PATIENTS = 12
SIZES = [12 + 4 * patient for patient in range(PATIENTS)]
"""Rows of each patient, of which a fifth is tested."""


def hospitals(folder: Path, **source: Any) -> Path:
    """A table of patients of two hospitals, and a scenario of it."""
    random = np.random.default_rng(0)
    lines = ["patient,hospital,age,dose,kind"]
    for patient, size in enumerate(SIZES):
        for row in range(size):
            kind = row % 3
            cells = (f"p{patient:02}", ("south", "north")[patient % 2], 40 + 5 * kind)
            lines.append(",".join(map(str, (*cells, round(random.normal(kind), 3), "abc"[kind]))))
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    table = {"name": "csv", "files": {"all": "table.csv"}, "domain_column": "hospital"}
    scenario = {
        "name": "hospitals",
        "rounds": 1,
        "data": {"root": str(folder), "sources": [table | {"owner": "patient"} | source]},
        "partition": {"clients": "natural"},
        "model": {"name": "linear"},
        "training": {"batch_size": 8},
        "resources": {"backend": "local"},
    }
    file = folder / "hospitals.yaml"
    file.write_text(json.dumps(scenario))
    return file


def divided(folder: Path, *words: str, **source: Any) -> Partition:
    return fedlab.prepare(fedlab.load_scenario(hospitals(folder, **source), list(words))).partition


def sizes(partition: Partition) -> list[int]:
    return np.diff(partition.train_offsets).tolist()


@pytest.mark.parametrize(
    "words",
    [
        ["partition.label_noise={name: symmetric, rate: 0.3}"],
        ["partition.label_noise={name: pair, rate: [0.1, 0.5], clients_share: 0.5}"],
        ["partition.label_budget.share=0.2"],
        ["partition.label_budget={share: 0.2, stratified: false}"],
        ["partition.label_proportions={bag_size: 4}"],
        ["partition.known_label=client"],
        ["partition.held_out_clients=0.25"],
    ],
)
def test_skews_that_leave_samples_with_their_owners_compose(
    tmp_path: Path, words: list[str]
) -> None:
    plain, skewed = divided(tmp_path), divided(tmp_path, *words)
    assert sizes(skewed) == sizes(plain)
    assert skewed.names == plain.names == tuple(f"p{patient:02}" for patient in range(PATIENTS))
    assert (skewed.train == plain.train).all()
    hidden = len(skewed.bags) or not skewed.labelled.all()
    assert hidden or len(skewed.held_out) or (skewed.labels != plain.labels).any()


def test_domains_choose_whose_samples_there_are(tmp_path: Path) -> None:
    south = divided(tmp_path, "data.domains=[south]")
    unseen = divided(tmp_path, "data.unseen_domains=[north]")
    assert south.names == unseen.names == tuple(f"p{each:02}" for each in range(0, PATIENTS, 2))


def test_all_at_once(tmp_path: Path) -> None:
    partition = divided(
        tmp_path,
        "partition.clients={name: natural, group: 3, max_samples: 30}",
        "partition.quantity=equal",
        "partition.label_budget.share=0.2",
        "partition.label_noise={name: symmetric, rate: 0.3}",
        "partition.held_out_clients=0.25",
        "evaluation.validation=0.2",
    )
    assert len(partition) == 4
    assert len(partition.held_out) == 1
    assert len(set(sizes(partition))) == 1
    assert len(partition.validation)
    assert partition.labelled.mean() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("partition.labels={name: dirichlet, alpha: 0.5}", "labels: 'dirichlet' deals samples out"),
        ("partition.labels={name: shards, per_client: 2}", "leave partition.labels out, or give"),
        (
            "partition.domains=mixed",
            "(with an owner such as a hospital as the source's domain",
        ),
        (
            "partition.domains={name: one_per_client, clients_per_domain: random}",
            "leave partition.domains out, or give partition.clients a number",
        ),
        ("partition.quantity={name: power_law, exponent: 1}", "'power_law' divides domains"),
        ("partition.quantity={name: lognormal, sigma: 1}", "'lognormal' divides domains"),
        ("partition.quantity={name: dirichlet, alpha: 1}", "'dirichlet' divides domains"),
        (
            "partition.quantity={name: share_of_domain, share: 0.1}",
            "use natural, equal, or max_samples of partition.clients, or give partition.clients a",
        ),
        (
            "partition.quantity={name: equal, samples_per_client: 30}",
            "left out by partition.clients.min_samples=30",
        ),
        (
            "partition.clients={name: natural, min_samples: 9, max_samples: 8}",
            "max_samples 8 are fewer than the min_samples 9 that an owner needs",
        ),
    ],
)
def test_what_would_be_drawn_is_refused_in_one_line(tmp_path: Path, words: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        divided(tmp_path, words)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_remedies_remedy(tmp_path: Path) -> None:
    equal = divided(
        tmp_path,
        "partition.quantity={name: equal, samples_per_client: 30}",
        "partition.clients={name: natural, min_samples: 30}",
    )
    assert set(sizes(equal)) == {30}
    dealt = divided(
        tmp_path,
        "partition.labels={name: dirichlet, alpha: 0.5}",
        "partition.clients=4",
        owner=None,
        ignore="patient",
    )
    assert len(dealt) == 4
    assert dealt.names == ()


def test_owners_give_so_many_samples_at_most(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = divided(tmp_path)
    words = ["partition.clients={name: natural, max_samples: 25}"]
    capped = divided(tmp_path, *words)
    assert sizes(capped) == [min(size, 25) for size in sizes(plain)]
    assert (capped.test == plain.test).all()
    assert np.isin(capped.train, plain.train).all()
    assert (capped.train == divided(tmp_path, *words).train).all()
    assert (capped.train != divided(tmp_path, *words, "seed=1").train).any()
    more = [size - 25 for size in sizes(plain) if size > 25]
    said = f"max_samples: {len(more)} of 12 owners have more, and {sum(more)} of their training"
    assert said in caplog.text
    packed = divided(tmp_path, "partition.clients={name: natural, max_samples: 10, group: 12}")
    assert sizes(packed) == [sum(min(size, 10) for size in sizes(plain))]


def test_pixels_of_made_domains(tmp_path: Path) -> None:
    arrays = {
        "x_train": np.full((40, 4, 4), 100, np.uint8),
        "y_train": np.arange(40) % 2,
        "writer": np.arange(40) // 4 % 5,
        "x_test": np.full((20, 4, 4), 100, np.uint8),
        "y_test": np.arange(20) % 2,
        "tester": np.arange(20) // 2 % 5,
    }
    np.savez(tmp_path / "a.npz", **arrays)
    made = [{"name": "plain"}, {"name": "dark", "transforms": ["invert"]}]
    source = {"name": "npz", "files": {"a": "a.npz"}, "make_domains": made}
    source |= {"owner_train": "writer", "owner_test": "tester"}
    scenario = json.loads(hospitals(tmp_path).read_text())
    scenario["data"] |= {"sources": [source], "image_size": 4, "channels": 1}
    file = tmp_path / "pixels.yaml"
    file.write_text(json.dumps(scenario))
    whole = fedlab.prepare(fedlab.load_scenario(file))
    assert whole.partition.names == tuple("01234")
    pixels = np.asarray(whole.data.train.inputs[:])[whole.partition[0].train]
    assert set(pixels.ravel().tolist()) == {100, 155}
    words = ["partition.clients={name: natural, per_domain: true}"]
    apart = fedlab.prepare(fedlab.load_scenario(file, words)).partition
    assert apart.names[:2] == ("0 in plain", "0 in dark")
