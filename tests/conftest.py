"""Fixtures shared by the tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.register_assert_rewrite("helpers")  # an assertion that fails there shows its values, too


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets one process run all tests that need Ray, so that only one has to start it."""
    for item in items:
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
    from fedlab.engine.execution import runtime

    inputs, build = Preprocess.inputs, runtime.build_model
    monkeypatch.setattr(Preprocess, "inputs", lambda *given, **own: inputs(*given, **own).double())
    monkeypatch.setattr(runtime, "build_model", lambda *given: build(*given).double())


@pytest.fixture(scope="session")
def ray_here(_private_cache: None) -> Iterator[None]:
    """One small Ray for all tests that need one, whose actors serve one test after another."""
    import ray

    from fedlab.engine.ray.session import session

    ray.init(
        address="local",  # not a cluster that somebody else has started on this machine
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    with session():
        yield
    ray.shutdown()


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps decoded data of tests out of the user's cache; processes of one test run share it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDLAB_CACHE", str(folder / "cache"))
        yield
