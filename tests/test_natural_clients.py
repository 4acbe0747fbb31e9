"""Clients that are owners of the data, from the partition to the report."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedlab
from fedlab.data import FederatedData, Samples
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.errors import InputError
from fedlab.partition.partition import Partition, make_partition, refuse_untested
from fedlab.partition.spec import PartitionSpec
from fedlab.preparation import prepare

Run = Callable[..., tuple[int, str, str]]


def samples(owners: list[int], domains: list[int] | None = None) -> Samples:
    n = len(owners)
    where = np.array(domains if domains else [0] * n)
    return Samples(np.zeros((n, 1), np.float32), np.arange(n) % 2, where, np.array(owners))


def data(
    train: list[int], test: list[int], domains: list[int] | None = None, **more: Any
) -> FederatedData:
    """Owners a, b, c, ... with samples in the order given."""
    names = tuple("abcdefghij")[: max([*train, *test]) + 1]
    pools = samples(train, domains), samples(test, [0] * len(test))
    return FederatedData(
        *pools, ("north", "south")[: 1 + bool(domains)], ("0", "1"), (), owner_names=names, **more
    )


def divided(
    found: FederatedData, clients: Any = "natural", seed: int = 0, **more: Any
) -> Partition:
    spec = PartitionSpec.model_validate({"clients": clients, **more})
    return make_partition(spec, found, seed)


def test_every_owner_is_a_client_with_its_own_samples() -> None:
    partition = divided(data([0, 2, 1, 2, 0, 2], [2, 0, 2]))
    assert partition.names == ("a", "b", "c")
    assert [partition[k].train.tolist() for k in range(3)] == [[0, 4], [2], [1, 3, 5]]
    assert [partition[k].test.tolist() for k in range(3)] == [[1], [], [0, 2]]
    assert not len(partition.held_out)


def test_small_owners_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    clients = {"name": "natural", "min_samples": 2}
    partition = divided(data([0, 0, 1, 2, 2, 2], [0, 1, 2]), clients)
    assert partition.names == ("a", "c")
    assert "left out 1 of 3 owners, with 1 training samples" in caplog.text


def test_owners_are_drawn_by_seed() -> None:
    found = data([*range(10)] * 2, [*range(10)])
    clients = {"name": "natural", "limit": 4}
    drawn = {seed: divided(found, clients, seed).names for seed in range(5)}
    assert all(len(set(names)) == 4 and sorted(names) == list(names) for names in drawn.values())
    assert len(set(drawn.values())) > 1
    assert divided(found, clients, 3).names == drawn[3]


def test_owners_are_packed_into_clients() -> None:
    partition = divided(data([*range(10)] * 2, [*range(10)]), {"name": "natural", "group": 4})
    assert np.diff(partition.train_offsets).tolist() == [8, 8, 4]
    assert np.diff(partition.test_offsets).tolist() == [4, 4, 2]
    owners = [set((partition[k].train % 10).tolist()) for k in range(3)]
    assert set.union(*owners) == set(range(10))
    assert [name[1:] for name in partition.names] == [" and 3 more"] * 2 + [" and 1 more"]
    assert sorted(owners[0]) != [0, 1, 2, 3]


def test_owners_with_test_samples_alone_are_held_out(caplog: pytest.LogCaptureFixture) -> None:
    found = data([0, 0, 1, 1], [2, 2, 3])
    partition = divided(found)
    assert partition.names == ("a", "b", "c", "d")
    assert partition.held_out.tolist() == [2, 3]
    assert [len(partition[k].test) for k in range(4)] == [0, 0, 2, 1]
    assert "2 of 2 clients that train have no test sample" in caplog.text
    assert "owners with test samples alone are 2 held-out clients" in caplog.text
    without = divided(found, {"name": "natural", "new_owners": "left_out"})
    assert without.names == ("a", "b")
    with pytest.raises(InputError, match="no owner has a test sample"):
        refuse_untested(without, found)


def test_held_out_clients_are_drawn_among_owners_that_could_train() -> None:
    found = data([*range(8)] * 2, [8, 9])
    partition = divided(found, held_out_clients=0.25)
    assert len(partition.held_out) == 4
    assert partition.held_out.tolist()[2:] == [8, 9]
    with pytest.raises(InputError, match=r"partition\.held_out_clients: there is no client 9"):
        divided(found, held_out_clients=[9])


def test_an_owner_of_several_domains_is_one_client_or_one_in_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = data([0, 1, 0, 1], [0, 1], domains=[0, 0, 1, 0])
    assert divided(found).names == ("a", "b")
    assert "1 owners have samples in several domains ('a', for one)" in caplog.text
    apart = divided(found, {"name": "natural", "per_domain": True})
    assert apart.names == ("a in north", "a in south", "b in north")
    assert [apart[k].train.tolist() for k in range(3)] == [[0], [2], [1, 3]]
    divided(found, {"name": "natural", "per_domain": True, "min_samples": 2})
    assert "left out 2 of 3 pairs of owner and domain, with 2 training samples" in caplog.text


def test_other_skews_compose() -> None:
    found = data([0] * 10 + [1] * 20, [0, 1])
    noise = {"name": "symmetric", "rate": 1.0}
    partition = divided(
        found, quantity="equal", label_noise=noise, label_budget={"share": 0.5, "stratified": False}
    )
    assert np.diff(partition.train_offsets).tolist() == [10, 10]
    assert (partition.labels != found.train.labels[partition.train]).all()
    assert [partition[k].labelled.sum() for k in range(2)] == [5, 5]


@pytest.mark.parametrize(
    ("clients", "more", "said"),
    [
        ("natural", {"labels": {"name": "dirichlet", "alpha": 1}}, "partition.labels: 'dirichlet'"),
        ("natural", {"domains": "mixed"}, "partition.domains: 'mixed' deals samples out"),
        ("natural", {"quantity": {"name": "lognormal", "sigma": 1}}, "'lognormal' divides domains"),
        (
            "natural",
            {"quantity": {"name": "share_of_domain", "share": 0.1}},
            "'share_of_domain' divides",
        ),
        ({"name": "natural", "group": 4}, {}, "group: 4 owners a client are more than the 3 that"),
        ({"name": "natural", "limit": 4}, {}, "limit: 4 owners are more than the 3 that there are"),
        (
            {"name": "natural", "min_samples": 9},
            {},
            "9 leaves no client: the largest of 3 owners",
        ),
        ({"name": "natural", "limit": 0}, {}, "greater than 0"),
        ("nature", {}, "'nature' is no number of clients"),
        ({"name": "natural", "least": 3}, {}, "least"),
    ],
)
def test_what_cannot_be_is_refused(clients: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises((InputError, ValueError), match=said):
        divided(data([0, 1, 2, 2, 2], [0]), clients, **more)


def test_data_without_owners_are_refused() -> None:
    found = data([0, 1], [0])
    empty = FederatedData(
        Samples(found.train.inputs, found.train.labels, found.train.domains),
        found.test,
        ("north",),
        ("0", "1"),
    )
    with pytest.raises(InputError, match="no source says whose samples are"):
        divided(empty)
    some = data([0, -1], [0])
    with pytest.raises(InputError, match="the samples of domain 'north' have none"):
        divided(some)


@pytest.mark.slow
def test_a_million_owners_are_divided() -> None:
    random, number = np.random.default_rng(0), 1_000_000
    owners = np.concatenate([np.arange(number), random.integers(0, number, 2 * number)])
    train = Samples(np.zeros((len(owners), 1), np.float32), owners % 2, owners * 0, owners)
    names = tuple(map(str, range(number)))
    found = FederatedData(train, train, ("one",), ("0", "1"), owner_names=names)
    partition = divided(found, {"name": "natural", "min_samples": 2, "group": 3})
    sizes = np.bincount(owners)
    assert len(partition.train) == sizes[sizes >= 2].sum()


# Whole runs

TABLES = """\
name: patients
rounds: 2
data:
  root: {root}
  sources:
    - {{name: csv, files: {{clinic: clinic.csv}}, owner: patient{split}}}
