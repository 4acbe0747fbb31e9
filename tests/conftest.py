"""Fixtures shared by the tests."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    # As in many containers. Every process that a test starts would compile PyTorch anew, which
    # takes longer than all else that it does; the bytecode lies elsewhere than beside the sources.
    sys.pycache_prefix = str(Path(tempfile.gettempdir()) / f"fedlab-bytecode-{os.getuid()}")
    sys.dont_write_bytecode = False
    os.environ.setdefault("PYTHONPYCACHEPREFIX", sys.pycache_prefix)
pytest.register_assert_rewrite("helpers")  # an assertion that fails there shows its values, too

from helpers import tiers  # noqa: E402 - after what it needs

PROCESSES = {"slow": 3}
"""Processes that tests run in where `-n` says nothing else, and pytest-xdist is there, by `-m`.

Two by default, for two cores; slow tests also wait for deadlines and processes.
"""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Chooses the number of processes, which pytest-xdist reads next."""
    if not config.pluginmanager.hasplugin("xdist") or "PYTEST_XDIST_WORKER" in os.environ:
        return
    if config.option.numprocesses is None:
        number = PROCESSES.get(config.option.markexpr, 2)
        config.option.numprocesses = 0 if config.option.usepdb else number
    if config.option.numprocesses and config.option.dist == "no":
        config.option.dist = "loadgroup"


def pytest_configure(config: pytest.Config) -> None:
    """Lets the marks of pytest-xdist stand where it is not installed."""
    if not config.pluginmanager.hasplugin("xdist"):
        config.addinivalue_line("markers", "xdist_group(name): tests that one process runs")


QUICK = """
    aggregation array_labels csv_table device_grid doors files import_circles keys local_round
    norms partition partition_view parts pool preprocess rng scenario_diff scenario_file skews
    strong_views sums tensor_files traffic transforms weight_standardisation
"""
"""Modules of the tier `quick`, half a minute on two cores: no Ray, and no run is simulated."""


def is_quick(path: Path) -> bool:
    """Whether a module belongs to the tier `quick`."""
    return path.stem.removeprefix("test_") in QUICK.split()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spares the tier `quick` the time that it takes to import all other modules."""
    skip = config.option.markexpr == "quick" and collection_path.suffix == ".py"
    return True if skip and not is_quick(collection_path) else None


@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Marks those cases of a parametrised test as slow that its marks name."""
    made = yield
    if isinstance(made, list):
        tiers.mark_slow([case for case in made if isinstance(case, pytest.Item)])
    return made


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks quick tests, and lets one process run all that need Ray, which it starts once."""
    for item in items:
        if is_quick(item.path) and not any(map(item.get_closest_marker, ("slow", "gpu"))):
            item.add_marker("quick")
        if "ray_here" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line; gives its exit code, output and errors."""
    from fedlab import cli

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedlab", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        written = capsys.readouterr()
        return int(ended.value.code or 0), written.out, written.err

    return call


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Double precision, in which rounding cannot hide a difference or make one."""
    from fedlab.data.preprocess import Preprocess
    from fedlab.engine.execution import build_trainer

    inputs, build = Preprocess.inputs, build_trainer.build_model
    monkeypatch.setattr(Preprocess, "inputs", lambda *given, **own: inputs(*given, **own).double())
    monkeypatch.setattr(build_trainer, "build_model", lambda *given: build(*given).double())


@pytest.fixture(scope="session")
def ray_here(_private_cache: None) -> Iterator[None]:
    """One small Ray for all tests that need one, whose actors serve one test after another."""
    import ray

    from fedlab.engine.ray.session import session

    ray.init(
        address="local",  # not a cluster that another user has started on this machine
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    with session():
        yield
    ray.shutdown()


@pytest.fixture(scope="session", autouse=True)
def _no_power_cut() -> Iterator[None]:
    """Spares the wait for the disk: what a test kills is a process, never the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps decoded data of tests out of the user's cache; processes of one test run share it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDLAB_CACHE", str(folder / "cache"))
        yield


@pytest.fixture(autouse=True)
def _own_imports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Removes a test's temporary folders from ``sys.path``, and their modules."""
    from helpers import imports

    with imports.restored(tmp_path_factory.getbasetemp()):
        yield
