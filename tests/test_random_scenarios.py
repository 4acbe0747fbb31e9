"""Scenarios made at random: each runs, or is refused in one line that says what to change.

Values are drawn from what people type: usual ones, the ends of ranges, other types, nonsense. A
scenario that was once answered wrongly stays here as an example.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from fedlab.config import registry
from fedlab.errors import FedlabError
from fedlab.scenario_file import load_scenario
from fedlab.simulation import simulate

PLAIN: dict[str, Any] = {
    "name": "random",
    "rounds": 1,
    "data": {
        "sources": [{"name": "helpers.toy:Stripes", "train": 24, "test": 16}],
        "image_size": 8,
    },
    "partition": {"clients": 4},
    "model": {"name": "mlp", "hidden": [8]},
    "strategy": "fedavg",
    "training": {"batch_size": 8, "optimizer": {"lr": 0.05}},
    "resources": {"backend": "local"},
}

ODD: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 10**9, 2**63, 0.0, 0.5, 1.0, 1.5, -0.5, 1e-30, 1e30, 1e308),
    *(float("nan"), float("inf"), True, False, None, "", "auto", "full", "1_0", "no", "a:b"),
    *("x" * 300, "\0", [], [1], [0.5, 2], {}, {"name": "none"}, {"name": "\u00e9"}),
)
SIZES = (1, 2, 3, 7, 16, 10**9)
RATES = (1e-30, 1e-6, 0.01, 0.5, 1.0, 100.0, 1e30)
SHARES = (1e-9, 0.01, 0.25, 0.5, 0.999, 1.0)

USUAL: dict[str, tuple[Any, ...]] = {
    "seed": (0, 1, 2**62),
    "rounds": (1, 2),
    "data.image_size": (1, 4, 8, 16, 10**6),
    "data.channels": (1, 3, 4),
    "data.domains": (["d0"], ["d0", "d1"], ["d9"], "d0"),
    "data.unseen_domains": (["d1"], ["d0", "d1"], "d1"),
    "data.train_samples_per_domain": SIZES,
    "data.test_samples_per_domain": SIZES,
    "data.augmentation": ({"flip": True}, {"crop_padding": 2}, {"rotation": 10}, {"flip": 3}),
    "partition.clients": (1, 2, 3, 5, 11, 100),
    "partition.domains": ("one_per_client", "mixed", {"name": "mixed", "alpha": 0.1}),
    "partition.labels": (
        *("iid", "dirichlet", {"name": "dirichlet", "alpha": 0.1}),
        *({"name": "dirichlet", "alpha": 1.0, "balanced": True}, {"name": "shards"}),
        {"name": "dirichlet", "alpha": 0.5, "capped": True, "min_samples": 2},
        *({"name": "classes_per_client", "count": n} for n in (1, 2, 9)),
    ),
    "partition.quantity": ({"name": "power_law", "exponent": 2.0}, {"name": "lognormal"}),
    "partition.label_budget": ({"share": 0.5}, {"share": 0.1}, {"share": 0}, {"positives": 0.5}),
    "partition.label_noise": ({"name": "symmetric", "rate": 0.3}, {"name": "pair", "rate": 0.9}),
    "model": ("linear", "small_cnn", {"name": "mlp", "hidden": [4, 4]}, "resnet20", "nowhere"),
    "model.norm": ("batch", "group", "layer", "none"),
    "model.hidden": ([1], [4, 4], []),
    "strategy.weighting": ("uniform", "examples"),
    "strategy.mu": RATES,
    "strategy.client": ("fedprox", "fedavg", "no_method"),
    "training.local_epochs": (1, 2, 3),
    "training.local_steps": (1, 2, 5),
    "training.batch_size": (1, 2, 7, 10**6, "full"),
    "training.remainder": ("keep", "drop", "merge"),
    "training.precision": ("bf16", "float32"),
    "training.loss": ("ldam", "ldr_kl", "logit_adjustment", {"name": "label_smoothing"}),
    "training.optimizer": ({"name": "adam", "lr": 0.01}, {"name": "sgd", "momentum": 0.9}),
    "training.optimizer.lr": RATES,
    "training.optimizer.momentum": (0.5, 0.999),
    "training.optimizer.weight_decay": (0.1, 1e6),
    "training.optimizer.clip_norm": RATES,
    "participation.fraction": SHARES,
    "participation.max_failed_share": (0.5, 0.99),
    "participation.min_replies": SIZES,
    "participation.timeout": (1e-6, 100.0),
    "participation.update_norm": RATES,
    "evaluation.every": (1, 2, 10**9),
    "evaluation.fraction": (0, *SHARES),
    "evaluation.batch_size": (1, 3, 10**9),
    "engine.execution": ("sequential", "vmap", "auto"),
    "engine.dense_layers": ("dense", "low_rank", "auto"),
    "engine.stack_size": (1, 2, 10**9),
    "privacy": ({"noise_multiplier": 1.0, "clipping_norm": 0.5}, {"noise_multiplier": 0}),
    "devices": (
        {"profiles": [{"samples_per_second": 10, "download_mbps": 1, "upload_mbps": 1}]},
        {"deadline": 3},
    ),
    "output.checkpoint_every": (1, 2, 10**6),
    "nonsense": (1,),
    "training.nonsense": ("x",),
}


@some.composite
def changes(draw: some.DrawFn) -> dict[str, Any]:
    """Up to five keys with a usual value, or now and then an odd one, and any method."""
    keys = draw(some.lists(some.sampled_from(sorted(USUAL)), max_size=5, unique=True))
    chosen = {"strategy": draw(some.sampled_from(sorted(registry.names("strategies"))))}
    for key in keys:
        odd = draw(some.integers(0, 5)) == 0
        chosen[key] = draw(some.sampled_from(ODD if odd else USUAL[key]))
    return chosen


def answered(chosen: dict[str, Any]) -> None:
    """Runs a scenario; an error must be fedlab's own, in one line, and nothing may take long."""
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = simulate(load_scenario(PLAIN, chosen), out=Path(folder) / "run", progress=False)
        except FedlabError as error:
            said = str(error)
            assert said.strip()
            assert len(said) < 3000
            assert "Traceback" not in said or "raised" in said
        else:
            assert run.finished
            assert len(run.history)
    assert time.process_time() - begun < 30  # seconds of work, however busy the machine


RANDOMLY = settings(
    deadline=None,
    derandomize=True,  # the same scenarios every time: a check tells of the change, not of luck
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


MANY = int(os.environ.get("FEDLAB_SCENARIOS", "150"))
"""Scenarios of the slow test; the more, the rarer what is found."""


@settings(RANDOMLY, max_examples=25)
@example({"strategy": "fedbn", "participation.fraction": 0.25, "partition.clients": 5})
@given(changes())
def test_a_scenario_runs_or_is_refused(chosen: dict[str, Any]) -> None:
    answered(chosen)


@pytest.mark.slow
@settings(RANDOMLY, max_examples=MANY)
@given(changes())
def test_many_scenarios_run_or_are_refused(chosen: dict[str, Any]) -> None:
    answered(chosen)
