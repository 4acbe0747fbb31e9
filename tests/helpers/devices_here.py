"""A server and its devices in this process: `fedlab serve` and `join` without a network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from flwr.serverapp import Grid

from fedlab.deploy.device.participant import Participant
from fedlab.deploy.server import device_registry
from fedlab.deploy.server.device_grid import DeviceGrid
from fedlab.deploy.server.device_registry import DeviceRegistry
from fedlab.deploy.server.mailbox import Mailbox
from fedlab.deploy.server.serve import as_on_devices
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.federation.evaluation_reply import counts_layout
from fedlab.runs.execute import conduct
from fedlab.runs.run import Run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.server_app import server_settings
from fedlab.simulation import simulate
from helpers.fake_grid import Network


def run_on_devices(
    scenario: Scenario, files: Mapping[str, Path], out: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """A run whose clients are devices with a file each, by their domains."""
    monkeypatch.setattr(device_registry, "POLL_SECONDS", 0.0)
    network, setup = Network(), setup_of(scenario)
    for node, (domain, path) in enumerate(files.items(), 1):
        device = Participant(domain, path, domain, out / f"device-{domain}", "cpu", 1)
        network.answers[node] = device.answer
    post = Mailbox(cast(Grid, network))
    devices = DeviceRegistry(post, setup.invitation("run", scenario), setup.homes)
    devices.poll()  # invites
    devices.poll()  # reads the answers
    assert devices.complete, devices.turned_away()
    devices.assign()
    tolerant = as_on_devices(scenario)
    grid = DeviceGrid(
        post,
        devices,
        server_settings(tolerant).needed,
        lambda: None,
        setup.tester,
        lambda train: scenario.strategy.most_examples(
            scenario, train, setup.phases, len(setup.classes)
        ),
        partial(
            counts_layout, scenario.metric_set.counted, len(setup.classes), target=setup.target
        ),
        setup.target,
    )
    with RunFolder.create(out / "served", scenario) as folder:
        return conduct(tolerant, setup.model, grid, folder, test_domains=setup.test_domains)


FILES = ("history.csv", "counts.csv", "model.safetensors", "finished.json")


def assert_like_a_simulation(served: Path, folder: Path) -> None:
    """A run on devices, and a simulation of the scenario in a folder, ended in the same bytes."""
    run = simulate(folder / "four.yaml", out=folder / "sim", progress=False)
    for name in FILES:
        theirs = run.folder / name
        if theirs.exists():  # only some metrics are counted
            assert (served / name).read_bytes() == theirs.read_bytes(), name
