"""FedHEAL: consistent signs, weights and masked means by hand, and bases that it stands before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedlab.clients.base import ClientState, Received
from fedlab.clients.fedheal import consistent
from fedlab.config import registry
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.models.bits import packed, unpacked
from fedlab.preparation import prepare
from fedlab.records import Tensors
from fedlab.server_app import build_strategy
from fedlab.simulation import simulate
from fedlab.strategies.families.in_front import InFrontParameters
from fedlab.strategies.fedheal import FedHEAL, FedHEALParameters
from fedlab.strategies.parameters import StrategyParameters
from helpers import toy
from helpers.cohorts import MODELS, ragged, runtime_of
from helpers.method_rounds import NORMALISED, assert_resumes, play


def test_masks_are_eight_to_a_byte() -> None:
    masks = {
        "a": torch.tensor([[True, False, True], [False, False, False]]),
        "b": torch.tensor([True, True, False, True]),
        "c": torch.tensor(True),
    }
    bits = packed(masks)
    assert bits.tolist() == [0b11000101, 0b110]  # the first entry is the lowest bit
    assert bits.dtype is torch.uint8
    torch.testing.assert_close(unpacked(bits, masks), masks)


def test_directions_by_hand() -> None:
    """Signs +, +, -, + of one parameter; a minus in the fourth round would pass, too."""
    grown, masks = torch.zeros((), dtype=torch.int16), []
    for rounds, up in enumerate([True, True, False, True]):
        now, so_far = torch.tensor(up), torch.tensor(rounds)
        masks.append(bool(consistent(now, grown, so_far, 0.3)))
        if rounds == 3:
            assert consistent(torch.tensor(False), grown, so_far, 0.3)
            assert not consistent(torch.tensor(False), grown, so_far, 1 / 3)
        grown = grown + now
    assert masks == [True, True, False, True]
    assert grown == 3


# ---------------------------------------------------------------------- the server

NETWORK = nn.Linear(2, 2, bias=False)


def server(population: int = 2, **parameters: Any) -> FedHEAL:
    strategy = FedHEAL(NETWORK, FedHEALParameters(**parameters))
    strategy.initialise({"weight": torch.zeros(2, 2)})
    strategy.population = population
    return strategy


def sent(client: int, model: Tensor, mask: Any = True, examples: int = 10) -> ClientUpdate:
    kept = torch.as_tensor(mask).expand(2, 2)
    arrays = {
        "arrays": {"weight": torch.where(kept, model, torch.zeros(2, 2))},
        "mask": {"bits": packed({"weight": kept})},
    }
    return ClientUpdate(client, arrays, {"num-examples": examples})


def far(length: float) -> Tensor:
    return torch.tensor([[length, 0.0], [0.0, 0.0]])


def weights_of(strategy: FedHEAL) -> list[float]:
    p = strategy.state["fairness"]["p"]
    return (p / p.sum()).tolist()


def test_clients_are_weighed_by_how_far_they_go() -> None:
    strategy = server()
    strategy.aggregate(1, [sent(0, far(3.0)), sent(1, far(-1.0), examples=999)])
    assert weights_of(strategy) == pytest.approx([0.571429, 0.428571], abs=1e-6)
    first = 0.571429 * 3 - 0.428571
    assert strategy.state["arrays"]["weight"][0, 0] == pytest.approx(first, abs=1e-5)
    # Both are one away from the new model; p is not divided by its sum.
    here = strategy.state["arrays"]["weight"].clone()
    strategy.aggregate(2, [sent(0, here + far(1.0)), sent(1, here - far(1.0))])
    assert weights_of(strategy) == pytest.approx([0.578431, 0.421569], abs=1e-6)


def test_lengths_are_sums_over_tensors() -> None:
    network = nn.Linear(2, 1)
    strategy = FedHEAL(network, FedHEALParameters())
    strategy.initialise({"weight": torch.zeros(1, 2), "bias": torch.zeros(1)})
    there = {"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.tensor([-2.0])}
    assert strategy.length(there) == pytest.approx(7.0)


def test_a_parameter_is_the_mean_of_those_who_changed_it_consistently() -> None:
    strategy = server()
    first, second = torch.full((2, 2), 3.0), torch.full((2, 2), -1.0)
    only_first = torch.tensor([[True, True], [False, False]])
    only_second = torch.tensor([[False, True], [True, False]])
    strategy.state["arrays"] = {"weight": torch.full((2, 2), 0.25)}
    updates = []
    for client, (model, mask) in enumerate([(first, only_first), (second, only_second)]):
        one = sent(client, model, mask)
        kept = torch.where(mask, model, torch.full((2, 2), 0.25))
        updates.append(
            ClientUpdate(client, {**one.arrays, "arrays": {"weight": kept}}, one.metrics)
        )
    strategy.aggregate(1, updates)
    a = weights_of(strategy)
    mean = a[0] * 3 - a[1]
    expected = [3.0, mean, -1.0, 0.25]
    assert strategy.state["arrays"]["weight"].flatten().tolist() == pytest.approx(expected)


def test_changes_are_from_the_model_that_went_down() -> None:
    """AFL sends its last model, and keeps the mean of all: here 3 and 2 after two rounds."""
    strategy = FedHEAL(NETWORK, FedHEALParameters(base="afl"))
    strategy.initialise({"weight": torch.zeros(2, 2)})
    strategy.population = 2

    def both(*models: Tensor, mask: bool = True) -> list[ClientUpdate]:
        bits = packed({"weight": torch.full((2, 2), mask)})
        records = {"mask": {"bits": bits}, "received": {"loss": torch.tensor(1.0)}}
        return [
            ClientUpdate(client, {"arrays": {"weight": model}, **records}, {"num-examples": 10})
            for client, model in enumerate(models)
        ]

    strategy.aggregate(1, both(far(1.0), far(1.0)))
    strategy.aggregate(2, both(far(3.0), far(3.0)))
    assert strategy.state["arrays"]["weight"][0, 0] == 2
    assert strategy.length({"weight": far(4.0)}) == pytest.approx(1.0)
    strategy.aggregate(3, both(far(9.0), far(9.0), mask=False))
    assert strategy.broadcast(4)["arrays"]["weight"][0, 0] == 3


def test_absent_clients_keep_their_weight_and_clients_without_samples_have_none() -> None:
    strategy = server(population=3)
    strategy.aggregate(1, [sent(0, far(1.0)), sent(2, far(3.0)), sent(1, far(9.0), examples=0)])
    # p = 1/3 + .4/4, 1/3 + .4 * 3/4
    fairness = strategy.state["fairness"]
    assert fairness["clients"].tolist() == [0, 2]
    assert fairness["p"].tolist() == pytest.approx([1 / 3 + 0.1, 1 / 3 + 0.3])
    before = fairness["p"][1].item()
    strategy.aggregate(2, [sent(0, far(1.0)), sent(1, far(2.0))])
    fairness = strategy.state["fairness"]
    assert fairness["clients"].tolist() == [0, 1, 2]
    assert fairness["p"][2] == before


def test_without_fairness_clients_count_by_the_base() -> None:
    strategy = server(fair=False)
    strategy.aggregate(1, [sent(0, far(3.0), examples=30), sent(1, far(-1.0), examples=10)])
    assert strategy.state["arrays"]["weight"][0, 0] == pytest.approx(2.0)
    assert "fairness" not in strategy.state


# ---------------------------------------------------------------------- the client trainer


def received(runtime: Runtime, model: Tensors, server_round: int = 1) -> Received:
    return Received({"arrays": model}, {"server-round": server_round, "rounds": 9})


def test_inconsistent_changes_are_not_sent() -> None:
    runtime, plain = (runtime_of(strategy=name, model=NORMALISED) for name in ("fedheal", "fedavg"))
    start = {n: t.clone() for n, t in runtime.trainer.task.model.state_dict().items()}
    state: ClientState = {}
    directions: list[Tensors] = []
    left_out = 0
    for server_round in (1, 2, 3, 4):
        down = {
            n: t + 0.02 * server_round * (-1) ** server_round if t.is_floating_point() else t
            for n, t in start.items()
        }
        given = received(runtime, down, server_round)
        update, _ = runtime.train(0, given, state)
        theirs, _ = plain.train(0, given, {})
        free = theirs.arrays["arrays"]
        trained = [n for n, _ in runtime.trainer.task.model.named_parameters()]
        masks = unpacked(update.arrays["mask"]["bits"], {n: down[n] for n in trained})
        for name, value in update.arrays["arrays"].items():
            if name not in trained:
                torch.testing.assert_close(value, free[name])  # running statistics
                continue
            now = down[name] - free[name] >= 0
            agreed = [(earlier[name] == now).double() for earlier in directions]
            kept = torch.stack(agreed).mean(dim=0) > 0.3 if agreed else torch.ones_like(now)
            assert torch.equal(masks[name], kept)
            assert torch.equal(value, torch.where(kept, free[name], down[name]))
            left_out += int((~kept).sum())
        directions.append({n: down[n] - free[n] >= 0 for n in trained})
        state = update.client_state
    assert left_out > 50
    assert state["grown"]["rounds"] == 4


@pytest.mark.slow_except("fedbn")
@pytest.mark.parametrize("base", ["fedavg", "ditto", "fpl", "fedbn"])
@pytest.mark.usefixtures("double")
def test_together_is_one_by_one(base: str) -> None:
    training = {"batch_size": 8, "optimizer": {"lr": 0.02}}
    strategy = {"name": "fedheal", "base": base}
    runtime = ragged(strategy=strategy, model=MODELS["cnn-batch"], training=training)
    assert runtime.trainer.supports_vmap
    updates = play(runtime, 2, 1e-9)
    assert all("mask" in update.arrays for update in updates)


# ---------------------------------------------------------------------- bases and whole runs


def test_a_base_takes_its_own_steps_with_the_mean() -> None:
    """FedAvgM's momentum of the masked mean, and SCAFFOLD's mean of control variates."""
    base = {"name": "fedavgm", "momentum": 0.5}
    strategy = FedHEAL(NETWORK, FedHEALParameters(base=base, fair=False))  # type: ignore[arg-type]
    strategy.initialise({"weight": torch.zeros(2, 2)})
    strategy.aggregate(1, [sent(0, far(4.0)), sent(1, far(9.0), mask=False)])
    assert strategy.state["arrays"]["weight"][0, 0] == pytest.approx(4.0)
    still = strategy.state["arrays"]["weight"]
    strategy.aggregate(2, [sent(0, still), sent(1, still)])
    assert strategy.state["arrays"]["weight"][0, 0] == pytest.approx(6.0)


@pytest.mark.slow
def test_over_scaffold_a_run_resumes_and_history_is_kept(tmp_path: Path) -> None:
    assert_resumes({"name": "fedheal", "base": "scaffold"}, tmp_path)  # type: ignore[arg-type]


def test_bytes_of_a_run(tmp_path: Path) -> None:
    chosen = toy.scenario(strategy="fedheal", model={"name": "mlp", "hidden": [7]})
    run = simulate(chosen, out=tmp_path / "run", progress=False)
    history = run.history.query("split == 'round'").set_index(["round", "metric"]).value
    parameters = 192 * 7 + 7 + 7 * 4 + 4
    assert history[1, "bytes_up"] == history[2, "bytes_up"] == 3 * (4 * parameters + 173)
    assert -(-parameters // 8) == 173


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ({"base": "fedproto"}, "'fedproto' does not average the models"),
        ({"base": "local_only"}, "'local_only' does not average the models"),
        ({"base": "fednova"}, "'fednova' does not average the models"),
        ({"base": "fedheal"}, "'fedheal' goes in front of 'fedavg' itself"),
        ({"base": "flwr:FedAdam"}, "'flwr:FedAdam' looks at replies by itself"),
        ({"base": "fedbn"}, "fedbn keeps normalisation layers"),
        (
            {"base": {"name": "fedavg", "weighting": "uniform"}},
            r"strategy\.base\.weighting: 'uniform' has no effect",
        ),
    ],
)
def test_bases_that_cannot_carry_it_are_refused(strategy: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        prepare(toy.scenario(strategy={"name": "fedheal", **strategy}, model="mlp"))


@pytest.mark.parametrize(
    ("strategy", "remedy"),
    [
        ({"base": "afl"}, r"or set strategy\.fair=false$"),
        ({"base": {"name": "f2dc", "domains": 3}}, "such as fedavg, fedprox or scaffold$"),
        (
            {"base": {"name": "f2dc", "domains": 3}, "fair": False},
            "such as fedavg, fedprox or scaffold$",
        ),
        (
            {"base": {"name": "fedlabel", "aggregation": "flute"}, "fair": False},
            "such as fedavg, fedprox or scaffold$",
        ),
    ],
)
def test_bases_whose_weights_it_would_replace_are_refused(strategy: dict, remedy: str) -> None:
    chosen = toy.scenario(
        strategy={"name": "fedheal", **strategy},
        model=NORMALISED,
        partition={"clients": 3, "label_budget": {"share": 0.5}},
    )
    with pytest.raises(InputError, match=f"weighs clients by a rule of its own.*{remedy}"):
        prepare(chosen)


def test_without_fairness_it_stands_before_afl() -> None:
    prepare(toy.scenario(strategy={"name": "fedheal", "base": "afl", "fair": False}, model="mlp"))
    prepare(toy.scenario(strategy={"name": "fedheal", "base": "f2dc"}, model=NORMALISED))


def test_parameters_that_would_do_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"strategy\.base\.weighting"):
        FedHEALParameters(weighting="uniform")
    with pytest.raises(ValueError, match="both false"):
        FedHEALParameters(fair=False, consistent=False)
    with pytest.raises(InputError, match=r"updates.rule: median has no effect on fedheal"):
        prepare(toy.scenario(strategy="fedheal", updates={"rule": "median"}))


def test_its_server_half_keeps_what_its_base_keeps() -> None:
    scenario = toy.scenario(strategy={"name": "fedheal", "base": "fedbn"}, model="small_cnn")
    prepared = prepare(scenario)
    strategy = build_strategy(scenario, prepared.model)
    assert not strategy.has_global_model
    assert scenario.strategy.clients_count == "rule"


def test_a_front_has_its_bases_properties_of_models() -> None:
    """Also what is added to `StrategyParameters` later: a front that forgets it answers wrongly."""
    ours = {"targets", "space", "name", "weighting_key", "server_half", "group", "check"}
    # A base refuses its own weighting, of which a front has none, and what has no effect on it.
    ours |= {"why_unheeded", "without_effect"}
    said = {name for name in vars(StrategyParameters) if not name.startswith("_")} - ours
    for method in registry.BUILTIN["strategies"]:
        kind = registry.resolve("strategies", method).Parameters
        for name in said & {*vars(kind)}:
            assert name in vars(InFrontParameters), f"{method} has its own {name}"


def test_over_fedrod_a_client_s_model_is_the_one_that_was_tested() -> None:
    front = FedHEALParameters.model_validate({"name": "fedheal", "base": "fedrod", "fair": False})
    assert front.tests_both
    kept = {"personal": {"head": torch.tensor([2.0])}}
    assert front.client_model({"head": torch.tensor([1.0])}, kept)["head"].item() == 3.0
