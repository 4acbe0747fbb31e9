"""Runs a scenario on real devices: a SuperLink, the devices that come, and the ServerApp."""

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
from fedlab.deploy.server.device_grid import DeviceGrid
from fedlab.deploy.server.device_registry import Assignment, DeviceRegistry
from fedlab.deploy.server.mailbox import Mailbox
from fedlab.deploy.server.serve_setup import ServeSetup, setup_of
from fedlab.deploy.server.superlink_process import Endpoint, SuperLink
from fedlab.errors import InputError, RunError
from fedlab.federation.callbacks import Callback
from fedlab.federation.evaluation_reply import counts_layout
from fedlab.files import write_whole
from fedlab.flower_compat.run_grid import ObjectPushError, connect
from fedlab.runs.checkpoint import latest_checkpoint
from fedlab.runs.execute import conduct
from fedlab.runs.run import Run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from fedlab.server_app import server_settings
from fedlab.tracking.observer import check_trackers

log = logging.getLogger("fedlab")

LOOK_SECONDS = 0.2
FAREWELL_SECONDS = 15.0
"""Longer than devices wait until they look for messages again."""


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
    """Runs a scenario on the devices that join; goes on with it where its folder has begun.

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
            roll = DeviceRegistry(
                post, invitation, task.homes, [Assignment(**seat) for seat in notes["devices"]]
            )
            on_ready(f"{endpoint.host}:{superlink.port}")
            _gather(roll, superlink)
            _note(folder, notes["run"], roll)
            tolerant = as_on_devices(scenario)
            most = partial(_most_examples, scenario, task)
            needed = server_settings(tolerant).needed
            counted = scenario.evaluation.metric_set.counted
            counts = partial(counts_layout, counted, len(task.classes))
            run = conduct(
                tolerant,
                task.model,
                DeviceGrid(post, roll, needed, superlink.check, task.tester, most, counts),
                folder,
                checkpoint=checkpoint,
                test_domains=task.test_domains,
                callbacks=callbacks,
            )
            roll.say_farewell(FAREWELL_SECONDS)
    return run


def as_on_devices(scenario: Scenario) -> Scenario:
    """The scenario with what is different where clients are real devices.

    There is a checkpoint after every round: a device can go back by one round and no further
    (`fedlab.deploy.device.state_file`). And a round needs one reply where the scenario does not say
    how many clients may fail: in a simulation that is a mistake in somebody's code, but devices
    fail, and whoever has the key of one must not end everybody's run.
    """
    output = scenario.output.model_copy(update={"checkpoint_every": 1})
    participation = scenario.participation
    if participation.max_failed_share is None and participation.min_replies is None:
        participation = participation.model_copy(update={"min_replies": 1})
    return scenario.model_copy(update={"output": output, "participation": participation})


def _most_examples(scenario: Scenario, task: ServeSetup, train: int) -> int:
    """How many samples a device that has so many may say that it has learnt from."""
    return scenario.strategy.most_examples(scenario, train, task.phases, len(task.classes))


def _gather(roll: DeviceRegistry, superlink: SuperLink) -> None:
    """Waits until every client has its device."""
    clients = len(roll.homes)
    log.info("waiting for %d device%s", clients, "s" * (clients > 1))
    while not roll.complete:
        roll.look()
        superlink.check()
        time.sleep(LOOK_SECONDS)
    if not roll.seats:
        roll.assign()


@contextmanager
def _watched(superlink: SuperLink) -> Generator[None]:
    """Tells an error of a SuperLink that has died from others.

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
    """Refuses a folder that holds a finished run, or one of something else."""
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
    """The run's identity, and its devices where these are known already."""
    try:
        notes = json.loads(folder.devices_file.read_text())
        return {"run": str(notes["run"]), "devices": list(notes["devices"])}
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"'{folder.devices_file}' cannot be read ({error}); delete the run's folder and start "
            "it again"
        ) from error


def _note(folder: RunFolder, run: str, roll: DeviceRegistry) -> None:
    seats = sorted(roll.seats.values(), key=lambda seat: seat.client)
    notes = {"run": run, "devices": [asdict(seat) for seat in seats]}
    write_whole(folder.devices_file, json.dumps(notes, indent=1) + "\n")
