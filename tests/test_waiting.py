"""What a server and a device say while they wait."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import torch
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedlab import flower_compat
from fedlab.deploy.device import join
from fedlab.deploy.device.folder import own_key
from fedlab.deploy.device.participant import Participant
from fedlab.deploy.handshake import INVITE, DeviceInfo, Invitation
from fedlab.deploy.reminder import FIRST_SECONDS, LONGEST_SECONDS, Reminder
from fedlab.deploy.security.keys import Credentials
from fedlab.deploy.server import device_registry
from fedlab.deploy.server.device_registry import Assignment, DeviceRegistry
from fedlab.deploy.server.mailbox import Mailbox
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.deploy.server.waiting import for_devices, for_replies
from fedlab.errors import InputError
from fedlab.scenario_file import load_scenario
from helpers.deployment import Deployment
from helpers.fake_grid import Answer, Network
from helpers.four_domains import write_four


@pytest.fixture
def four(tmp_path: Path) -> Path:
    return write_four(tmp_path)


# ---------------------------------------------------------------------- when


def test_a_reminder_comes_again_and_again_but_ever_more_seldom(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "fedlab")
    now, said = 0.0, []
    reminder = Reminder(clock=lambda: now)
    for second in range(3600):
        now = float(second)
        reminder.remind(lambda: "waiting for 1 more of 2 devices")
        if caplog.messages:
            said.append((second, caplog.messages[-1]))
            caplog.clear()
    seconds = [second for second, _ in said]
    assert seconds[:3] == [FIRST_SECONDS, 3 * FIRST_SECONDS, 7 * FIRST_SECONDS]
    assert seconds[-1] - seconds[-2] == LONGEST_SECONDS
    assert said[0][1] == "waiting for 1 more of 2 devices (for 15 s by now)"


def test_what_is_waited_for_is_asked_only_when_a_reminder_is_due(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "fedlab")
    now, asked = 0.0, []

    def of() -> str:
        asked.append(now)
        return ""

    reminder = Reminder(first=10, clock=lambda: now)
    for now in (0.0, 9.0, 10.0, 11.0):  # noqa: B007
        reminder.remind(of)
    assert asked == [10.0]
    assert not caplog.messages


class Nowhere:
    """Stands in for a link to a server that does not run."""

    node_id = 0

    def __init__(self, *_: object) -> None: ...

    def register(self) -> None:
        raise httpx.ConnectError("refused")

    def close(self) -> None: ...


def test_a_device_does_not_come_much_later_than_a_server_that_starts_slowly(
    four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, pauses = 0.0, []

    def sleep(seconds: float) -> None:
        nonlocal now
        pauses.append((now, seconds))
        now += seconds

    monkeypatch.setattr(join, "FleetLink", Nowhere)
    monkeypatch.setattr(join, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    who = Credentials("north", own_key(tmp_path), None)
    north = Participant("north", four.parent / "north.npz", None, tmp_path, "cpu", 1)
    with pytest.raises(InputError, match="more patient"):
        join.take_part("a:1", who, north, tmp_path, patience=3600)
    assert [pause for _, pause in pauses[:5]] == [0.5, 1, 2, 4, 4]
    assert all(pause <= max(4, 0.1 * at) for at, pause in pauses)
    assert pauses[-1][1] == 30


# ---------------------------------------------------------------------- for which devices


def device(name: str, refused: str = "") -> Answer:
    def answer(message: Message) -> RecordDict | None:
        if message.metadata.message_type == INVITE:
            return DeviceInfo(name, "d", 1, 1, refused).to_content()
        return None

    return answer


def registry(
    answers: dict[int, Answer], monkeypatch: pytest.MonkeyPatch, *seats: Assignment
) -> DeviceRegistry:
    monkeypatch.setattr(device_registry, "POLL_SECONDS", 0.0)
    network = Network()
    network.answers = answers
    invitation = Invitation("run", "0", "", ("a", "b"), (1,))
    found = DeviceRegistry(Mailbox(cast(Grid, network)), invitation, [None] * 3, seats)
    found.poll()  # invites
    found.poll()  # reads the answers
    return found


def test_a_server_names_those_that_are_here_that_read_and_that_were_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = {1: device("north"), 2: lambda message: None, 3: device("wide", "7 features")}
    text = for_devices(registry(answers, monkeypatch))
    assert text == (
        "waiting for 2 more of 3 devices; here: 'north'; 1 more connected and reading samples; "
        "refused, see above: 'wide'"
    )


def test_a_server_without_devices_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    text = for_devices(registry({}, monkeypatch))
    assert text == "waiting for 3 more of 3 devices; none is here"


def test_a_device_that_was_refused_and_has_come_back_is_only_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = registry({1: device("north", "7 features")}, monkeypatch)
    cast(Any, found.post.grid).answers[2] = device("north")
    found.poll()
    found.poll()
    assert for_devices(found) == "waiting for 2 more of 3 devices; here: 'north'"


def test_a_resumed_run_names_the_devices_that_must_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seats = [Assignment(client, name, "d", 1, 1) for client, name in enumerate("abc")]
    text = for_devices(registry({1: device("b")}, monkeypatch, *seats))
    assert text == "waiting for 'a', 'c' to come back; here: 'b'"


# ---------------------------------------------------------------------- for which replies


def test_a_round_names_the_devices_at_work_and_the_lost_ones() -> None:
    text = for_replies([("a", True), ("b", False)], 1, 61.4)
    assert text == (
        "waiting for 2 of 3 replies; at work: 'a'; not connected: 'b'; without them the round "
        "ends in 61 s"
    )


def test_of_many_devices_a_few_are_named() -> None:
    text = for_replies([(f"d{number}", True) for number in range(9)], 0, 1.0)
    assert "'d4' and 4 more;" in text
    assert "'d5'" not in text


# ---------------------------------------------------------------------- before the first round


def test_a_device_has_taken_a_gradient_before_it_says_that_it_is_here(
    four: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flower_compat.assume_identity()
    scenario = load_scenario(four)
    terms = setup_of(scenario).invitation("run", scenario)
    taken: list[dict[str, Any]] = []
    gradients = torch.autograd.grad

    def grad(*what: Any, **how: Any) -> tuple[torch.Tensor, ...]:
        taken.append(how)
        return gradients(*what, **how)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    north = Participant("north", tmp_path / "north.npz", None, tmp_path / "device", "cpu", 1)
    assert north.waits_for == "waiting for the server's invitation"
    message = Message(terms.to_content(), dst_node_id=7, message_type=INVITE)
    assert north.answer(flower_compat.stamp(message)) is not None
    assert taken
    assert "grad_outputs" in taken[0]  # as in training; without it PyTorch does not import the rest
    assert north.waits_for.startswith("waiting for the run to begin")


# ---------------------------------------------------------------------- processes


def test_two_devices_of_one_name_are_refused_before_pytorch_is_loaded(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from fedlab.deploy.device.folder import locked
from fedlab.deploy.device.node import Settings, join_server
from fedlab.errors import InputError
data = Path("north.npz")
data.touch()
with locked(Path("fedlab-state/north")):
    try:
        join_server("127.0.0.1:1", Settings(data, insecure=True))
    except InputError as error:
        print(error, "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.endswith("name with --name, or another folder with --state False\n")


def test_a_mistyped_option_of_a_device_is_reported_before_pytorch_is_loaded(
    tmp_path: Path,
) -> None:
    code = """
import sys
from pathlib import Path
from fedlab.deploy.device.node import Settings, join_server
from fedlab.errors import InputError
try:
    join_server("127.0.0.1:1", Settings(Path("nothing.npz"), insecure=True))
except InputError as error:
    print(error, "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout == "--data: there is nothing at 'nothing.npz'; correct the path False\n"


@pytest.mark.slow
@pytest.mark.xdist_group("deployment")
def test_a_server_that_lacks_a_device_says_so_and_the_device_too(tmp_path: Path) -> None:
    write_four(tmp_path)
    deployment = Deployment(tmp_path)
    try:
        server = deployment.serve("--insecure", "--port", 0)
        assert server.said.startswith("the server is starting")
        device = deployment.join("north", "--insecure")
        device.says("'north' is starting")
        server.says("waiting for 3 more of 4 devices; here: 'north' (for ")
        device.says("waiting for the run to begin")
    finally:
        deployment.end()