partition: {{clients: natural}}
model: {{name: linear}}
training: {{batch_size: 8, optimizer: {{lr: 0.1}}}}
resources: {{backend: {backend}}}
"""


def clinic(folder: Path, backend: str = "local", split: str = "") -> Path:
    lines = ["patient,x,z,sick"]
    for row in range(120):
        lines.append(f"p{row % 6},{row % 7},{(row // 6) % 2 + 0.1 * (row % 3)},{(row // 6) % 2}")
    (folder / "clinic.csv").write_text("\n".join(lines) + "\n")
    file = folder / "patients.yaml"
    file.write_text(TABLES.format(root=folder, backend=backend, split=split))
    return file


def test_a_run_keeps_the_words_and_knows_the_number(tmp_path: Path) -> None:
    file = clinic(tmp_path)
    prepared = prepare(fedlab.load_scenario(file))
    assert prepared.scenario.partition.number_of_clients == 6
    assert prepared.scenario.cohort_size == 6
    run = fedlab.simulate(file, out=tmp_path / "run", progress=False)
    assert "clients:\n    name: natural" in (tmp_path / "run" / "scenario.yaml").read_text()
    assert run.counted.partition.number_of_clients == 6
    tested = run.history[(run.history["split"] == "test") & (run.history["client"] >= 0)]
    assert sorted(tested["client"].unique()) == list(range(6))
    with pytest.raises(InputError, match="clients go from 0 to 5"):
        run.model_state(6)


@pytest.mark.slow
def test_a_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    file = clinic(tmp_path)
    fedlab.simulate(file, out=tmp_path / "whole", rounds=3, progress=False)
    fedlab.simulate(file, out=tmp_path / "parts", rounds=1, progress=False)
    fedlab.resume(tmp_path / "parts", ["rounds=3"], progress=False)
    whole, parts = ((tmp_path / name / "history.csv").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


@pytest.mark.slow
def test_ray_and_one_process_agree(tmp_path: Path, ray_here: None) -> None:
    file = clinic(tmp_path)
    runs = [
        fedlab.simulate(
            file, [f"resources.backend={backend}"], out=tmp_path / backend, progress=False
        )
        for backend in ("local", "ray")
    ]
    one, other = ((run.folder / "history.csv").read_bytes() for run in runs)
    assert one == other


def test_test_owners_are_new_clients(tmp_path: Path) -> None:
    file = clinic(tmp_path, split=", split: by_owner, test_share: 0.34")
    run = fedlab.simulate(file, out=tmp_path / "run", progress=False)
    tested = run.history[run.history["split"] == "held_out"]
    assert sorted(tested["client"].unique()) == [4, 5]
    assert not (run.history["split"] == "test").any() or run.summary() is not None
    with pytest.raises(InputError, match=r"evaluation\.adapt_steps"):
        prepare(
            fedlab.load_scenario(
                file, ["evaluation.adapt_steps=1", "partition.held_out_clients=0.25"]
            )
        )


def test_tables_name_owners_unless_they_are_hidden(tmp_path: Path, run: Run) -> None:
    file = clinic(tmp_path)
    words = ("partition", file, "--table", tmp_path / "t.csv", "--out", tmp_path / "p.png")
    code, shown, _ = run(*words)
    assert code == 0
    assert "p3" in shown
    with (tmp_path / "t.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert {(row["client"], row["owner"]) for row in rows} == {(str(k), f"p{k}") for k in range(6)}
    code, shown, _ = run(*words, "output.owner_names=false")
    assert code == 0
    assert "p3" not in shown
    assert "owner 3" in shown
    assert "p3" not in (tmp_path / "t.csv").read_text()


def test_shares_of_clients_are_checked_when_they_are_counted(tmp_path: Path) -> None:
    file = clinic(tmp_path)
    with pytest.raises(InputError, match=r"fraction 0\.01 of 6 clients samples no client"):
        prepare(fedlab.load_scenario(file, ["participation.fraction=0.01"]))
    with pytest.raises(InputError, match="is known when the data have been loaded"):
        fedlab.load_scenario(file).cohort_size  # noqa: B018


def test_devices_are_owners_already(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="natural counts owners where all data are"):
        setup_of(fedlab.load_scenario(clinic(tmp_path)), ["0", "1"])


@pytest.mark.slow
def test_a_report_names_owners(tmp_path: Path, run: Run) -> None:
    fedlab.simulate(clinic(tmp_path), out=tmp_path / "run", progress=False)
    code, _, said = run("report", tmp_path / "run", "-o", tmp_path / "page.html")
    assert code == 0, said
    page = (tmp_path / "page.html").read_text()
    assert "6 owners of the data" in page
    assert "p3" in page


def test_a_comparison_counts_owners(tmp_path: Path, run: Run) -> None:
    code, _, said = run("compare", clinic(tmp_path), "--seeds", 1, "--out", tmp_path / "c")
    assert code == 0, said
