"""Devices end where a simulation does with a method that sends each client something of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fedlab.scenario_file import load_scenario
from helpers.deployment import assert_processes_like_a_simulation
from helpers.devices_data import write_case
from helpers.devices_here import assert_like_a_simulation, run_on_devices

FDSE: dict[str, Any] = {
    "strategy": {"name": "fdse", "lam": 0.1},
    "model": {"name": "mlp", "hidden": [8, 6]},
    "rounds": 3,
}


def test_each_device_is_sent_its_own_erasers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, files = write_case("classes", tmp_path, **FDSE)
    run = run_on_devices(load_scenario(file), files, tmp_path, monkeypatch)
    assert not (run.folder / "failures.csv").exists()
    assert_like_a_simulation(run.folder, tmp_path)


@pytest.mark.slow
@pytest.mark.xdist_group("deployment")
def test_erasers_reach_processes_of_their_own(tmp_path: Path) -> None:
    _, files = write_case("classes", tmp_path, **FDSE)
    assert_processes_like_a_simulation(files, tmp_path)
