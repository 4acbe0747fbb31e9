"""Every method with every target: it trains, or is refused in one line before anything does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fedlab.config import registry
from fedlab.config.builtin_names import BUILTIN
from fedlab.simulation import simulate
from fedlab.targets.base import EVERY
from helpers.targets import OTHERS, scenario

AT_ONCE = ("fedavg", "fedprox", "fedbn", "scaffold", "ditto", "fedper", "fedproto", "moon")
"""Those of the default tier; all others are slow tests."""

ANY_TARGET = {*AT_ONCE, "fedavgm", "fedadam", "fedrep", "lg_fedavg", "feddyn", "fednova"} - {
    "fedproto"
}
"""Methods that look at no label, and must not be refused one day."""

DEVICE = {"samples_per_second": 100, "download_mbps": 20, "upload_mbps": 5}
NEEDS: dict[str, dict[str, Any]] = {
    "fedbuff": {
        "devices": {"profiles": [DEVICE]},
        "strategy": {"name": "fedbuff", "buffer_size": 2, "concurrency": 3},
    },
    "feddg_ga": {"evaluation": {"validation": 0.25}},
    "fedwon": {"model": {"name": "small_cnn", "widths": [4, 4, 4], "norm": "none"}},
    "fixbn": {"rounds": 2},
    "nmtune": {"data": {"sources": ["helpers.targets:Tables"]}, "model": "linear"},
    "moon": {"strategy": {"name": "moon", "projection": 4}},
}
"""What a method cannot do without."""


def goes_with_every(method: str) -> bool:
    return registry.resolve("strategies", method).Parameters.targets == EVERY


def test_methods_that_look_at_no_label_take_every_target() -> None:
    assert {name for name in BUILTIN["strategies"] if goes_with_every(name)} >= ANY_TARGET


@pytest.mark.parametrize("target", OTHERS)
@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=() if name in AT_ONCE else pytest.mark.slow)
        for name in BUILTIN["strategies"]
    ],
)
def test_a_method_trains_or_is_refused(method: str, target: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "rounds": 1,
        "data": {"sources": ["helpers.targets:Pictures"], "image_size": 8, "channels": 1},
        "partition": {"clients": 3},
        "model": {"name": "small_cnn", "widths": [4, 4, 4]},
        "strategy": method,
        "training": {"batch_size": 4, "optimizer": {"lr": 0.05}},
    }
    changes |= NEEDS.get(method, {})
    if not goes_with_every(method):
        with pytest.raises(ValidationError) as raised:
            scenario(target, **changes)
        (error,) = raised.value.errors()
        kinds = registry.resolve("strategies", method).Parameters.targets
        those = "data.target class" if "class" in kinds else "partition.label_proportions"
        assert f"strategy.name: '{method}' goes with {those}" in error["msg"]
        assert "use one of" in error["msg"]
        assert "\n" not in error["msg"]
        return
    run = simulate(scenario(target, **changes), out=tmp_path / "run", progress=False)
    score = {"multi_label": "hamming_accuracy", "regression": "mae"}[target]
    rows = run.history[run.history.metric.isin(["loss", score])]  # one test sample has no R²
    assert {"train", "test"} <= set(rows.split)
    assert np.isfinite(rows.value).all()
    assert not (run.folder / "failures.csv").exists()
