"""What goes wrong with real devices, one thing after the other in one run, and what it costs.

Who gets in, and a device that dies in a round, are in `test_deployment`; files and certificates
that are damaged, clocks and ports in `test_keys`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas
import pytest

from fedlab.deploy.device.node import Settings, join_server
from fedlab.errors import InputError
from helpers.deployment import PATIENCE, Command, Deployment
from helpers.four_domains import write_four
from helpers.gated import Gates
from helpers.processes import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faulty devices")]

DEADLINE = 30
"""Seconds in which the other device answers, also on a busy machine."""

ROUNDS = 6
SETTINGS = (
    f"rounds={ROUNDS}",
    "partition.clients=2",
    "data.domains=[north, south]",
    "strategy={name: fedbn, client: 'gated:Gated'}",
    "participation.min_replies=1",
    f"participation.timeout={DEADLINE}",
    f"evaluation.every={ROUNDS}",
    f"output.checkpoint_every={ROUNDS}",  # which a server with devices ignores
)


@dataclass
class Story:
    """A run to which everything happens, and what was seen of it."""

    folder: Path
    deployment: Deployment
    refusals: list[str] = field(default_factory=list)
    has_disk: bool = False
    waited: float = 0.0
    kept: bytes = b""
    truncated: Command | None = None
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def gates(self) -> Gates:
        return Gates(self.folder)

    def has_ended(self, server_round: int) -> None:
        done = self.checkpoint(server_round)
        assert wait_until(done.exists, PATIENCE), self.deployment.started[0].said

    def checkpoint(self, server_round: int) -> Path:
        return self.folder / f"out/checkpoints/round-{server_round:06d}"

    def has_begun(self, server_round: int, device: Command) -> None:
        begun = self.gates.begun(server_round, device.process.pid)
        assert wait_until(begun.exists, PATIENCE), device.said

    def serve(self, port: str) -> Command:
        return self.deployment.serve("--insecure", "--port", port, *SETTINGS)

    def join_north(self) -> Command:
        return self.deployment.join("north", "--insecure")

    def join_south(self) -> Command:
        return self.deployment.join("south", "--insecure", "--state", self.disk)

    def state_file(self) -> Path:
        (file,) = (self.disk / "south").glob("four-*.safetensors")
        return file

    def history(self) -> bytes:
        return (self.folder / "out/history.csv").read_bytes()

    def failures(self) -> dict[int, tuple[str, str]]:
        """By round: who failed, and why."""
        table = pandas.read_csv(self.folder / "out/failures.csv")
        assert table["round"].is_unique
        columns = zip(table["round"], table["client"], table["reason"], strict=True)
        return {server_round: (client, why) for server_round, client, why in columns}

    def trained(self) -> dict[int, set[int]]:
        """By round: the clients that trained in it."""
        table = pandas.read_csv(self.folder / "out/history.csv")
        table = table[(table["split"] == "train") & (table["metric"] == "loss")]
        return {number: set(rows["client"]) for number, rows in table.groupby("round")}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("faults")
    write_four(folder)
    story = Story(folder, Deployment(folder))
    story.gates.install()
    story.disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(story.disk)]
    story.has_disk = not subprocess.run(mount, capture_output=True, check=False).returncode
    try:
        happen(story)
        yield story
    finally:
        story.deployment.end()
        if story.has_disk:
            subprocess.run(["umount", "-l", str(story.disk)], check=False)


def happen(story: Story) -> None:
    """All that happens, in its order; what it must have led to is in the tests."""
    server = story.serve("0")
    story.refusals.append(join_with_another_class(story))
    north, south = story.join_north(), story.join_south()
    story.gates.open(1)
    story.has_ended(1)

    # Round 2: north takes its task and never answers.
    story.gates.held(north.process.pid).touch()
    story.gates.open(2)
    story.has_ended(2)
    first, second = (story.checkpoint(number).stat().st_mtime for number in (1, 2))
    story.waited = second - first
    fill = story.disk / "fill"
    if story.has_disk:
        fill_up(fill)
    story.gates.held(north.process.pid).unlink()

    # Round 3: south's disk is full.
    story.gates.open(3)
    story.has_ended(3)
    fill.unlink(missing_ok=True)
    story.gates.open(4)
    story.has_ended(4)

    # Round 5: the server is killed while both train, and south's file is damaged meanwhile.
    for device in (north, south):
        story.has_begun(5, device)
    server.kill()
    story.kept = story.history()
    south.process.send_signal(signal.SIGTERM)
    story.codes["stopped"] = south.ends()
    whole = story.folder / "whole"
    shutil.copy(story.state_file(), whole)
    os.truncate(story.state_file(), whole.stat().st_size // 2)
    story.gates.open(5, 6)
    server = story.serve(story.deployment.port)
    story.truncated = story.join_south()
    story.codes["truncated"] = story.truncated.ends()
    shutil.copy(whole, story.state_file())
    south = story.join_south()
    for name, command in {"server": server, "north": north, "south": south}.items():
        story.codes[name] = command.ends()


def join_with_another_class(story: Story) -> str:
    """A device joins whose data have five classes where the scenario has four."""
    images = np.zeros((10, 3, 8, 8), np.uint8)
    np.savez(story.folder / "five.npz", x_train=images, y_train=np.arange(10) % 5)
    settings = Settings(story.folder / "five.npz", insecure=True, threads=1, state=story.folder)
    with pytest.raises(InputError) as refused:
        join_server(f"127.0.0.1:{story.deployment.port}", settings)
    return str(refused.value)


def fill_up(file: Path) -> None:
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(4096))
        except OSError:
            pass


# ---------------------------------------------------------------------- what it must have led to


def test_a_device_that_never_answers_costs_a_round_its_deadline(story: Story) -> None:
    assert story.waited >= DEADLINE - 0.1  # times of files are coarse
    who, why = story.failures()[2]
    assert who == "device 'north'"
    assert f"has not answered within {DEADLINE} seconds" in why
    assert story.trained()[2] == {1}
    assert 0 in story.trained()[3]  # the same process, once it is itself again


def test_a_full_disk_is_named_and_costs_a_round(story: Story) -> None:
    if not story.has_disk:
        pytest.skip("a small disk cannot be mounted here (needs root)")
    who, why = story.failures()[3]
    assert who == "device 'south'"
    assert "the client's state cannot be written to" in why
    assert "No space left on device" in why
    assert story.trained()[3] == {0}
    assert story.trained()[4] == {0, 1}


def test_a_killed_server_loses_the_round_that_was_under_way(story: Story) -> None:
    assert story.codes["server"] == 0, story.deployment.started[0].said
    assert story.kept.count(b"\n5,") == 0
    assert story.history().startswith(story.kept)
    assert list(story.trained()) == list(range(1, ROUNDS + 1))
    assert story.trained()[5] == story.trained()[6] == {0, 1}
    refused = {1, 5}  # other data than the scenario's, and a state that is damaged
    assert set(story.failures()) <= {2, 3} | refused
    assert all(
        "cannot take part" in story.failures()[r][1] for r in refused & set(story.failures())
    )


def test_a_device_finds_the_server_again_by_itself(story: Story) -> None:
    assert story.codes["north"] == 0
    said = (story.folder / "north.log").read_text()
    assert said.count("joined 127.0.0.1") >= 2
    assert "trying again in" in said


def test_a_truncated_state_is_not_mistaken_for_none(story: Story) -> None:
    assert story.codes["stopped"] == 130
    assert story.codes["truncated"] == 2
    said = (story.folder / "south.log").read_text()
    assert "the client's state" in said
    assert "put a copy of it back, or delete it" in " ".join(said.split())
    assert story.codes["south"] == 0


def test_a_class_that_the_scenario_lacks_is_named(story: Story) -> None:
    assert "class" in story.refusals[0]
    assert "device 'five' cannot take part" in story.deployment.started[0].said
