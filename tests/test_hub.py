"""Data sets that are fetched from a hub: a small one on this machine, which ends in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.pretend_hub import FIRST, NAME, SECOND, pretend_hub

ASKS = r"""
import json, socket, sys
from pathlib import Path

strangers, find = set(), socket.getaddrinfo

def watched(host, *rest, **more):
    if host not in ("127.0.0.1", "localhost", None):
        strangers.add(str(host))
        raise OSError(f"there is no network, and {host} is not on this machine")
    return find(host, *rest, **more)

socket.getaddrinfo = watched

import fedlab
from fedlab.data import load_data

def tried(name, download, **source):
    scenario = {
        "name": name,
        "rounds": 1,
        "data": {
            "sources": [{"name": "hf", "dataset": "lab/digits", "test": "test", **source}],
            "download": download,
            "channels": 1,
            "image_size": 6,
        },
        "partition": {"clients": 2},
        "model": "linear",
        "resources": {"backend": "local"},
    }
    try:
        run = fedlab.simulate(scenario, out=name, progress=False)
    except fedlab.InputError as error:
        return str(error)
    scenario = fedlab.load_scenario(Path(name) / "scenario.yaml")
    data = load_data(scenario.data)
    return {
        "revision": scenario.data.sources[0].revision,
        "train": len(data.train),
        "first": int(data.train.inputs[0].max()),
        "classes": list(data.class_names),
    }

for line in sys.stdin:
    print(json.dumps([tried(**json.loads(line)), sorted(strangers)]), flush=True)
"""
"""Runs a scenario for each line of its input, and says how it ended and whom else it asked for."""


class Asking:
    """A process that trains on data of the hub.

    Args:
        folder: Where it works, and keeps what it fetches.
        endpoint: Address of the hub.
    """

    def __init__(self, folder: Path, endpoint: str) -> None:
        kept = {"HF_HOME": str(folder / "hf"), "FEDLAB_CACHE": str(folder / "cache")}
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", ASKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "errors.txt").open("a"),
            text=True,
            cwd=folder,
            env=os.environ | kept | {"HF_ENDPOINT": endpoint},
        )

    def __call__(self, name: str, download: bool = True, **source: Any) -> Any:
        """The result of a run, which asks no other server."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps({"name": name, "download": download, **source})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, (self.folder / "errors.txt").read_text()
        found, strangers = json.loads(answer)
        assert strangers == []
        return found

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process as process:  # closes its input, and waits
            assert process.stdin is not None
            process.stdin.close()


TAGGED = {"revision": FIRST, "train": 8, "first": 200, "classes": ["zero", "one"]}
LATEST = {"revision": SECOND, "train": 12, "first": 10, "classes": ["zero", "one"]}


@pytest.mark.slow
def test_a_commit_of_the_hub_is_fetched_pinned_and_found_without_the_hub(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="needs the extra hf (datasets)")
    with pretend_hub() as hub, Asking(tmp_path, hub.endpoint) as ask:
        assert ask("latest") == LATEST
        assert ask("tagged", revision="v1") == TAGGED
        assert "has no such revision on http://127" in ask("lost", revision="v9")
        assert f"has no data set '{NAME}s'" in ask("misspelt", dataset=f"{NAME}s")
        assert all(path.startswith(("/datasets/", "/api/datasets/")) for path in hub.asked)
    with Asking(tmp_path, hub.endpoint) as ask:  # which is gone
        assert ask("again", revision=SECOND) == LATEST
        assert ask("offline", download=False, revision=SECOND) == LATEST
        assert ask("last", download=False) == TAGGED  # what was fetched last
        said = ask("named", download=False, revision="v1")
        assert "only the hub can say; give the commit in full" in said
        said = ask("other", download=False, revision="4" * 40)
        assert "has not been fetched on this machine; data.download=true fetches it" in said
        for revision in (None, "4" * 40):
            said = ask("unreachable", revision=revision)
            assert f"'{NAME}' cannot be fetched from {hub.endpoint}" in said
            assert "see whether the network is there" in said
            assert "\n" not in said
