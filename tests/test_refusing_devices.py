"""What a device that cannot take part says to its user, and what of it the server gets."""

from pathlib import Path

import pytest
from flwr.app import Message

import fedlab
from fedlab import InputError, flower_compat, load_scenario
from fedlab.deploy.device.participant import Participant
from fedlab.deploy.handshake import INVITE, DeviceInfo, Invitation
from fedlab.scenario_file import to_yaml

SCENARIO = """name: clinics
rounds: 1
data: {root: ., sources: [{name: csv, files: {north: north.csv}, label: ill, owner: who}]}
partition: {clients: natural}
model: linear
resources: {backend: local}
"""
GOOD = "who,age,ill\n" + "zoe,40,yes\nbob,30,no\n" * 6 + "kim,50,no\n" * 2


def refused(table: str, folder: Path) -> tuple[str, str]:
    """What the device's user reads, and what the server is sent."""
    flower_compat.assume_identity()
    (folder / "scenario.yaml").write_text(SCENARIO, "utf-8")
    (folder / "clinic.csv").write_text(table, "utf-8")
    scenario = load_scenario(folder / "scenario.yaml")
    terms = Invitation("run", fedlab.__version__, to_yaml(scenario), ("no", "yes"), (1,))
    message = flower_compat.stamp(Message(terms.to_content(), dst_node_id=7, message_type=INVITE))
    device = Participant("north", folder / "clinic.csv", None, folder / "d", "cpu", 1)
    with pytest.raises(InputError) as error:
        device.answer(message)
    reply = device.refusal(message, error.value)
    return str(error.value), DeviceInfo.of(reply.content).refused


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (GOOD.replace("50,no", "50,plague"), "plague"),
        (GOOD.replace("kim,50,no", "kim,50,no,secret"), "4"),
        (GOOD.replace("kim,50,no", "kim,50,"), "clinic.csv"),
    ],
    ids=["class", "cells", "missing"],
)
def test_a_word_of_the_data_stays_on_the_device(table: str, word: str, tmp_path: Path) -> None:
    said, sent = refused(table, tmp_path)
    assert word in said
    assert sent
    for private in ("plague", "secret", "zoe", "bob", "kim", "50"):
        assert private not in sent


def test_what_is_not_in_the_data_is_sent(tmp_path: Path) -> None:
    said, sent = refused(GOOD.replace("age", "age,height").replace("0,", "0,1,"), tmp_path)
    assert sent == said
    assert "have the shape (2,)" in sent
