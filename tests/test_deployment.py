"""A server and its devices as processes of their own: the same end as a simulation's."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pandas
import pytest
from flwr.proto.runtime_pb2 import AcquireTaskRequest

from fedlab.deploy.device.node import Settings, join_server
from fedlab.deploy.device.state_file import StateFile
from fedlab.deploy.security.keys import KeyRing
from fedlab.errors import InputError
from fedlab.records import arrays_of
from fedlab.runs.checkpoint import load_client_state
from fedlab.runs.run import load_run
from fedlab.simulation import simulate
from helpers.deployment import PATIENCE, Deployment
from helpers.four_domains import DOMAINS, write_four
from helpers.gated import Gates
from helpers.processes import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deployment")]

HERE = Path(__file__).parent

NAMES = {"north": "d-roof", "south": "c-yard", "east": "b-gate", "west": "a-hall"}
"""Devices by domain; in another order by name than by domain."""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """FedBN on four devices with keys; one is killed in the middle and started again."""
    folder = tmp_path_factory.mktemp("deployed")
    write_four(folder)
    with (folder / "four.yaml").open("a") as file:
        file.write("participation: {max_failed_share: 0}\n")  # who is killed is waited for
    deployment = Deployment(folder)
    ring = KeyRing(folder / "keys")
    ring.init([])
    for name in (*NAMES.values(), "revoked", "lost"):
        ring.add(name, folder / f"{name}.pem")
    ring.revoke("revoked")
    other = KeyRing(folder / "other")
    other.init([])
    other.add("stranger", folder / "stranger.pem")
    try:
        server = deployment.serve("--host", "127.0.0.1", "--port", 0)
        yield deployment
    finally:
        deployment.end()
    assert server.process.returncode is not None


def key(domain: str) -> list[str]:
    return ["--key", f"{NAMES[domain]}.pem"]


def test_no_device_gets_in_without_a_known_key(deployed: Deployment) -> None:
    address, data = f"127.0.0.1:{deployed.port}", deployed.folder / "north.npz"

    def attempt(name: str) -> None:
        file, state = deployed.folder / f"{name}.pem", deployed.folder / "state"
        join_server(address, Settings(data, key=file, state=state, threads=1))

    with pytest.raises(InputError, match="does not let 'revoked' in"):
        attempt("revoked")
    with pytest.raises(InputError, match="certificate is of another authority"):
        attempt("stranger")
    (deployed.folder / "keys" / "devices" / "lost.pub").unlink()
    wait_until(lambda: False, 1.5)  # the server looks at its keys every half second
    with pytest.raises(InputError, match="does not let 'lost' in: its key was never added"):
        attempt("lost")


def test_no_other_process_can_register_nodes_or_take_the_run(deployed: Deployment) -> None:
    authority = str(deployed.folder / "keys" / "ca.crt")
    protobuf = "application/protobuf"
    content = AcquireTaskRequest(supported_task_types=["flwr-serverapp"]).SerializeToString()
    with httpx.Client(base_url=f"https://127.0.0.1:{deployed.port}", verify=_trust(authority)) as c:
        headers = {"content-type": protobuf, "accept": protobuf}
        taken = c.post("/v1/runtime/acquire-task", content=content, headers=headers)
        assert b"token" not in taken.content
        assert taken.status_code in (httpx.codes.OK, httpx.codes.UNAUTHORIZED)
        for call in ("register-node", "list-nodes", "start-run", "stop-run"):
            answer = c.post(f"/v1/control/{call}", content=b"", headers=headers)
            assert answer.status_code == httpx.codes.UNAUTHORIZED


def _trust(authority: str):
    import ssl

    return ssl.create_default_context(cafile=authority)


def test_a_device_whose_data_do_not_fit_is_refused_and_named(deployed: Deployment) -> None:
    odd = deployed.folder / "odd.csv"
    odd.write_text("x,y\n" + "1,0\n2,1\n" * 10)
    # Its folder is that of the device that comes with the right data later, and gets in at once.
    state = deployed.folder / "fedlab-state"
    settings = Settings(odd, key=deployed.folder / "a-hall.pem", state=state)
    with pytest.raises(
        InputError, match=r"have the shape \(1,\) and the scenario's have \(3, 8, 8"
    ):
        join_server(f"127.0.0.1:{deployed.port}", settings)
    deployed.started[0].says("device 'a-hall' cannot take part: --data: samples of")


@pytest.fixture(scope="module")
def finished(deployed: Deployment) -> Deployment:
    """The same deployment, after the run."""
    devices = {domain: deployed.join(domain, *key(domain)) for domain in reversed(DOMAINS)}
    wait_until((deployed.folder / "out/checkpoints/round-000001").exists, PATIENCE)
    devices["south"].kill()  # without a word to the server
    devices["south"] = deployed.join("south", *key("south"))
    assert deployed.started[0].ends() == 0, deployed.started[0].said
    for device in devices.values():
        assert device.ends() == 0, device.said
        assert device.said.endswith("the run has ended\n")
    simulate(deployed.folder / "four.yaml", out=deployed.folder / "sim", progress=False)
    return deployed


def test_a_deployment_ends_in_the_same_bytes_as_a_simulation(finished: Deployment) -> None:
    for name in (
        "history.csv",
        "counts.csv",
        "model.safetensors",
        "scenario.yaml",
        "finished.json",
    ):
        theirs = (finished.folder / "sim" / name).read_bytes()
        assert (finished.folder / "out" / name).read_bytes() == theirs, name


def test_what_clients_keep_stays_on_their_devices(finished: Deployment) -> None:
    seats = json.loads((finished.folder / "out" / "devices.json").read_text())["devices"]
    assert {seat["client"]: seat["device"] for seat in seats} == dict(enumerate(NAMES.values()))
    for client, domain in enumerate(DOMAINS):
        (file,) = (finished.folder / "fedlab-state" / NAMES[domain]).glob("four-*.safetensors")
        mine = arrays_of(StateFile(file).after)["model"]
        theirs = load_client_state(finished.folder / "sim" / "checkpoints", client)["model"]
        assert mine.keys() == theirs.keys()
        assert all(tensor.equal(theirs[name]) for name, tensor in mine.items())
    with pytest.raises(InputError, match="is on its device"):
        load_run(finished.folder / "out").model_state(client=0)


# ---------------------------------------------------------------------- devices that fail

DEADLINE = 30
"""Seconds in which the other device answers, also on a busy machine."""


def test_a_device_that_dies_in_a_round_is_named_and_back_in_a_later_one(tmp_path: Path) -> None:
    deployment = Deployment(tmp_path)
    write_four(tmp_path)
    gates, rounds = Gates(tmp_path), 100_000  # more than there is time for
    gates.install()
    gates.open(1)
    settings = [
        f"rounds={rounds}",
        "partition.clients=2",
        "strategy={name: fedbn, client: 'gated:Gated'}",
        "participation.min_replies=1",
        f"participation.timeout={DEADLINE}",
        "data.domains=[north, south]",
        f"evaluation.every={rounds}",
    ]
    try:
        server = deployment.serve("--insecure", "--port", 0, *settings)
        north = deployment.join("north", "--insecure")
        south = deployment.join("south", "--insecure")
        assert wait_until(gates.begun(2, south.process.pid).exists, PATIENCE), south.said
        os.kill(south.process.pid, signal.SIGKILL)
        gates.open()
        said = server.says("device 'south' failed")
        missing = rf"device 'south' (is not connected|has not answered within {DEADLINE} seconds)"
        assert re.search(missing, said)  # whichever is noticed first
        again = deployment.join("south", "--insecure", log="again.log")
        first = again.says(" train: ").partition(" round ")[2].partition(" ")[0]
        again.says(f"round {int(first) + 1} train")
        north.says(f"round {int(first) + 2} train")  # so that the first round is in the history
        server.process.send_signal(signal.SIGTERM)
        assert server.ends() == 130
        history = pandas.read_csv(tmp_path / "out" / "history.csv")
        failures = pandas.read_csv(tmp_path / "out" / "failures.csv")
        missed = set(failures.loc[failures["client"] == "device 'south'", "round"])
        assert min(missed) == 2
        assert max(missed) < int(first)
        trained = history[(history["split"] == "train") & (history["metric"] == "loss")]
        rounds_of = {c: set(trained.loc[trained["client"] == c, "round"]) for c in (0, 1)}
        assert rounds_of[0] == set(range(1, max(rounds_of[0]) + 1))  # the others went on
        assert rounds_of[1] == rounds_of[0] - missed
        assert int(first) in rounds_of[1]
    finally:
        deployment.end()
