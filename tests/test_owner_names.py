"""Owners' names wherever a single client of a run is named, and where they are hidden."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

import fedlab
from fedlab.comparison.comparison import Comparison
from fedlab.errors import InputError

Run = Callable[..., tuple[int, str, str]]

LONG = "patient-of-the-eye-clinic-in-the-north-0017"
NAMES = ("ann", "[red]ben", "cleo", LONG)

SCENARIO = """\
name: patients
rounds: 1
data:
  root: {root}
  sources:
    - {{name: csv, files: {{clinic: clinic.csv}}, owner: patient}}
partition: {{clients: natural}}
model: {{name: linear}}
training: {{batch_size: 8, optimizer: {{lr: 0.5}}}}
resources: {{backend: local}}
"""


def clinic(folder: Path, wrong: str = "ann", names: tuple[str, ...] = NAMES) -> Path:
    """A table of which one owner's labels are the others' turned over, so that it is the worst."""
    lines = ["patient,x,z,sick"]
    for row in range(40 * len(names)):
        name, sick = names[row % len(names)], (row // len(names)) % 2
        lines.append(f"{name},{sick + 0.01 * (row % 9)},{row % 7},{sick ^ (name == wrong)}")
    (folder / "clinic.csv").write_text("\n".join(lines) + "\n")
    file = folder / "patients.yaml"
    file.write_text(SCENARIO.format(root=folder))
    return file


def worst(shown: str) -> str:
    """The worst client's line of a closing table, lines that were folded joined."""
    lines = " ".join(shown.split())
    return lines[lines.index("worst client") :].split(")")[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ann", "(client 1, ann, clinic"),
        ("[red]ben", "(client 0, [red]ben, clinic"),
        (LONG, "(client 3, patient-of-the-…rth-0017, clinic"),
    ],
)
def test_the_closing_table_names_the_owner(tmp_path: Path, run: Run, name: str, said: str) -> None:
    file = clinic(tmp_path, name)
    code, shown, _ = run("simulate", file, "--out", tmp_path / "run")
    assert code == 0
    assert said in worst(shown)


def test_hidden_names_are_numbers(tmp_path: Path, run: Run) -> None:
    file = clinic(tmp_path)
    code, shown, _ = run("simulate", file, "output.owner_names=false", "--out", tmp_path / "run")
    assert code == 0
    assert "(client 1, clinic" in worst(shown)
    code, shown, _ = run("personalise", tmp_path / "run", "--steps", 1)
    assert code == 0
    assert "ann" not in shown
    assert "owner" not in shown


def test_a_resumed_run_names_and_hides_them(tmp_path: Path, run: Run) -> None:
    file, folder = clinic(tmp_path), tmp_path / "run"
    assert run("simulate", file, "--out", folder)[0] == 0
    code, shown, _ = run("resume", folder, "rounds=2")
    assert code == 0
    assert "(client 1, ann, clinic" in worst(shown)
    code, shown, _ = run("resume", folder, "rounds=3", "output.owner_names=false")
    assert code == 0
    assert "(client 1, clinic" in worst(shown)
    assert "ann" not in (folder / "partition.csv").read_text()
    code, shown, _ = run("resume", folder, "rounds=4", "output.owner_names=true")
    assert code == 0
    assert "(client 1, ann, clinic" in worst(shown)


def test_personalised_clients_have_their_owners_names(tmp_path: Path, run: Run) -> None:
    fedlab.simulate(clinic(tmp_path), out=tmp_path / "run", progress=False)
    code, shown, _ = run(
        "personalise", tmp_path / "run", "--steps", 1, "--out", tmp_path / "table.csv"
    )
    assert code == 0
    assert "[red]ben" in shown
    assert "patient-of-the-…rth-0017" in shown
    with (tmp_path / "table.csv").open() as table:
        rows = [(row["client"], row["owner"]) for row in csv.DictReader(table)]
    assert rows == [("0", "[red]ben"), ("1", "ann"), ("2", "cleo"), ("3", LONG)]
    code, shown, _ = run("personalise", tmp_path / "run", "--steps", 1, "--domain", "clinic")
    assert code == 0
    assert "owner" not in shown


