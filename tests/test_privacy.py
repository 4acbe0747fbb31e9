"""Central differential privacy: what is clipped, how much noise, what it costs, what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import fedlab
from fedlab.cli import app
from fedlab.deploy.server.serve_setup import setup_of
from fedlab.errors import InputError, RunError
from fedlab.privacy.accounting import epsilon_after
from fedlab.privacy.mechanism import private_mean
from fedlab.privacy.noise import standard_normal
from fedlab.privacy.spec import PrivacySpec
from helpers.fleets import SLOWER_AND_SLOWER
from helpers.toy import scenario

PRIVACY = {"noise_multiplier": 1.0, "clipping_norm": 0.5}


def private(**fields: Any) -> Any:
    """A scenario that privacy suits."""
    plain = {
        "model": {"name": "mlp", "hidden": [8]},
        "strategy": {"name": "fedavg", "weighting": "uniform"},
        "privacy": PRIVACY,
    }
    return scenario(**(plain | fields))


def spec(**fields: Any) -> PrivacySpec:
    return PrivacySpec.model_validate(PRIVACY | fields)


# ---------------------------------------------------------------------- the mechanism


def test_updates_are_clipped_one_by_one_over_all_tensors() -> None:
    received = {"a": torch.tensor([1.0, 1.0]), "b": torch.tensor([2.0])}
    models = [
        {"a": torch.tensor([1.0, 4.0]), "b": torch.tensor([6.0])},  # (0, 3, 4): norm 5 -> 0.5
        {"a": torch.tensor([1.3, 1.0]), "b": torch.tensor([2.0])},  # (0.3, 0, 0) stays
    ]
    mean = private_mean(
        received, models, 2, spec(noise_multiplier=1e-12), torch.Generator().manual_seed(0)
    )
    # Sums (0.3, 0.3, 0.4); half of them on top of what went down.
    assert mean["a"].tolist() == pytest.approx([1.15, 1.15])
    assert mean["b"].tolist() == pytest.approx([2.2])
    assert mean["a"].dtype == torch.float32


def test_a_missing_client_counts_as_one_that_changed_nothing() -> None:
    received, model = {"a": torch.zeros(1)}, {"a": torch.tensor([0.4])}
    quiet = spec(noise_multiplier=1e-12)
    mean = private_mean(received, [model], 4, quiet, torch.Generator().manual_seed(0))
    assert mean["a"].item() == pytest.approx(0.1)


@pytest.mark.parametrize("source", [torch.Generator().manual_seed(0), None])
def test_noise_has_the_stated_deviation(source: torch.Generator | None) -> None:
    received = {"a": torch.zeros(200_001), "b": torch.zeros(3, 3)}
    loud = spec(noise_multiplier=3.0, clipping_norm=0.5)
    mean = private_mean(received, [], 10, loud, source)
    # 3 * 0.5 on the sum, a tenth of it on the mean.
    assert mean["a"].std().item() == pytest.approx(0.15, rel=0.01)
    assert mean["a"].mean().item() == pytest.approx(0.0, abs=0.002)
    assert mean["b"].std().item() > 0


def test_secret_noise_is_normal_and_follows_from_no_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = standard_normal((300, 333), None)
    assert noise.shape == (300, 333)
    assert noise.dtype == torch.float64
    sorted_noise = noise.flatten().sort().values
    expected = (1 + torch.erf(sorted_noise / math.sqrt(2))) / 2
    steps = torch.arange(1, len(expected) + 1) / len(expected)
    # Kolmogorov and Smirnov: 2.6 / sqrt(n) is passed three times in a million.
    assert (expected - steps).abs().max() < 2.6 / math.sqrt(len(expected))
    assert np.corrcoef(noise.flatten()[:49_950], noise.flatten()[49_950:])[0, 1] < 0.03
    monkeypatch.setattr(torch, "randn", None)
    monkeypatch.setattr(np.random, "default_rng", None)
    torch.manual_seed(0)
    first = standard_normal((3,), None)
    torch.manual_seed(0)
    assert not torch.equal(first, standard_normal((3,), None))


def test_what_cannot_be_clipped_ends_the_run() -> None:
    model = {"a": torch.tensor([float("nan")])}
    with pytest.raises(RunError, match="not finite"):
        private_mean({"a": torch.zeros(1)}, [model], 1, spec(), torch.Generator())


def test_epsilon_is_that_of_the_gaussian_mechanism() -> None:
    rounds, noise, delta = 30, 4.0, 1e-6
    found = epsilon_after(spec(noise_multiplier=noise, delta=delta), rounds, 100, 10)
    # Rényi divergence of order a is a T / 2σ²; to (ε, δ) by Canonne, Kamath, Steinke (2020).
    orders = np.linspace(1.05, 60, 100_000)
    bounds = (
        orders * rounds / (2 * noise**2)
        + np.log1p(-1 / orders)
        - (np.log(delta * orders)) / (orders - 1)
    )
    assert found == pytest.approx(bounds.min(), rel=0.01)
    assert found >= bounds.min() - 1e-9


# ---------------------------------------------------------------------- runs


def final(run: fedlab.Run) -> dict[str, torch.Tensor]:
    return run.model_state()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> fedlab.Run:
    folder = tmp_path_factory.mktemp("privacy") / "run"
    return fedlab.simulate(private(), out=folder, progress=False)


def test_a_run_shows_what_it_has_spent(run: fedlab.Run) -> None:
    spent = run.history.query("metric == 'epsilon' and split == 'round'").value.tolist()
    assert spent == [pytest.approx(epsilon_after(spec(), r, 3, 3)) for r in (1, 2)]
    assert spent[0] < spent[1]


def test_noise_repeats_with_the_seed_and_with_nothing_else(run: fedlab.Run, tmp_path: Path) -> None:
    again = fedlab.simulate(private(), out=tmp_path / "again", progress=False)
    other = fedlab.simulate(private(seed=1), out=tmp_path / "other", progress=False)
    for name, tensor in final(run).items():
        assert torch.equal(tensor, final(again)[name])
        assert not torch.equal(tensor, final(other)[name])


def test_the_noise_is_what_a_run_without_it_lacks(tmp_path: Path) -> None:
    """With one round and updates too small to be clipped, the difference is the noise alone."""
    quiet = {"noise_multiplier": 1e-9, "clipping_norm": 100.0}
    loud = {"noise_multiplier": 0.01, "clipping_norm": 100.0}
    plain = fedlab.simulate(private(privacy=None, rounds=1), out=tmp_path / "p", progress=False)
    first = fedlab.simulate(private(privacy=quiet, rounds=1), out=tmp_path / "q", progress=False)
    second = fedlab.simulate(private(privacy=loud, rounds=1), out=tmp_path / "l", progress=False)
    differences = []
    for name, tensor in final(plain).items():
        torch.testing.assert_close(final(first)[name], tensor, rtol=0, atol=1e-5)
        differences.append((final(second)[name] - tensor).flatten())
    assert torch.cat(differences).std().item() == pytest.approx(0.01 * 100 / 3, rel=0.05)


def test_a_stopped_run_ends_in_the_same_bytes(tmp_path: Path) -> None:
    class Stop:
        def on_start(self, *_: object) -> None: ...

        def on_round(self, strategy: object, report: Any) -> None:
            if report.round == 2:
                raise KeyboardInterrupt

        def on_end(self, *_: object) -> None: ...

    chosen, stopped = private(rounds=3), tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        fedlab.simulate(chosen, out=stopped, callbacks=[Stop()], progress=False)
    assert fedlab.resume(stopped, progress=False).finished
    fedlab.simulate(chosen, out=tmp_path / "whole", progress=False)
    for name in ("model.safetensors", "history.csv"):
        assert (stopped / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_secret_noise_is_never_the_same(tmp_path: Path) -> None:
    chosen = private(privacy={**PRIVACY, "noise": "secret"}, rounds=1)
    runs = [fedlab.simulate(chosen, out=tmp_path / n, progress=False) for n in ("a", "b")]
    first, second = (torch.cat([t.flatten() for t in final(r).values()]) for r in runs)
    assert not torch.equal(first, second)


@pytest.mark.usefixtures("ray_here")
@pytest.mark.slow
def test_ray_and_one_process_give_the_same_bytes(run: fedlab.Run, tmp_path: Path) -> None:
    on_ray = private(resources={"backend": "ray", "actors": 2})
    other = fedlab.simulate(on_ray, out=tmp_path / "ray", progress=False)
    for name in ("model.safetensors", "history.csv"):
        assert (run.folder / name).read_bytes() == (other.folder / name).read_bytes()


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "fedadam", "weighting": "uniform"},
        {"name": "fedavgm", "weighting": "uniform"},
        {"name": "feddyn"},
        {"name": "ditto", "weighting": "uniform"},
    ],
)
def test_methods_that_average_one_model_can_be_private(tmp_path: Path, strategy: Any) -> None:
    run = fedlab.simulate(private(strategy=strategy), out=tmp_path / "run", progress=False)
    assert all(tensor.isfinite().all() for tensor in final(run).values())
    assert math.isfinite(run.history.query("metric == 'epsilon'").value.max())


def test_the_closing_table_names_epsilon(tmp_path: Path) -> None:
    from fedlab.scenario_file import to_yaml

    file = tmp_path / "private.yaml"
    file.write_text(to_yaml(private(rounds=1)))
    result = CliRunner().invoke(app, ["simulate", str(file), "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    expected = epsilon_after(spec(), 1, 3, 3)
    assert f"ε = {expected:.3g} at δ = 1e-05 for every client" in " ".join(result.output.split())


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"strategy": {"name": "scaffold"}}, "scaffold makes its next state of something else"),
        ({"strategy": {"name": "fednova", "weighting": "uniform"}}, "something else than one mean"),
        ({"strategy": {"name": "fedproto"}}, "something else than one mean"),
        ({"strategy": {"name": "flwr:Krum", "weighting": "uniform"}}, "something else than one"),
        ({"strategy": {"name": "local_only"}}, "something else than one mean"),
        ({"strategy": "centralised"}, "has one client"),
        ({"strategy": "fedavg"}, "set strategy.weighting=uniform"),
        ({"model": {"name": "small_cnn"}}, "running statistics .* model.norm=group"),
        (
            {"devices": {"profiles": SLOWER_AND_SLOWER, "over_selection": 1.5}},
            "over_selection: 1.5 takes the first replies",
        ),
        (
            {"devices": {"profiles": [{**SLOWER_AND_SLOWER[0], "availability": 0.5}]}},
            "devices.profiles.0.availability: 0.5 draws cohorts from few clients",
        ),
        ({"privacy": {**PRIVACY, "delta": 0.5}}, "privacy.delta 0.5 lets each of 3 clients"),
        (
            {
                "data": {
                    "sources": [{"name": "helpers.toy:Stripes"}],
                    "image_size": 8,
                    "features": {"name": "warm_up", "rounds": 1},
                }
            },
            "'warm_up' trains on all clients without noise",
        ),
    ],
)
def test_what_makes_privacy_an_empty_promise_is_refused(
    tmp_path: Path, fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        fedlab.simulate(private(**fields), out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_devices_get_no_noise_that_they_could_take_off(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"set privacy\.noise=secret"):
        setup_of(private(), "abcd")
    assert setup_of(private(privacy={**PRIVACY, "noise": "secret"}), "abcd").classes == tuple(
        "abcd"
    )


def test_a_budget_is_kept_and_the_remedy_is_right(tmp_path: Path) -> None:
    tight = {**PRIVACY, "max_epsilon": 6.0}
    with pytest.raises(InputError, match=r"privacy\.max_epsilon: 2 rounds spend") as refused:
        fedlab.simulate(private(privacy=tight), out=tmp_path / "run", progress=False)
    noise = float(str(refused.value).split("noise_multiplier=")[1].split(",")[0])
    assert epsilon_after(spec(noise_multiplier=noise), 2, 3, 3) <= 6.0
    assert epsilon_after(spec(noise_multiplier=0.97 * noise), 2, 3, 3) > 6.0
    assert ", or rounds=1" in str(refused.value)
    fedlab.simulate(private(privacy=tight, rounds=1), out=tmp_path / "run", progress=False)


def test_without_the_library_the_remedy_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(config: object) -> None:
        raise ImportError

    monkeypatch.setattr("flwr.serverapp.RdpAccountant", missing)
    with pytest.raises(InputError, match=r"fedlab-sim\[privacy\]"):
        epsilon_after(spec(), 1, 3, 3)
