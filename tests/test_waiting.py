"""What a server and a device say while they wait."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedlab.deploy.handshake import INVITE, DeviceInfo, Invitation
from fedlab.deploy.reminder import FIRST_SECONDS, LONGEST_SECONDS, Reminder
from fedlab.deploy.server import device_registry
from fedlab.deploy.server.device_registry import Assignment, DeviceRegistry
from fedlab.deploy.server.mailbox import Mailbox
from fedlab.deploy.server.waiting import for_devices, for_replies
from helpers.deployment import Deployment
from helpers.fake_grid import Answer, Network
from helpers.four_domains import write_four

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


# ---------------------------------------------------------------------- processes


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