def test_an_audit_names_them(tmp_path: Path, run: Run) -> None:
    fedlab.simulate(clinic(tmp_path), out=tmp_path / "run", progress=False)
    code, shown, _ = run("audit", tmp_path / "run", "--out", tmp_path / "audit.csv")
    assert code == 0
    assert "[red]ben" in shown
    with (tmp_path / "audit.csv").open() as table:
        found = {(row["client"], row["owner"]) for row in csv.DictReader(table)}
    assert found == {(str(client), name) for client, name in enumerate(sorted(NAMES))}


def test_discovered_classes_are_of_named_clients(tmp_path: Path, run: Run) -> None:
    file, folder, table = clinic(tmp_path), tmp_path / "run", tmp_path / "shares.csv"
    fedlab.simulate(file, ["partition.known_label=client"], out=folder, progress=False)
    code, _, said = run("discover", folder, "--classes", 2, "--priors", table)
    assert code == 0, said
    with table.open() as rows:
        found = {(row["client"], row["owner"]) for row in csv.DictReader(rows)}
    assert found == {(str(client), name) for client, name in enumerate(sorted(NAMES))}


def test_page_and_notebook_name_them(tmp_path: Path, run: Run) -> None:
    made = fedlab.simulate(clinic(tmp_path, "[red]ben"), out=tmp_path / "run", progress=False)
    assert "(client 0, [red]ben, clinic)" in made._repr_html_()
    assert made.client_label(3) == "client 3, patient-of-the-…rth-0017"
    assert run("report", tmp_path / "run", "-o", tmp_path / "page.html")[0] == 0
    page = (tmp_path / "page.html").read_text()
    assert "client 1, ann (clinic): " in page
    comparison = Comparison.of([tmp_path / "run"])
    assert comparison.runs[0].client_names == dict(enumerate(sorted(NAMES)))


def test_other_runs_have_numbers(tmp_path: Path) -> None:
    file = clinic(tmp_path)
    counted = fedlab.simulate(
        file, ["partition.clients=3"], out=tmp_path / "counted", progress=False
    )
    assert counted.client_names == {}
    pooled = fedlab.simulate(
        file, ["strategy=centralised"], out=tmp_path / "pooled", progress=False
    )
    assert pooled.client_label(0) == "client 0"
    held = fedlab.simulate(
        file,
        ["strategy=centralised", "partition.held_out_clients=[2]"],
        out=tmp_path / "held",
        progress=False,
    )
    assert [held.client_label(client) for client in (0, 1)] == ["client 0", "client 1, cleo"]


@pytest.mark.parametrize(
    "clients",
    [
        "{name: natural, group: 3}",
        "{name: natural, per_domain: true}",
        "{name: natural, per_domain: true, group: 2}",
    ],
)
def test_a_run_calls_clients_as_its_partition_does(tmp_path: Path, clients: str) -> None:
    file = clinic(tmp_path, names=("10", "9", "2", "7", "1"))
    sites = [("site", *["north", "south"] * 100)[row] for row in range(201)]
    table = tmp_path / "clinic.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(f"{site},{line}" for site, line in zip(sites, lines, strict=True)))
    words = [f"partition.clients={clients}", "data.sources.0.domain_column=site"]
    made = fedlab.simulate(file, words, out=tmp_path / "run", progress=False)
    partition = fedlab.prepare(made.scenario).partition
    assert made.client_names == dict(enumerate(partition.names))
    assert len(set(partition.names)) == len(partition) > 1


def test_samples_without_owner_do_not_change_the_order_of_names(tmp_path: Path) -> None:
    file = clinic(tmp_path, names=("10", "9", "2", "7"))
    lines = [f"{row % 5},{row % 7},{row % 2}" for row in range(20)]
    (tmp_path / "other.csv").write_text("x,z,sick\n" + "\n".join(lines) + "\n")
    other = "  unseen_domains: [other]\n  sources:\n    - {name: csv, files: {other: other.csv}}\n"
    file.write_text(file.read_text().replace("  sources:\n", other))
    words = ["partition.clients={name: natural, group: 4}"]
    made = fedlab.simulate(file, words, out=tmp_path / "run", progress=False)
    assert ",other,0,0,yes,\n" in (tmp_path / "run" / "partition.csv").read_text()
    assert made.client_names == {0: "2 and 3 more"}


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    made = fedlab.simulate(clinic(tmp_path), out=tmp_path / "run", progress=False)
    table = tmp_path / "run" / "partition.csv"
    table.write_text(table.read_text().replace(",1,clinic,", ",one,clinic,"))
    with pytest.raises(InputError, match=r"partition\.csv: is not as `fedlab simulate` writes it"):
        made.client_label(0)
    table.unlink()
    assert fedlab.load_run(tmp_path / "run").client_label(0) == "client 0"


