"""A device with a valid key that answers in bad faith, in a process of its own, for a whole run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from fedlab.deploy.security.keys import KeyRing
from fedlab.runs.run import load_run
from helpers.deployment import Command, Deployment
from helpers.four_domains import write_four

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployment")]

ROUNDS = 6
DEADLINE = 30
"""Seconds in which honest devices answer, also on a busy machine."""

SAID = {
    1: "bytes that it may have",
    2: r"[red]\x1b[2J",
    3: "damaged tensors",
    4: "it speaks of 9000000000000000 samples",
    5: f"has not answered within {DEADLINE} seconds",
}
"""What the server says of a round."""

EVIL = """\
import sys
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from fedlab import cli
from fedlab.deploy import participant
from fedlab.flower_compat import fleet

PACKED = "fedlab.npz"
honest, push = participant.Participant.answer, fleet.push_objects


def instead(reply, message, data):
    content = RecordDict(dict(reply.content))
    array = Array(dtype="uint8", shape=(len(data),), stype=PACKED, data=data)
    content["arrays"] = ArrayRecord({PACKED: array})
    return Message(content, reply_to=message)


def answer(self, message):
    reply = honest(self, message)
    config = message.content.get("config", {})
    number, kind = config.get("server-round", 0), message.metadata.message_type
    fleet.push_objects = push
    if kind == "evaluate":
        reply.content["domains"]["accuracy"] = [float("nan")]
    elif kind == "train" and number == 1:
        return instead(reply, message, bytes(40_000_000))
    elif kind == "train" and number == 2:
        return Message(Error(0, "[red]\\x1b[2J" * 20_000), reply_to=message)
    elif kind == "train" and number == 3:
        packed = reply.content["arrays"][PACKED].data
        return instead(reply, message, packed[:-200] + b"\\xff" * 200)
    elif kind == "train" and number == 4:
        reply.content["metrics"]["num-examples"] = 9 * 10**15
    elif kind == "train" and number == 5:
        fleet.push_objects = lambda *_, **__: None  # what it has announced never comes
    elif kind == "train" and number == 6:
        reply.content["client"] = ConfigRecord({"id": 1, "task": reply.content["client"]["task"]})
    return reply


participant.Participant.answer = answer
cli.main()
"""


class Evil(Command):
    """`fedlab join` with changed code."""

    def __init__(self, folder: Path, *words: object) -> None:
        self.log = folder / "evil.log"
        (folder / "evil.py").write_text(EVIL)
        with self.log.open("ab") as log_file:
            self.process = subprocess.Popen(
                [sys.executable, "evil.py", *map(str, words)],
                cwd=folder,
                stdout=log_file,
                stderr=subprocess.STDOUT,
            )


def test_a_hostile_device_costs_itself_alone_every_round(tmp_path: Path) -> None:
    write_four(tmp_path)
    ring = KeyRing(tmp_path / "keys")
    ring.init([])
    for name in ("evil", "south", "east"):
        ring.add(name, tmp_path / f"{name}.pem")
    deployment = Deployment(tmp_path)
    try:
        server = deployment.serve(
            *("--host", "127.0.0.1", "--port", 0),
            *(f"rounds={ROUNDS}", "partition.clients=3", "data.domains=[north, south, east]"),
            *(f"participation.timeout={DEADLINE}", f"evaluation.every={ROUNDS}"),
        )
        address = f"127.0.0.1:{deployment.port}"
        words = ("join", address, "--data", "north.npz", "--key", "evil.pem", "--threads", 1)
        evil = Evil(tmp_path, *words)
        deployment.started.append(evil)
        devices = [deployment.join(name, "--key", f"{name}.pem") for name in ("south", "east")]
        assert server.ends() == 0, server.said
        assert [device.ends() for device in devices] == [0, 0]
    finally:
        deployment.end()
    failures = pandas.read_csv(tmp_path / "out/failures.csv")
    assert set(failures["client"]) == {"device 'evil'"}
    assert list(failures["round"]) == list(range(1, ROUNDS + 1))
    said = dict(zip(failures["round"], failures["reason"], strict=True))
    unlike = {number: said[number] for number, words in SAID.items() if words not in said[number]}
    # On a busy machine a device that is slow to send what it made up counts as gone for a round.
    assert all("is not connected" in reason for reason in unlike.values()), unlike
    assert len(unlike) <= 2, unlike
    run = load_run(tmp_path / "out")
    assert all(bool(tensor.isfinite().all()) for tensor in run.model_state().values())
    trained = run.history.query("split == 'train' and metric == 'loss'")
    assert set(trained["client"]) == {1, 2}
    assert len(trained) == 2 * ROUNDS
    tested = run.history.query("split == 'test' and client >= 0")
    assert set(tested["client"]) == {1, 2}
