"""Runs a scenario on real devices: a SuperLink, the devices that join, and the ServerApp."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from fedlab.config.scenario_diff import differences
from fedlab.deploy.reminder import Reminder
from fedlab.deploy.server.device_grid import DeviceGrid
from fedlab.deploy.server.device_registry import Assignment, DeviceRegistry
from fedlab.deploy.server.mailbox import Mailbox
from fedlab.deploy.server.serve_setup import ServeSetup, setup_of
from fedlab.deploy.server.superlink_process import Endpoint, SuperLink
from fedlab.deploy.server.waiting import for_devices
from fedlab.engine.execution.build_trainer import target_in_training
from fedlab.errors import InputError, RunError
from fedlab.federation.callbacks import Callback
from fedlab.federation.evaluation_reply import counts_layout
from fedlab.files import write_whole
from fedlab.flower_compat.run_grid import ObjectPushError, connect
from fedlab.preparation import with_pinned_data
from fedlab.runs.checkpoint import latest_checkpoint
from fedlab.runs.execute import conduct
from fedlab.runs.run import Run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.server_app import server_settings
from fedlab.tracking.observer import check_trackers

log = logging.getLogger("fedlab")

POLL_SECONDS = 0.2
FAREWELL_SECONDS = 15.0
"""Timeout for the devices' farewell in seconds; longer than their polling interval."""


def serve(
    source: str | Path | Mapping[str, Any] | Scenario,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    endpoint: Endpoint,
    out: str | Path,
    classes: Sequence[str] | None = None,
    callbacks: Sequence[Callback] = (),
    on_ready: Callable[[str], None] = lambda address: None,
) -> Run:
    """Runs a scenario on the devices that join; resumes the run if its folder exists.

    Args:
        source: A scenario, its file, or the name of one that comes with fedlab.
        overrides: Dotted overrides.
        endpoint: Where to listen.
        out: Folder of this run.
        classes: Names of the classes, where the server has none of the scenario's data.
        callbacks: Observers of the run.
        on_ready: Called with the address once devices can join.

    Returns:
        The finished run.

    Raises:
        InputError: If the scenario cannot be run on devices, or the server cannot listen.
        RunError: If the run fails; the same call goes on from its last finished round.
    """
    scenario = load_scenario(source, overrides)
    if classes is None:  # its data are here
        scenario = with_pinned_data(scenario)
    check_trackers(scenario)
    _refuse_another(Path(out), scenario)
    task = setup_of(scenario, classes)
    if endpoint.keys is not None:
        endpoint.keys.check()
    with _folder(Path(out), scenario) as folder:
        checkpoint = latest_checkpoint(folder.checkpoints)
        notes = _notes(folder)
        with SuperLink(endpoint, folder.path / "superlink.log") as superlink, _watched(superlink):
            post = Mailbox(
                connect(
                    superlink.address, superlink.ticket, superlink.authority, superlink.is_alive
                )
            )
            invitation = task.invitation(notes["run"], scenario)
            devices = DeviceRegistry(
                post, invitation, task.homes, [Assignment(**seat) for seat in notes["devices"]]
            )
            on_ready(f"{endpoint.host}:{superlink.port}")
            _gather(devices, superlink)
            _note(folder, notes["run"], devices)
            tolerant = as_on_devices(scenario)
            most = partial(_most_examples, scenario, task)
            needed = server_settings(tolerant).needed
            counted = scenario.metric_set.counted
            counts = partial(counts_layout, counted, len(task.classes), target=task.target)
            run = conduct(
                tolerant,
                task.model,
                DeviceGrid(
                    post,
                    devices,
                    needed,
                    superlink.check,
                    task.tester,
                    most,
                    counts,
                    task.target,
                    target_in_training(scenario, task.target),
                ),
                folder,
                checkpoint=checkpoint,
                test_domains=task.test_domains,
                callbacks=callbacks,
            )
            devices.shut_down(FAREWELL_SECONDS)
    return run


def as_on_devices(scenario: Scenario) -> Scenario:
    """The scenario with the defaults for real devices.

    A checkpoint is written after every round, as a device can go back by at most one round
    (`fedlab.deploy.device.state_file`). If the scenario does not say how many clients may fail, a
    round needs one reply: in a simulation a failure is an error in the code, but devices fail, and
    a single device must not be able to end the run.
    """
    output = scenario.output.model_copy(update={"checkpoint_every": 1})
    participation = scenario.participation
    if participation.max_failed_share is None and participation.min_replies is None:
        participation = participation.model_copy(update={"min_replies": 1})
    return scenario.model_copy(update={"output": output, "participation": participation})


def _most_examples(scenario: Scenario, task: ServeSetup, train: int) -> int:
    """Largest ``num-examples`` of a device with `train` training samples."""
    return scenario.strategy.most_examples(scenario, train, task.phases, len(task.classes))


def _gather(devices: DeviceRegistry, superlink: SuperLink) -> None:
    """Waits until every client has a device."""
    clients = len(devices.homes)
    log.info("waiting for %d device%s", clients, "s" * (clients > 1))
    reminder = Reminder()
    while not devices.complete:
        devices.poll()
        reminder.remind(lambda: "" if devices.complete else for_devices(devices))
        superlink.check()
        time.sleep(POLL_SECONDS)
    if not devices.seats:
        devices.assign()


@contextmanager
def _watched(superlink: SuperLink) -> Generator[None]:
    """Converts connection errors of the SuperLink to `RunError`.

    Raises:
        RunError: If the SuperLink cannot be reached.
    """
    try:
        yield
    except (httpx.HTTPError, ObjectPushError) as error:
        superlink.check()
        raise RunError(
            f"the SuperLink on this machine does not answer ({error}); see '{superlink.log_file}'"
        ) from error


def _refuse_another(path: Path, scenario: Scenario) -> None:
    """Refuses a folder that holds a finished run, or a run of another scenario."""
    folder = RunFolder(path)
    if folder.finished or not folder.scenario_file.is_file():
        RunFolder.refuse_used(path)
        return
    if not folder.devices_file.is_file():
        RunFolder.refuse_used(path)
    found = differences(load_scenario(folder.scenario_file), scenario)
    if found:
        raise InputError(
            f"the folder '{path}' holds an unfinished run of another scenario, with "
            f"{', '.join(map(str, found[:3]))}; serve that one as before, or choose another folder "
            "with --out"
        )


def _folder(path: Path, scenario: Scenario) -> RunFolder:
    if RunFolder(path).scenario_file.is_file():
        log.info("going on with the run in '%s'", path)
        return RunFolder.open(path)
    notes = json.dumps({"run": uuid.uuid4().hex, "devices": []}) + "\n"
    return RunFolder.create(path, scenario, devices=notes)


def _notes(folder: RunFolder) -> dict[str, Any]:
    """The run's id, and its assigned devices, if any."""
    try:
        notes = json.loads(folder.devices_file.read_text())
        return {"run": str(notes["run"]), "devices": list(notes["devices"])}
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"'{folder.devices_file}' cannot be read ({error}); delete the run's folder and start "
            "it again"
        ) from error


def _note(folder: RunFolder, run: str, devices: DeviceRegistry) -> None:
    seats = sorted(devices.seats.values(), key=lambda seat: seat.client)
    notes = {"run": run, "devices": [asdict(seat) for seat in seats]}
    write_whole(folder.devices_file, json.dumps(notes, indent=1) + "\n")
