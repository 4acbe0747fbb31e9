"""An accelerator beside rounds in one process: extractors, finished runs, Ray (see
`helpers.pretend_accelerator`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch import nn

from fedlab.adaptation.adapt_test import adapt_test
from fedlab.adaptation.audit import audit
from fedlab.adaptation.calibrate import calibrate
from fedlab.adaptation.personalise import personalise
from fedlab.engine.execution import runtime
from fedlab.features.base import ExtractionContext
from fedlab.features.frozen import Backbone, FrozenNetwork
from fedlab.hardware import ResourcesSpec
from fedlab.preparation import prepare
from fedlab.runs.run import Run
from fedlab.simulation import simulate
from helpers import pretend_accelerator, toy

if pretend_accelerator.SUPPORTED:
    pretend_accelerator.install()  # modules are imported before the first test of any of them

pytestmark = [
    pytest.mark.skipif(not pretend_accelerator.SUPPORTED, reason=pretend_accelerator.MISSING),
    pytest.mark.xdist_group("accelerator_beside"),  # what is made for all of them is made once
]


def assert_close(there: Any, here: Any) -> None:
    """Values, arrays and tables, to rounding; what is no number is the same."""
    if isinstance(here, pandas.DataFrame):
        assert list(there.columns) == list(here.columns)
        for column in here:
            if pandas.api.types.is_float_dtype(here[column]):
                np.testing.assert_allclose(there[column], here[column], rtol=1e-3, atol=1e-5)
            else:
                assert there[column].tolist() == here[column].tolist()
    elif isinstance(here, dict):
        assert there.keys() == here.keys()
        for name in here:
            assert_close(there[name], here[name])
    elif isinstance(here, torch.Tensor):
        torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-5)
    else:
        np.testing.assert_allclose(there, here, rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------------- finished runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the CPU whose scenario leaves the device open."""
    chosen = toy.scenario(model={"name": "small_cnn", "widths": [4, 4, 8]}, rounds=1)
    return simulate(chosen, out=tmp_path_factory.mktemp("runs") / "run", progress=False)


def audited(run: Run) -> dict[str, Any]:
    found = audit(run, folds=2)
    return {"samples": found.samples, "limits": found.thresholds, "joint": found.joint}


def calibrated(run: Run) -> dict[str, Any]:
    found = calibrate(run, per_class=20, steps=3)
    return {"model": found.model, "table": found.table}


def adapted(run: Run, method: Any, **options: Any) -> dict[str, Any]:
    found = adapt_test(run, method=method, **options)
    return {"table": found.table, "models": found.models, "outputs": found.outputs}


Use = Callable[[Run], Any]
QUICK: dict[str, Use] = {"tent": partial(adapted, method="tent")}
SLOW: dict[str, Use] = {
    "fine_tune": partial(personalise, method="fine_tune", steps=3),
    "lp_ft": partial(personalise, method="lp_ft", steps=3),
    "audit": audited,
    "calibrate": calibrated,
    "statistics": partial(adapted, method="batch_statistics"),
    "label_shift": partial(adapted, method="label_shift", estimator="em"),
}


@pytest.mark.parametrize(
    "use", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_what_is_done_with_a_run_has_the_numbers_of_the_cpu(run: Run, use: str) -> None:
    here = (QUICK | SLOW)[use](run)
    with pretend_accelerator.present(), pretend_accelerator.counting() as cost:
        there = (QUICK | SLOW)[use](run)
    assert cost["launches"] > 0
    assert_close(there, here)


@pytest.mark.parametrize(("resources", "device"), [
    ({"device": "auto"}, "pretend"),
    ({"device": "cpu"}, "cpu"),
    ({"device": "auto", "gpus_per_actor": 0}, "cpu"),
    ({"device": "pretend:0"}, "pretend"),
    ({"device": "cuda"}, "pretend"),  # the run was made on another machine
])  # fmt: skip
def test_a_finished_run_is_used_where_its_scenario_says(
    resources: dict[str, Any], device: str
) -> None:
    with pretend_accelerator.present():
        assert ResourcesSpec(**resources).device_afterwards().type == device
    assert ResourcesSpec(**resources).device_afterwards().type == "cpu"


# ---------------------------------------------------------------------- extractors


class Projected(FrozenNetwork):
    """What the last of two dense layers reads of an image."""

    name: str = "test_accelerator_beside:Projected"

    def backbone(self, context: ExtractionContext, device: torch.device) -> Backbone:
        """Two layers with fixed weights."""
        layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5), nn.Tanh(), nn.Linear(5, 2))
        with torch.no_grad():
            for parameter in layers.parameters():
                parameter.copy_(torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
        return Backbone(lambda images: images / 255 - 0.5, layers)


WARM_UP = {
    "name": "warm_up",
    "network": {"name": "small_cnn", "widths": [4, 4, 8]},
    "rounds": 1,
    "training": {"batch_size": 16, "optimizer": {"lr": 0.05}},
}


@pytest.mark.parametrize(
    "extractor",
    ["test_accelerator_beside:Projected", pytest.param(WARM_UP, marks=pytest.mark.slow)],
    ids=["frozen", "warm_up"],
)
def test_features_have_the_numbers_of_the_cpu(extractor: Any) -> None:
    data = {"sources": [{"name": "helpers.toy:Stripes"}], "image_size": 8, "features": extractor}
    chosen = toy.scenario(data=data, model="linear")
    here = prepare(chosen).data
    with pretend_accelerator.present(), pretend_accelerator.counting() as cost:
        there = prepare(chosen).data
    assert cost["launches"] > 0
    for one, other in ((there.train, here.train), (there.test, here.test)):
        assert_close(one.inputs, other.inputs)


# ---------------------------------------------------------------------- Ray

SEEN = "FEDLAB_TEST_DEVICES"
"""Names the folder that actors write to."""


_FOR_GOOD = ExitStack()


def begin_process() -> None:
    """What every process of Ray does first: it has the device, and says where its clients train."""
    _FOR_GOOD.enter_context(pretend_accelerator.present())
    make = runtime.Runtime.__init__

    def noting(self: runtime.Runtime, *given: Any, **named: Any) -> None:
        import ray

        make(self, *given, **named)
        gpus = ray.get_runtime_context().get_accelerator_ids()["GPU"]
        Path(os.environ[SEEN], str(os.getpid())).write_text(f"{self.device.type} {len(gpus)}")

    runtime.Runtime.__init__ = noting


@pytest.mark.slow
def test_actors_share_a_device_and_have_the_numbers_of_the_cpu(tmp_path: Path) -> None:
    """Two actors with half a GPU each: Ray is started with one GPU."""
    import ray

    seen = tmp_path / "seen"
    seen.mkdir()
    here = os.path.dirname(__file__)
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={
            "env_vars": {"PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
            | {SEEN: str(seen)},
            "worker_process_setup_hook": "test_accelerator_beside.begin_process",
        },
    )
    try:
        with pretend_accelerator.present():
            there, expected = (
                simulate(
                    toy.scenario(strategy="scaffold", resources=resources),
                    out=tmp_path / resources["backend"],
                ).model_state()
                for resources in (
                    {"backend": "ray", "gpus_per_actor": 0.5},
                    {"backend": "local", "device": "cpu"},
                )
            )
    finally:
        ray.shutdown()
    assert [file.read_text() for file in seen.iterdir()] == ["pretend 1"] * 2
    for name, values in expected.items():
        torch.testing.assert_close(there[name], values, rtol=1e-5, atol=1e-5)