def test_warnings_before_training_name_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = clinic(tmp_path)
    with (tmp_path / "clinic.csv").open("a") as table:
        table.write("dora,1.0,1,1\ndora,0.0,1,0\n")
    fedlab.prepare(fedlab.load_scenario(file, ["evaluation.validation=0.3"]))
    assert "(client 3, dora, for one)" in caplog.text


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("ann", "Ann", " ann"), "a pair of owners differs in the spelling of their names alone"),
        (("ann", "Ann"), "('Ann' and 'ann'), and each name is an owner of its own"),
        (("1", "1.0", "01"), "2 pairs of owners differ in the spelling of their names alone"),
        (("1", "1.0", "2"), "('1' and '1.0')"),
        (("a_b", "a b"), "('a b' and 'a_b')"),
        (("1", "11", "1.1", "ann", "anne"), None),
    ],
)
def test_names_spelt_alike_are_remarked_and_stay_apart(
    tmp_path: Path, names: tuple[str, ...], said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    partition = fedlab.prepare(fedlab.load_scenario(clinic(tmp_path, "", names))).partition
    assert partition.names == tuple(sorted({name.strip() for name in names}))
    spelt = [each for each in caplog.messages if "spelling" in each]
    assert len(spelt) == (said is not None)
    assert said is None or said in spelt[0]


def test_the_remark_hides_names_with_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = clinic(tmp_path, "", ("ann", "Ann"))
    fedlab.prepare(fedlab.load_scenario(file, ["output.owner_names=false"]))
    assert "a pair of owners differs" in caplog.text
    assert "ann" not in "".join(each.lower() for each in caplog.messages)


def test_a_partitions_table_cuts_long_names(tmp_path: Path, run: Run) -> None:
    arguments = ("partition", clinic(tmp_path), "--out", tmp_path / "who.png")
    code, shown, _ = run(*arguments, "partition.held_out_clients=[3]")
    assert code == 0
    assert "patient-of-the-…rth-0017*" in shown
    assert "never trained (*): patient-of-the-…rth-0017" in " ".join(shown.split())
    assert "the-eye-clinic" not in shown


def test_a_cut_name_of_several_says_how_many(tmp_path: Path, run: Run) -> None:
    file = clinic(tmp_path, names=(LONG, LONG + "8"))
    arguments = ("partition", file, "partition.clients.group=2", "--out", tmp_path / "who.png")
    code, shown, _ = run(*arguments)
    assert code == 0
    assert "patient-…0017 and 1 more" in shown


def test_control_characters_of_a_name_are_written_out(tmp_path: Path, run: Run) -> None:
    file = clinic(tmp_path, names=("ann", "\x1b[31mben"))
    code, shown, _ = run("partition", file, "--out", tmp_path / "who.png")
    assert code == 0
    assert r"\x1b[31mben" in shown
    assert "\x1b[31mben" not in shown


def test_so_are_those_of_an_error(tmp_path: Path, run: Run) -> None:
    file = clinic(tmp_path, names=("\x1b[31mben",))
    code, _, said = run("partition", file, "--out", tmp_path / "who.png")
    assert code == 2
    assert r"names one owner alone, '\x1b[31mben'" in said


def test_a_sign_without_a_glyph_is_one_line(
    tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    file = clinic(tmp_path, names=("ann", "\N{FOX FACE} fox"))
    code, shown, _ = run("partition", file, "--out", tmp_path / "who.png")
    assert code == 0
    assert "\N{FOX FACE} fox" in shown
    assert "the font lacks \N{FOX FACE}: drawn as boxes" in caplog.text
