"""What a user says of a network holds: frozen, tied, checkpointed, and what a buffer is."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch

import fedlab
from fedlab.errors import InputError
from fedlab.models.anatomy import Role, anatomy_of
from fedlab.models.blocks import parts
from fedlab.models.head import find_head
from fedlab.models.norms import NormPolicy
from fedlab.preparation import prepare
from fedlab.runs.run import Run
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario, to_yaml
from helpers import toy
from helpers.pairs import pairs_first
from helpers.plain_pytorch import round_of_fedavg

WAYS = {
    "one by one": {"execution": "sequential", "linear": "dense"},
    "as one": {"execution": "vmap", "linear": "dense"},
    "low rank": {"execution": "sequential", "linear": "low_rank"},
}


def scenario(name: str, *overrides: str, clients: int = 2, **fields: Any) -> Scenario:
    """One round of a few full batches, by clients of two domains."""
    base = toy.scenario(
        data={
            "sources": [{"name": "helpers.toy:Stripes", "domains": min(clients, 2), "train": 24}],
            "image_size": 8,
        },
        partition={"clients": clients},
        rounds=1,
        training={
            "batch_size": "full",
            "local_steps": 4,
            "optimizer": {"lr": 0.2, "momentum": 0.5, "weight_decay": 0.01},
        },
    )
    return load_scenario(base, overrides, model=f"helpers.odd_networks:{name}", **fields)


def simulated(chosen: Scenario, folder: Path) -> Run:
    return fedlab.simulate(chosen, out=folder / "run", progress=False)


EXACT = [
    "Frozen",
    "FrozenInTrain",
    "FrozenWhileTraining",
    "FrozenHead",
    "Tied",
    "Halves",
    "SharedModule",
    "NonPersistent",
    "OldWeightNorm",
    "WeightNorm",
    "Empty",
    "Checkpointed",
    "Reentrant",
    "Segments",
    "Masked",
    "Reversed",
    "Branching",
    "Counting",
    "HeadFirst",
    "ReadTwice",
    "TwiceInTraining",
    "Temperature",
    "Idle",
    "FrozenBody",
    "Residual",
    "Caching",
]


@pytest.mark.slow_except(*map("-".join, zip(EXACT, cycle(WAYS))))  # each once, the ways in turn
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", EXACT)
def test_a_round_is_that_of_plain_pytorch(name: str, way: str, tmp_path: Path) -> None:
    chosen = scenario(name, engine=WAYS[way])
    wanted, got = round_of_fedavg(chosen), simulated(chosen, tmp_path).model_state()
    assert got.keys() == wanted.keys()
    for tensor, value in wanted.items():
        torch.testing.assert_close(got[tensor], value, atol=1e-5, rtol=1e-4, msg=tensor)


OPTIMISERS = {
    "sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    "nesterov": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "clip_norm": 0.5},
    "adam": {"name": "adam", "lr": 0.02, "weight_decay": 0.1},
    "adamw": {"name": "adamw", "lr": 0.02, "weight_decay": 0.5},
}


@pytest.mark.slow_except(
    "Idle-nesterov-as one",
    "LargeBatches-adam-one by one",
    "SmallBatches-sgd-one by one",
    "Idle-adam-low rank",
)
@pytest.mark.parametrize(
    ("name", "optimizer", "way"),
    pairs_first(
        ["Alternating", "Experts", "LargeBatches", "SmallBatches", "Idle"],
        list(OPTIMISERS),
        list(WAYS),
    ),
)
def test_a_parameter_without_a_gradient_is_left_alone_as_in_plain_pytorch(
    name: str, optimizer: str, way: str, tmp_path: Path
) -> None:
    training = {"local_steps": 12, "batch_size": "full", "optimizer": OPTIMISERS[optimizer]}
    chosen = scenario(name, engine=WAYS[way], training=training)
    wanted, got = round_of_fedavg(chosen), simulated(chosen, tmp_path).model_state()
    for tensor, value in wanted.items():
        torch.testing.assert_close(got[tensor], value, atol=1e-5, rtol=1e-4, msg=tensor)


@pytest.mark.slow_except(
    "LargeBatches-fedprox", "SmallBatches-feddyn", "SmallBatches-scaffold", "Alternating-feddyn"
)
@pytest.mark.parametrize("strategy", ["fedprox", "scaffold", "fedsam", "feddyn", "ditto"])
@pytest.mark.parametrize("name", ["Alternating", "LargeBatches", "SmallBatches"])
def test_methods_take_the_same_steps_one_by_one_and_as_one(
    name: str, strategy: str, tmp_path: Path
) -> None:
    def trained(way: str) -> dict[str, torch.Tensor]:
        chosen = scenario(
            name,
            "rounds=2",
            "training.optimizer.momentum=0",
            engine=WAYS[way],
            strategy=strategy,
            clients=3,
        )
        (tmp_path / way).mkdir()
        return simulated(chosen, tmp_path / way).model_state()

    alone, together = trained("one by one"), trained("as one")
    for tensor, value in alone.items():
        torch.testing.assert_close(together[tensor], value, atol=1e-5, rtol=1e-4, msg=tensor)


@pytest.mark.slow_except("LastCodebook", "Codebook")
@pytest.mark.parametrize("name", ["SpectralNorm", "OldSpectralNorm", "LastCodebook", "Codebook"])
def test_the_round_of_a_single_client_is_that_of_plain_pytorch(name: str, tmp_path: Path) -> None:
    chosen = scenario(name, clients=1)
    wanted, got = round_of_fedavg(chosen), simulated(chosen, tmp_path).model_state()
    for tensor, value in wanted.items():
        torch.testing.assert_close(got[tensor], value, atol=1e-5, rtol=1e-4, msg=tensor)


METHODS = ("fedprox", "scaffold", "fedadam", "ditto", "fedper", "fedrep", "feddyn", "flwr:FedAvg")


@pytest.mark.slow_except("fedprox", "scaffold", "feddyn", "fedrep", "flwr:FedAvg")
@pytest.mark.parametrize("strategy", METHODS)
def test_what_is_frozen_never_moves(strategy: str, tmp_path: Path) -> None:
    momentum = "training.optimizer.momentum=0"
    chosen = scenario("Frozen", "rounds=2", momentum, strategy=strategy)
    first = prepare(chosen).model
    run = simulated(chosen, tmp_path)
    for state in (run.model_state(), run.model_state(client=1)):
        assert torch.equal(state["a.weight"], first.state_dict()["a.weight"])
        assert torch.equal(state["a.bias"], first.state_dict()["a.bias"])
    assert not torch.equal(run.model_state(client=1)["m.weight"], first.state_dict()["m.weight"])


@pytest.mark.parametrize("name", ["FrozenInTrain", "FrozenWhileTraining"])
def test_what_train_freezes_is_frozen(name: str) -> None:
    model = prepare(scenario(name)).model
    for _ in range(2):
        assert anatomy_of(model).frozen == ("a.weight", "a.bias")
        model.eval()


def test_a_network_that_thaws_what_is_frozen_is_refused() -> None:
    prepare(scenario("Thawing"))
    frozen = {"name": "helpers.odd_networks:Thawing", "freeze": ["a.*"]}
    with pytest.raises(InputError, match=r"'a.weight' is frozen, and Thawing.train\(\) makes it"):
        prepare(load_scenario(scenario("Plain"), model=frozen))


def test_what_is_frozen_does_not_travel(tmp_path: Path) -> None:
    def bytes_up(name: str) -> float:
        history = simulated(scenario(name), tmp_path / name).history
        return float(history.query("metric == 'bytes_up'").value.sum())

    (tmp_path / "Plain").mkdir()
    (tmp_path / "Frozen").mkdir()
    frozen = 12 * 3 * 8 * 8 + 12
    assert bytes_up("Plain") - bytes_up("Frozen") == 2 * 4 * frozen


NAMED = [
    "FrozenHead",
    "Tied",
    "SharedModule",
    "NonPersistent",
    "OldWeightNorm",
    "WeightNorm",
    "Empty",
    "SpectralNorm",
    "OldSpectralNorm",
    "LastCodebook",
]
"""Whose tensors have other names than usual, or are none that travel."""


@pytest.mark.slow_except("FrozenHead", "LastCodebook", "NonPersistent", "Tied")
@pytest.mark.parametrize("name", NAMED)
def test_a_trained_model_is_given_out_whole(name: str, tmp_path: Path) -> None:
    chosen = scenario(name)
    run = simulated(chosen, tmp_path)
    network = prepare(chosen).model
    network.load_state_dict(run.model_state())  # strict
    samples = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    outputs = network.eval()((samples.float() / 255 - 0.5) / 0.5)
    torch.testing.assert_close(run.model()(samples), outputs, atol=1e-5, rtol=1e-4)


@pytest.mark.slow_except("fedavg-OldSpectralNorm", "flwr:FedAvg-SpectralNorm")
@pytest.mark.parametrize("name", ["SpectralNorm", "OldSpectralNorm"])
@pytest.mark.parametrize("strategy", ["fedavg", "fedadam", "flwr:FedAvg"])
def test_singular_vectors_fit_the_mean_of_weights(name: str, strategy: str, tmp_path: Path) -> None:
    state = simulated(scenario(name, strategy=strategy), tmp_path).model_state()
    new = name == "SpectralNorm"
    for layer in "am":
        inside = f"{layer}.parametrizations.weight"
        left = state[f"{inside}.0._u" if new else f"{layer}.weight_u"]
        right = state[f"{inside}.0._v" if new else f"{layer}.weight_v"]
        weight = state[f"{inside}.original" if new else f"{layer}.weight_orig"]
        assert float(left.norm()) == pytest.approx(1, abs=1e-5)
        largest = float(torch.linalg.matrix_norm(weight, 2))
        assert float(left @ weight @ right) == pytest.approx(largest, rel=1e-4)


def codes(name: str, folder: Path) -> tuple[list[torch.Tensor], Run]:
    """What each of two clients would send by itself, and the run of both."""
    chosen = scenario(name)
    run = simulated(chosen, folder)
    alone = []
    for client in range(2):
        from fedlab.clients.base import Received
        from fedlab.engine.execution.runtime import Runtime

        prepared = prepare(chosen)
        runtime = Runtime(chosen, prepared.data, prepared.partition, torch.device("cpu"))
        received = Received({"arrays": runtime.trainer.task.initial}, {"server-round": 1})
        update, _ = runtime.train(client, received, {})
        state = {**update.arrays["arrays"], **update.client_state.get("model", {})}
        if "code" in state:
            alone.append(state["code"])
    return alone, run


def test_a_module_says_what_its_buffers_are(tmp_path: Path) -> None:
    (one, two), run = codes("Codebook", tmp_path / "mean")
    torch.testing.assert_close(run.model_state()["code"], (one + two) / 2)
    (one, two), run = codes("LastCodebook", tmp_path / "last")
    assert not torch.equal(one, two)
    assert torch.equal(run.model_state()["code"], two)
    (one, two), run = codes("LocalCodebook", tmp_path / "local")
    assert "code" not in run.model_state()
    assert torch.equal(run.model_state(client=0)["code"], one)
    assert torch.equal(run.model_state(client=1)["code"], two)
    alone, run = codes("ForgottenCodebook", tmp_path / "none")
    assert not alone
    assert not run.model_state()["code"].any()


def test_a_buffer_of_unknown_role_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fedlab"):
        prepare(scenario("LastCodebook"))
        assert not caplog.records
        prepare(scenario("Codebook"))
    assert "the buffer 'code'" in caplog.text
    assert "fedlab_buffers" in caplog.text


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (["code"], "it has to be a dict"),
        ({"kode": "last"}, "'kode', which is no buffer"),
        ({"code": "median"}, "'median' is nothing"),
    ],
)
def test_what_a_module_says_wrongly_is_refused(
    said: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers import odd_networks

    monkeypatch.setattr(odd_networks.Codebook, "fedlab_buffers", said, raising=False)
    with pytest.raises(InputError, match=words):
        prepare(scenario("Codebook"))


def test_the_head_makes_the_outputs(tmp_path: Path) -> None:
    model = prepare(scenario("HeadFirst")).model
    head = find_head(model)
    assert head is not None
    assert head.path == "b"
    assert [part[0].split(".")[0] for part in parts(model)] == ["projection", "a", "m", "b"]
    run = simulated(scenario("HeadFirst", "rounds=2", strategy="fedper"), tmp_path)
    assert set(run.model_state()) == {
        f"{layer}.{kind}" for layer in ("a", "m", "projection") for kind in ("weight", "bias")
    }


def test_a_dense_layer_that_makes_no_outputs_is_no_head() -> None:
    assert find_head(prepare(scenario("ConvolutionalHead")).model) is None
    assert parts(prepare(scenario("ConvolutionalHead")).model)[-1] == ("b.weight", "b.bias")
    with pytest.raises(InputError, match="moon"):
        prepare(scenario("ConvolutionalHead", strategy="moon"))
    stated = load_scenario(
        scenario("ConvolutionalHead"), model={"name": "helpers.odd_networks:Plain", "head": "m"}
    )
    head = find_head(prepare(stated).model)
    assert head is not None
    assert head.path == "m"
    with pytest.raises(InputError, match=r"has no dense layer .* 'q'; it has a, m, b"):
        prepare(load_scenario(stated, ["model.head=q"]))


UNCLEAR = {
    "ReadHead": "reads the weights of its layer 'b' without calling the layer",
    "Cosine": "reads the weights of its layer 'b' without calling the layer",
    "OwnWeights": "with parameters of its own, outside of its layers",
    "TwoHeads": r"several layers \('b', 'second'\)",
    "Branches": r"several layers \('b', 'second'\)",
    "Switching": r"several layers \('second', 'b'\)",
}
NAMES = ("fedper", "fedrep", "lg_fedavg", "fedbabu", "fedala", "fdse")
READS = ("fedproto", "moon", "fpl", "fedrod", "fedetf", "fedsr", "fediir", "fraug", "sla")


@pytest.mark.slow_except("fedper", "Switching-moon", "Cosine-fedproto", "Branches-lg_fedavg")
@pytest.mark.parametrize("strategy", [*NAMES, *READS])
@pytest.mark.parametrize("name", UNCLEAR)
def test_an_unclear_head_is_refused_for_all_methods_alike(name: str, strategy: str) -> None:
    reads = UNCLEAR[name].startswith("reads")
    remedy = "" if reads and strategy in READS else "model.head, or let its outputs be"
    with pytest.raises(InputError, match=f"^strategy.name: {strategy} .*{UNCLEAR[name]}.*{remedy}"):
        prepare(scenario(name, strategy=strategy))


@pytest.mark.parametrize("name", ["Cosine", "TwoHeads", "Switching"])
def test_a_stated_head_is_known_where_its_parameters_are_enough(name: str) -> None:
    def prepared(strategy: str) -> tuple[str, ...]:
        model = {"name": f"helpers.odd_networks:{name}", "head": "b"}
        chosen = load_scenario(scenario(name, strategy=strategy), model=model)
        return chosen.strategy.divide(prepare(chosen).model, NormPolicy.SHARE_ALL)[1]

    assert prepared("fedper") == ("b.weight", "b.bias")
    assert {"b.weight", "b.bias"}.isdisjoint(prepared("lg_fedavg"))
    if name == "TwoHeads":
        assert prepared("fedproto")
    else:
        with pytest.raises(InputError, match=r"'b' \(model.head\), and does not call this layer"):
            prepared("fedproto")


def test_a_stated_head_is_found_behind_what_a_method_puts_before_it() -> None:
    model = {"name": "helpers.odd_networks:TwoHeads", "head": "b"}
    head = find_head(prepare(load_scenario(scenario("Plain", strategy="moon"), model=model)).model)
    assert head is not None
    assert head.path == "b.3"


def test_a_head_beside_which_others_count_gives_no_outputs() -> None:
    model = {"name": "helpers.odd_networks:Plain", "head": "m"}
    with pytest.raises(InputError, match=r"fedrod .* from those of 'm' by further steps"):
        prepare(load_scenario(scenario("Plain", strategy="fedrod"), model=model))


def test_the_part_that_gives_the_outputs_is_the_last() -> None:
    assert parts(prepare(scenario("LateTerm")).model)[-1] == ("b.weight", "b.bias")


@pytest.mark.parametrize("strategy", ["fedper", "lg_fedavg", "fedbabu", "fedala"])
def test_a_head_that_is_tied_to_another_layer_is_refused(strategy: str) -> None:
    words = r"'b.weight' is tied to 'spare.weight', .*; give each layer its own weights"
    with pytest.raises(InputError, match=words):
        prepare(scenario("TiedHead", strategy=strategy))


def test_layers_that_are_read_have_no_place_among_the_last() -> None:
    one = scenario("ReadMiddle", strategy={"name": "fedper"})
    prepare(one)
    with pytest.raises(InputError, match=r"last 2 layers .* reads the weights of its layer 'm'"):
        prepare(load_scenario(one, ["strategy.layers=2"]))


def test_one_s_own_normalisation_stays_where_its_class_says_so(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.WARNING, "fedlab"):
        run = simulated(scenario("Told", strategy="fedbn"), tmp_path)
        assert not caplog.records
        prepare(scenario("Untold", strategy="fedbn"))
    assert "own.gain" not in run.model_state()
    assert "OwnNorm ('own') looks like a normalisation" in caplog.text
    assert "fedlab_normalises" in caplog.text


def test_test_batches_do_not_cross_clients(tmp_path: Path) -> None:
    def accuracies(size: int) -> list[float]:
        run = simulated(
            scenario("BatchStatistics", f"evaluation.batch_size={size}", clients=4),
            tmp_path / str(size),
        )
        return run.history.query("split == 'test' and metric == 'loss'").value.tolist()

    assert accuracies(7) == accuracies(64)
    with pytest.raises(KeyError):
        anatomy_of(prepare(scenario("BatchStatistics")).model).buffers["norm.running_mean"]


def test_a_network_that_branches_on_its_batch_is_known_to_mix_samples() -> None:
    observed = anatomy_of(prepare(scenario("Routing")).model).observed
    assert observed is not None
    assert observed.mixes_in_tests
    plain = anatomy_of(prepare(scenario("Plain")).model).observed
    assert plain is not None
    assert (plain.mixes_in_tests, plain.remembers) == (False, False)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Auxiliary", "gives a tuple for a batch while it trains"),
        ("LateFailure", "fails in a training step .*no gradient tape"),
        ("Accumulating", r"'m.weight' has a hook that .* \(register_post_accumulate_grad_hook\)"),
        ("Warming", "keeps something between steps that is in no buffer.*register_buffer"),
        ("LateWarming", r"in no buffer \(.* another value in 'steps' the second time\)"),
        ("Remembering", "keeps something between steps that is in no buffer.*register_buffer"),
        ("parallel", "has a DataParallel"),
        ("scripted", "compiled by torch.jit.script"),
        ("Overlapping", r"'m.weight' and 'd.weight' are views of one tensor.*or clone one"),
        ("Renamed", r"state dict has 'net.a.weight', .* take off .*_register_state_dict_hook"),
        ("Dropping", "state dict lacks 'm.weight'; take off"),
        ("Rounding", "has another value for 'm.weight'"),
        ("Extra", r"Extra has a state beside its tensors \(get_extra_state\).*register_buffer"),
        ("ExtraInside", r"Extra \(inner\) has a state beside its tensors"),
        ("Adversarial", "does not learn here as it does in plain PyTorch.*gradient of '"),
    ],
)
def test_what_would_go_wrong_in_training_is_refused_before(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        prepare(scenario(name))


@pytest.mark.parametrize("name", ["Dropped", "Branching"])
def test_what_cannot_be_stacked_is_found_out_once(
    name: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.WARNING, "fedlab"):
        simulated(scenario(name, "rounds=3", "engine.execution=vmap"), tmp_path)
    assert "Traceback" not in caplog.text
    assert len(caplog.records) == (name == "Branching")


def test_why_clients_train_one_by_one_is_logged_once_and_in_whole_words(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.WARNING, "fedlab"):
        run = simulated(scenario("Branching", "engine.execution=vmap"), tmp_path)
        run.model()
        run.model(client=0)
    (text,) = [record.getMessage() for record in caplog.records]
    assert re.search(r"as one it goes wrong: .* \.\.\. \(odd_networks.py, line \d+\)$", text), text
    assert len(text) < 350


def test_roles() -> None:
    found = anatomy_of(prepare(scenario("SharedModule")).model)
    assert found.buffers["first.1.running_mean"] is Role.MEAN
    assert found.buffers["first.1.num_batches_tracked"] is Role.LARGEST
    assert found.aliases["second.0.weight"] == "first.0.weight"
    assert anatomy_of(prepare(scenario("NonPersistent")).model).buffers["scale"] is Role.NONE
    assert anatomy_of(prepare(scenario("Frozen")).model).frozen == ("a.weight", "a.bias")
    assert anatomy_of(prepare(scenario("Dropped")).model).observed.random  # type: ignore[union-attr]


UNDERSTOOD = {
    "Tied": "tied d.weight = m.weight",
    "Frozen": "frozen 2 tensors, 2,316 numbers",
    "FrozenBody": "frozen 4 tensors",
    "HeadAlone": "learn 2 tensors, 36 numbers",
    "SharedModule": "second.1.running_mean = first.1.running_mean",
    "NonPersistent": "buffers scale: none",
    "SpectralNorm": "a.parametrizations.weight.0._u: derived",
    "OldSpectralNorm": "a.weight_u: derived",
    "Counting": "buffers steps: largest",
    "LastCodebook": "buffers code: last",
    "LocalCodebook": "buffers code: local",
    "HeadFirst": "head b",
    "ConvolutionalHead": "head none",
    "Told": "normalisation own, known",
    "Dropped": "draws random numbers yes",
    "BatchNormed": "mixes samples in training yes",
    "BatchStatistics": "mixes samples in tests yes",
    "Checkpointed": "training clients one by one",
    "Temperature": "learn 7 tensors",
    "Idle": "one step and plain PyTorch the gradient of",
}


@pytest.mark.slow_except(
    "Tied",
    "Frozen",
    "LastCodebook",
    "LocalCodebook",
    "HeadFirst",
    "Told",
    "Dropped",
    "BatchStatistics",
)
@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_verb_shows_what_is_understood(
    name: str, tmp_path: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "odd.yaml").write_text(to_yaml(scenario(name)))
    code, said, _ = run("check", tmp_path / "odd.yaml")
    assert code == 0, said
    assert UNDERSTOOD[name] in " ".join(said.split())
    assert "one step and plain PyTorch" in said
