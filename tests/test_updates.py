"""What happens to updates on their way: by hand, by any method, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fedlab
from fedlab import InputError
from fedlab.config import registry
from fedlab.errors import RunError
from fedlab.records import Tensors
from fedlab.scenario_file import load_scenario
from fedlab.training.local_round import Received, Update
from fedlab.updates import AggregationRule, Compression, UpdateTransform
from fedlab.updates.client_side import outgoing
from fedlab.updates.clip import Clip
from fedlab.updates.int8 import Int8
from fedlab.updates.robust import Median, TrimmedMean
from fedlab.updates.spec import UpdatesSpec
from fedlab.updates.top_k import TopK
from helpers.running import At, on, result
from helpers.toy import scenario

POINTS = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5], [10, -10]], dtype=torch.double)
"""Five honest clients and one that lies."""


def sent(spec: dict[str, Any], change: list[float], state: dict[str, Tensors], seed: int = 0):
    """What a client sends whose weight went down as ones and changed so, and what it keeps."""
    down = {"arrays": {"w": torch.ones(len(change))}}
    update = Update({"arrays": {"w": 1 + torch.tensor(change)}}, {})
    return outgoing(
        UpdatesSpec.model_validate(spec),
        update,
        Received(down, {"server-round": 1}),
        state,
        {"w": torch.Size([len(change)])},
        torch.Generator().manual_seed(seed),
    )


# ---------------------------------------------------------------------- by hand


def test_a_long_update_is_shortened_over_all_its_tensors_together() -> None:
    changes = {"arrays": {"a": torch.tensor([3.0]), "b": torch.tensor([0.0, 4.0])}}
    clipped = Clip(norm=1.0).transform(changes, torch.Generator())["arrays"]
    assert clipped["a"].tolist() == pytest.approx([0.6])
    assert clipped["b"].tolist() == pytest.approx([0.0, 0.8])
    assert Clip(norm=5.0).transform(changes, torch.Generator()) is changes


def test_what_a_client_sends_is_its_clipped_change_added_to_what_came_down() -> None:
    update = sent({"transforms": [{"name": "clip", "norm": 1}]}, [3.0, 4.0], {})
    assert update.arrays["arrays"]["w"].tolist() == pytest.approx([1.6, 1.8])


def test_the_largest_changes_travel_and_the_rest_waits_for_the_next_round() -> None:
    """Top-1 of (3, 1.25) again and again: 3; 3; then 1.25 has grown to 3.75 and goes first; 6."""
    spec = {"compression": {"name": "top_k", "share": 0.5}}
    state: dict[str, Tensors] = {}
    travelled = []
    for _ in range(4):
        update = sent(spec, [3.0, 1.25], state)
        state = update.client_state
        packed = update.arrays["arrays.encoded"]
        assert (packed["w:values"].dtype, packed["w:places"].dtype) == (torch.float32, torch.int32)
        travelled.append((packed["w:places"].item(), packed["w:values"].item()))
    assert travelled == [(0, 3.0), (0, 3.0), (1, 3.75), (0, 6.0)]
    assert state["updates"]["arrays/w"].tolist() == [0.0, 1.25]


def test_without_feedback_small_changes_are_lost() -> None:
    spec = {"compression": {"name": "top_k", "share": 0.5, "feedback": False}}
    update = sent(spec, [3.0, 1.25], {})
    assert update.client_state == {}


def test_of_equal_changes_the_first_travel() -> None:
    packed = TopK(share=0.4).encode(torch.tensor([1.0, -2.0, 2.0, 2.0, 0.0]), torch.Generator())
    assert packed["places"].tolist() == [1, 2]
    assert packed["values"].tolist() == [-2.0, 2.0]


def test_eight_bits_are_right_on_average_and_never_wrong_by_more_than_a_level() -> None:
    values = torch.from_numpy(np.random.default_rng(0).standard_normal(4096).astype("f4") * 1e-2)
    generator = torch.Generator().manual_seed(0)
    coder, total, count = Int8(), torch.zeros(4096, dtype=torch.double), 500
    for _ in range(count):
        packed = coder.encode(values, generator)
        decoded = coder.decode(packed, values.shape)
        assert (decoded - values).abs().max() <= packed["scale"] * 1.001
        total += decoded.double()
    assert packed["levels"].dtype == torch.int8
    error = (total / count - values).square().sum() / values.square().sum()
    # One rounding is wrong by u (1 - u) s² on average, at most s² / 4: relative .0126 here.
    assert error < 2 * 0.0126 / count
    assert (
        coder.decode(coder.encode(torch.zeros(3), generator), torch.Size([3])).tolist() == [0] * 3
    )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [(Median(), [0.75, 0.25]), (TrimmedMean(share=1 / 6), [0.625, 0.375])],
    ids=lambda value: getattr(value, "name", ""),
)
def test_one_liar_moves_a_rule_by_little(rule: AggregationRule, expected: list[float]) -> None:
    assert rule.combine(POINTS, [1.0] * 6).tolist() == pytest.approx(expected)
    assert POINTS.mean(dim=0).tolist() == pytest.approx([12.5 / 6, -7.5 / 6])


def test_the_mean_as_a_rule_is_weighted() -> None:
    mean = registry.resolve("aggregation_rules", "mean")()
    assert mean.combine(POINTS[:2], [1.0, 3.0]).tolist() == [0.75, 0.0]


# ---------------------------------------------------------------------- any method

PERSONAL = {"fedbn", "silobn", "ditto", "fedper", "fedrep", "lg_fedavg", "fedrod", "fedala", "f2dc"}
"""Methods without a global model."""

NOT_HERE = {
    *("fedbuff", "ggeur", "fedlabel", "fixmatch", "uda", "local_only", "fedproto", "ifca"),
    *("feddg_ga", "fdse", "nmtune", "llp_bp"),
}
"""Methods that send no model, or need more than these scenarios have."""

METHODS = [
    pytest.param(name, marks=() if name in {"scaffold", "fedbn", "fednova"} else pytest.mark.slow)
    for name in registry.BUILTIN["strategies"]
    if name not in NOT_HERE
]


@pytest.mark.slow_except("scaffold")
@pytest.mark.parametrize("name", METHODS)
def test_sending_every_change_is_sending_the_model(name: str, tmp_path: Path) -> None:
    """Top-k of all is no compression, so that a method comes to the same model."""
    model = "small_cnn" if name in {"fedbn", "silobn", "fixbn", "f2dc"} else "mlp"
    fields: dict[str, Any] = {"strategy": name, "rounds": 2, "model": model}
    if name == "fednova":
        fields["training"] = {"batch_size": 16, "optimizer": {"lr": 0.05, "momentum": 0.9}}
    all_of_it = {"compression": {"name": "top_k", "share": 1.0}}
    plain = fedlab.simulate(scenario(**fields), out=tmp_path / "plain", progress=False)
    packed = fedlab.simulate(
        scenario(**fields, updates=all_of_it), out=tmp_path / "packed", progress=False
    )
    ours, theirs = (
        run.model().state_dict() if name not in PERSONAL else run.model(client=0).state_dict()
        for run in (packed, plain)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_median_is_that_of_clients_trained_alone(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "strategy": {"name": "fedavg", "weighting": "uniform"},
        "rounds": 1,
        "model": {"name": "mlp", "hidden": [8]},
    }
    run = fedlab.simulate(
        scenario(**fields, updates={"rule": "median"}), out=tmp_path / "median", progress=False
    )
    alone = fedlab.simulate(
        scenario(**fields | {"strategy": "local_only"}), out=tmp_path / "alone", progress=False
    )
    models = [alone.model(client=client).state_dict() for client in range(3)]
    for name, tensor in run.model().state_dict().items():
        expected = np.median([model[name].numpy() for model in models], axis=0)
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_bytes_up_are_those_that_travel(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"rounds": 1, "model": {"name": "mlp", "hidden": [8]}}
    sizes = [3 * 8 * 8 * 8, 8, 8 * 4, 4]  # the tensors of 192 x 8 and 8 x 4 weights and biases
    expected = {
        "int8": 3 * sum(size + 4 for size in sizes),
        "top_k": 3 * sum(8 * max(1, -(-size // 10)) for size in sizes),
    }
    for name, up in expected.items():
        run = fedlab.simulate(
            scenario(**fields, updates={"compression": name}), out=tmp_path / name, progress=False
        )
        history = run.history
        assert history[history.metric == "bytes_up"].value.tolist() == [up]


def test_a_virtual_clock_counts_packed_bytes(tmp_path: Path) -> None:
    profile = {"download_mbps": 1e6, "upload_mbps": 0.008, "samples_per_second": 1e9}
    fields: dict[str, Any] = {"rounds": 1, "model": {"name": "mlp", "hidden": [8]}}
    seconds = []
    for updates in ({}, {"compression": "int8"}):
        run = fedlab.simulate(
            scenario(**fields, devices={"profiles": [profile]}, updates=updates),
            out=tmp_path / str(len(seconds)),
            progress=False,
        )
        history = run.history
        seconds.append(history[history.metric == "virtual_seconds"].value.iloc[0])
    parameters = 192 * 8 + 8 + 8 * 4 + 4
    assert seconds[0] == pytest.approx(4 * parameters / 1000, rel=1e-3)
    assert seconds[1] == pytest.approx((parameters + 16) / 1000, rel=1e-3)


@pytest.mark.slow
def test_what_waits_survives_an_interruption(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"rounds": 4, "updates": {"compression": "top_k"}, "strategy": "fedbn"}
    whole = fedlab.simulate(scenario(**fields), out=tmp_path / "whole", progress=False)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fedlab.simulate(
            scenario(**fields), out=tmp_path / "part", callbacks=[At(2, stop)], progress=False
        )
    fedlab.resume(tmp_path / "part", progress=False)
    assert result(tmp_path / "part") == result(whole.folder)


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_actors_send_the_same_bytes(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "strategy": {"name": "scaffold", "weighting": "uniform"},
        "updates": {
            "transforms": [{"name": "clip", "norm": 0.5}],
            "compression": "int8",
            "rule": "median",
        },
    }
    here, there = (
        fedlab.simulate(
            scenario(**fields, resources=on(backend)), out=tmp_path / backend, progress=False
        )
        for backend in ("local", "ray")
    )
    assert result(here.folder) == result(there.folder)


def test_private_means_are_of_unpacked_updates(tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "strategy": {"name": "fedavg", "weighting": "uniform"},
        "model": {"name": "mlp", "hidden": [8]},
        "privacy": {"noise_multiplier": 1e-6, "clipping_norm": 100.0, "delta": 1e-3},
        "rounds": 1,
    }
    plain, packed = (
        fedlab.simulate(
            scenario(**fields, updates=updates), out=tmp_path / str(len(updates)), progress=False
        )
        for updates in ({}, {"compression": {"name": "top_k", "share": 1.0}})
    )
    ours, theirs = (run.model().state_dict() for run in (packed, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------------- one's own


class Halve(UpdateTransform):
    name: str = "halve"

    def transform(self, changes, generator):
        return {r: {n: t / 2 for n, t in tensors.items()} for r, tensors in changes.items()}


class Halves(Compression):
    """Sixteen-bit floats."""

    name: str = "halves"

    def encode(self, change, generator):
        return {"values": change.half()}

    def decode(self, encoded, shape):
        return encoded["values"].float()


def test_a_users_parts_are_resolved_like_builtin_ones(tmp_path: Path) -> None:
    updates = {"transforms": [f"{__name__}:Halve"], "compression": f"{__name__}:Halves"}
    fields: dict[str, Any] = {"rounds": 1, "model": {"name": "mlp"}}
    plain = fedlab.simulate(scenario(**fields), out=tmp_path / "plain", progress=False)
    mine = fedlab.simulate(
        scenario(**fields, updates=updates), out=tmp_path / "mine", progress=False
    )
    start = dict(fedlab.prepare(scenario(**fields)).model.named_parameters())
    ours, theirs = (dict(run.model().named_parameters()) for run in (mine, plain))
    assert len(start) > 3
    for (name, before), after, whole in zip(
        start.items(), ours.values(), theirs.values(), strict=True
    ):
        expected = (whole - before) / 2
        torch.testing.assert_close(after - before, expected, rtol=2e-3, atol=1e-5, msg=name)


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"updates": {"rule": "median"}},
            "median counts every client the same, and strategy.weighting says 'examples'",
        ),
        (
            {"updates": {"rule": {"name": "trimmed_mean", "share": 0.4}}, "strategy": "scaffold"},
            "trimmed_mean: it leaves out 2 of 3 clients on either side",
        ),
        (
            {"updates": {"compression": "int8"}, "participation": {"update_norm": 1.0}},
            "participation.update_norm: an update that is compressed has no norm",
        ),
        (
            {"updates": {"compression": "int8"}, "strategy": "flwr:FedAvg"},
            "looks at replies by its",
        ),
        (
            {"updates": {"rule": "median"}, "strategy": {"name": "fedproto"}},
            "updates: fedproto sends no model",
        ),
        (
            {
                "updates": {"rule": "median"},
                "strategy": {"name": "fedavg", "weighting": "uniform"},
                "privacy": {"noise_multiplier": 1.0, "clipping_norm": 1.0},
                "model": "mlp",
            },
            "noise is counted for a mean, and median is none",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        fedlab.prepare(scenario(**fields))


def test_a_rule_that_a_method_never_asks_for_ends_the_run(tmp_path: Path) -> None:
    from fedlab import Strategy

    class First(Strategy):
        """Takes the first client's model."""

        def aggregate(self, server_round, updates):
            self.state["arrays"] = dict(updates[0].arrays["arrays"])

    strategy = {"name": First, "weighting": "uniform"}
    with pytest.raises(RunError, match="median has no effect on"):
        fedlab.simulate(
            scenario(strategy=strategy, updates={"rule": "median"}), out=tmp_path / "run"
        )


def test_the_block_is_written_and_read(tmp_path: Path) -> None:
    chosen = load_scenario(
        scenario(), ["updates.transforms=[{name: clip, norm: 2}]", "updates.compression=top_k"]
    )
    assert chosen.updates.transforms[0] == Clip(norm=2)
    assert chosen.updates.compression == TopK()
    assert chosen.updates.rule.name == "mean"
