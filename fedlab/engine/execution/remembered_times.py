"""Times of several ways of doing the same work, measured once on a machine and kept for later runs.

They are kept beside the cache of arrays, a file for each kind of work. Processes that measure at
the same time all go by the times that were kept first, so that they choose alike.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from fedlab import accelerator
from fedlab.data import array_cache
from fedlab.scenario import Scenario
from fedlab.version import __version__

log = logging.getLogger("fedlab")

Ways = Mapping[str, Callable[[], object]]
"""By name, what does the work and discards the result."""

LEARNING = ("data", "model", "strategy", "training")
"""The blocks of a scenario on which the times of its clients depend."""

ENOUGH = 0.5
"""Seconds after which a way is not timed again."""


def seconds_of(ways: Ways, scenario: Scenario, device: str, *what: object) -> dict[str, float]:
    """The seconds that each way takes, measured unless an earlier run on this machine has.

    Args:
        ways: The ways; they give the same numbers up to rounding.
        scenario: The experiment.
        device: The kind of device.
        what: What else distinguishes this work from others of the same scenario.
    """
    file = array_cache.folder().parent / "execution" / f"{_kind(scenario, device, what)}.json"
    kept = _kept(file, ways)
    if kept is None:
        measured = {name: _seconds(way) for name, way in ways.items()}
        _keep(file, measured, ways)
        kept = _kept(file, ways) or measured
    return kept


def _kind(scenario: Scenario, device: str, what: tuple[object, ...]) -> str:
    """A hash of everything that the times depend on."""
    on_accelerator = accelerator.is_accelerator(device)
    processor = accelerator.name_of(device) if on_accelerator else platform.processor()
    vectors = torch.backends.cpu.get_cpu_capability()
    threads, node = torch.get_num_threads(), platform.node()
    machine = [device, processor, vectors, node, threads, torch.__version__, __version__]
    blocks = scenario.model_dump(mode="json", include=set(LEARNING))
    text = json.dumps([blocks, scenario.partition.number_of_clients, what, machine], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _kept(file: Path, ways: Ways) -> dict[str, float] | None:
    """The times in a file; None if there are none, or none of these ways."""
    try:
        seconds = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(seconds, dict) or set(seconds) != set(ways):
        return None
    times = seconds.values()
    return seconds if all(type(each) is float and 0 < each < math.inf for each in times) else None


def _keep(file: Path, seconds: dict[str, float], ways: Ways) -> None:
    """Keeps times unless another process has."""
    own = file.with_name(f"{file.name}.{uuid.uuid4().hex}.unfinished")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(json.dumps(seconds))
        try:
            os.link(own, file)  # unlike a rename, leaves a file that is there
        except OSError:  # it is there, or the file system has no links
            if _kept(file, ways) is None:
                own.replace(file)
        own.unlink(missing_ok=True)
    except OSError as error:
        log.warning(
            "what was timed cannot be kept in %s (%s): the next run times again, and may choose "
            "otherwise; set FEDLAB_CACHE to a folder that can be written",
            file.parent,
            error.strerror,
        )


def _seconds(way: Callable[[], object]) -> float:
    """Wall-clock time of the quickest of some calls, after one that warms up."""
    way()
    accelerator.synchronize()
    quickest, spent = math.inf, 0.0
    while spent < ENOUGH:
        start = time.perf_counter()
        way()
        accelerator.synchronize()
        taken = time.perf_counter() - start
        quickest, spent = min(quickest, taken), spent + taken
    return quickest
