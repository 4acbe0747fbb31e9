"""Devices that learn labels, numbers, series, ids and texts end where a simulation does."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedlab.scenario_file import load_scenario
from helpers.deployment import assert_processes_like_a_simulation
from helpers.devices_data import CASES, write_case
from helpers.devices_here import assert_like_a_simulation, run_on_devices


@pytest.mark.parametrize("case", CASES)
def test_a_server_and_its_devices_in_one_process(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, files = write_case(case, tmp_path)
    run = run_on_devices(load_scenario(file), files, tmp_path, monkeypatch)
    assert not (run.folder / "failures.csv").exists()
    assert_like_a_simulation(run.folder, tmp_path)


@pytest.mark.slow
@pytest.mark.xdist_group("deployment")
@pytest.mark.parametrize("case", [case for case in CASES if case != "parquet"])
def test_processes_of_their_own(case: str, tmp_path: Path) -> None:
    _, files = write_case(case, tmp_path)
    assert_processes_like_a_simulation(files, tmp_path)
