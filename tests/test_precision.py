"""Training in bfloat16: parameters stay float32, and every way of execution is close to it."""

from __future__ import annotations

import pytest
import torch

from fedlab.clients.base import Received
from fedlab.engine.execution.batched_mlp import chain_of
from helpers.cohorts import METHODS, NETWORKS, rounds, runtime_of


@pytest.mark.slow_except(
    "alone dense-fedavg", "alone dense-fedbn", "together dense-fedbn", "alone low_rank-fedavg"
)
@pytest.mark.parametrize("method", ["fedavg", "fedprox", "fedbn", "moon", "fedwon"])
@pytest.mark.parametrize("way", ["alone dense", "alone low_rank", "together dense"])
def test_bf16_is_float32_up_to_rounding(method: str, way: str) -> None:
    execution, linear = way.split()
    norm = "batch" if execution == "alone" or method == "fedwon" else "group"
    results = {}
    for precision in ("float32", "bf16"):
        runtime = runtime_of(
            strategy=METHODS.get(method, {"name": method}),
            model=NETWORKS[f"cnn-{norm}"],
            training={"batch_size": 8, "optimizer": {"lr": 0.01}, "precision": precision},
            engine={"dense_layers": linear},
        )
        together = execution == "together"
        assert runtime.trainer.supports_vmap or not together
        results[precision] = rounds(runtime, together, count=1)
    for (exact, _), (rough, metrics) in zip(results["float32"], results["bf16"], strict=True):
        sent, expected = rough.arrays["arrays"], exact.arrays["arrays"]
        assert all(sent[name].dtype == expected[name].dtype for name in expected)
        weights = [name for name in expected if name.endswith("weight")]
        assert any(not torch.equal(sent[name], expected[name]) for name in weights)
        torch.testing.assert_close(sent, expected, rtol=0.05, atol=0.03)
        assert metrics["loss"] < 10


def test_batch_normalisation_in_bf16_is_not_stacked() -> None:
    for precision in ("float32", "bf16"):
        runtime = runtime_of(model=NETWORKS["cnn-batch"], training={"precision": precision})
        assert runtime.trainer.supports_vmap == (precision == "float32")


def test_stacks_in_bf16_are_not_written_out() -> None:
    training = {"precision": "bf16"}
    for model in ("linear", "mlp"):
        trainer = runtime_of(model=NETWORKS[model], training=training)
        assert chain_of(trainer.trainer, trainer.preprocess) is None


def test_tests_are_in_float32() -> None:
    exact = runtime_of(model=NETWORKS["cnn-batch"])
    rough = runtime_of(model=NETWORKS["cnn-batch"], training={"precision": "bf16"})
    received = Received({"arrays": exact.trainer.task.model.state_dict()})
    assert exact.evaluate(0, received, {}) == rough.evaluate(0, received, {})
