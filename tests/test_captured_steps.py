"""Steps that are captured once and replayed: the numbers of one operation after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from fedlab.clients.base import Received
from fedlab.engine.execution.captured import captured_loop, compiled_steps, cuda_graphs
from fedlab.engine.execution.captured.capturable import GRAPHS
from fedlab.engine.execution.captured.capture import Capture, Replay, Step
from fedlab.engine.execution.captured.captured_executors import Captured
from fedlab.engine.execution.mode import from_rule
from fedlab.engine.execution.runtime import Runtime
from fedlab.errors import InputError
from fedlab.preparation import prepare
from fedlab.runs.run import Run
from fedlab.scenario import EngineSpec
from fedlab.simulation import simulate
from helpers import pretend_accelerator, pretend_graphs, toy
from helpers.cohorts import MODELS, runtime_of
from helpers.pretend_graphs import PretendGraphs

if pretend_accelerator.SUPPORTED:
    pretend_accelerator.install()  # modules are imported before the first test of any of them

pretends = pytest.mark.skipif(not pretend_accelerator.SUPPORTED, reason=pretend_accelerator.MISSING)


class Again(Capture):
    """A capture that runs the step itself again, for what does not depend on a device."""

    def capture(self, step: Step, tensors: Sequence[torch.Tensor]) -> Replay:
        """See `Capture.capture`."""
        step(tensors)
        return lambda: step(tensors)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets steps be captured on the CPU, by running them again."""
    monkeypatch.setitem(GRAPHS, "cpu", Again)


@pytest.fixture
def graphs() -> Iterator[PretendGraphs]:
    """The graphs of the pretend accelerator, which is there."""
    with pretend_graphs.present() as made:
        yield made


def run(execution: str, folder: Path, **changes: Any) -> Run:
    """A run of the toy problem: three clients, steps of 16, 16 and 8 samples, three rounds."""
    training: dict[str, Any] = {"batch_size": 16} | changes.pop("training", {})
    scenario = toy.scenario(
        **{"rounds": 3, "model": MODELS["cnn-batch"]} | changes,
        training={"optimizer": {"lr": 0.05}} | training,
        engine={"execution": execution, "dense_layers": "dense"},
    )
    return simulate(scenario, out=folder / execution, progress=False)


def assert_same(one: Run, other: Run, within: float = 0.0) -> None:
    here, there = one.model_state(), other.model_state()
    assert here.keys() == there.keys()
    for name, tensor in here.items():
        torch.testing.assert_close(there[name], tensor, rtol=within, atol=within, msg=name)
    histories = (run.history for run in (one, other))
    frames = [each[~each.metric.str.startswith("seconds")] for each in histories]
    # Accuracy of few test samples changes in steps.
    near = frames[0].metric != "accuracy" if within else slice(None)
    pd.testing.assert_frame_equal(frames[0][near], frames[1][near], rtol=within, atol=within)


OPTIMISERS = {
    "momentum": {"optimizer": {"lr": 0.05, "momentum": 0.9, "nesterov": True}, "local_epochs": 2},
    "adam": {"optimizer": {"name": "adam", "lr": 0.01, "lr_decay": 0.5}},
    "adamw": {"optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1}},
    "clip": {"optimizer": {"lr": 0.1, "weight_decay": 0.1, "clip_norm": 0.05}},
    "full": {"batch_size": "full", "local_epochs": 2},
    "merge": {"remainder": "merge", "local_steps": 7},
}
METHODS = {
    "fedavg": {},
    "fedprox": {"mu": 0.5},
    **{name: {} for name in ("scaffold", "fedbn", "feddyn", "moon", "fedsam", "ditto", "fixbn")},
    **{name: {} for name in ("fedrep", "fraug", "ifca", "fedwon", "feddc", "fednova", "fedproto")},
}
QUICK = ("scaffold", "fedbn", "ditto", "fixbn", "ifca")


@pytest.mark.slow_except("fixbn", "scaffold")
@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize(
    "method", [m if m in QUICK else pytest.param(m, marks=pytest.mark.slow) for m in METHODS]
)
def test_replays_give_every_methods_very_numbers(method: str, tmp_path: Path) -> None:
    changes = {"strategy": {"name": method, **METHODS[method]}}
    plain, replayed = (run(each, tmp_path, **changes) for each in ("sequential", "graph"))
    assert_same(plain, replayed)


@pytest.mark.slow_except("clip")
@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("training", OPTIMISERS.values(), ids=OPTIMISERS.keys())
def test_replays_give_every_optimisers_very_numbers(
    training: dict[str, Any], tmp_path: Path
) -> None:
    plain, replayed = (run(each, tmp_path, training=training) for each in ("sequential", "graph"))
    assert_same(plain, replayed)


@pytest.mark.slow
@pytest.mark.usefixtures("on_cpu")
def test_clients_of_other_sizes_and_changed_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {
        "data": {
            "sources": [{"name": "helpers.toy:Stripes", "train": 100}],
            "image_size": 8,
            "augmentation": {"rotation": 15.0, "crop_padding": 2, "brightness": 0.3},
        },
        "partition": {"clients": 6, "quantity": {"name": "dirichlet", "alpha": 2.0}},
        "strategy": "fedprox",
    }
    monkeypatch.setattr(captured_loop, "MOST", 2)  # steps are dropped and captured again
    assert_same(*(run(each, tmp_path, **changes) for each in ("sequential", "graph")))


@pytest.mark.usefixtures("on_cpu")
def test_what_a_client_sends_and_keeps_is_its_own() -> None:
    runtime = runtime_of(strategy="fedbn", model=MODELS["cnn-batch"], engine={"execution": "graph"})
    state = runtime.trainer.task.model.state_dict()
    down = {name: state[name].clone() for name in runtime.trainer.shared}
    received = Received({"arrays": down}, {"server-round": 1})
    first, _ = runtime.train(0, received, {})
    sent = {**first.arrays["arrays"], **first.client_state["model"]}
    before = {name: tensor.clone() for name, tensor in sent.items()}
    runtime.train(1, received, {})
    assert all(torch.equal(tensor, before[name]) for name, tensor in sent.items())
    assert all(torch.equal(tensor, state[name]) for name, tensor in down.items())


# ---------------------------------------------------------------------- the pretend accelerator


ON_THE_DEVICE = {
    "fedavg": {"strategy": "fedavg"},
    "fedprox-momentum": {"strategy": {"name": "fedprox", "mu": 0.5}, "training": {
        "optimizer": {"lr": 0.05, "momentum": 0.9}}},
    "scaffold": {"strategy": "scaffold"},
    "fedbn-adam": {"strategy": "fedbn", "training": {"optimizer": {"name": "adam", "lr": 0.01}}},
    "clip": {"training": {"optimizer": {"lr": 0.1, "clip_norm": 0.05}}},
    "ditto": {"strategy": "ditto"},
    "moon": {"strategy": "moon"},
    "fixbn": {"strategy": "fixbn"},
    "fraug": {"strategy": "fraug"},
    "fedrep-adam": {"strategy": "fedrep", "training": {
        "optimizer": {"name": "adam", "lr": 0.01}}},
}  # fmt: skip
SLOW = ("fedavg", "fedprox-momentum", "clip", "ditto", "moon", "fraug", "fedrep-adam")


@pytest.mark.slow_except("fixbn")
@pretends
@pytest.mark.parametrize(
    "case", [c if c not in SLOW else pytest.param(c, marks=pytest.mark.slow) for c in ON_THE_DEVICE]
)
def test_graphs_of_a_device_have_its_numbers(
    graphs: PretendGraphs, case: str, tmp_path: Path
) -> None:
    plain, replayed = (
        run(each, tmp_path, rounds=2, **ON_THE_DEVICE[case]) for each in ("sequential", "graph")
    )
    assert_same(plain, replayed, within=1e-6)
    epochs = {"ditto": (1, 1), "fedrep-adam": (10, 1)}.get(case, (1,))  # of each phase
    # At first, a client's last model is the received one; FixBN's second round has other modes.
    forms = 2 if case in ("moon", "fixbn") else 1
    assert graphs.captured == 2 * len(epochs) * forms  # full batches and the rest of a pass
    assert graphs.replayed == 2 * 3 * 3 * sum(epochs)  # rounds, clients, steps


def trained(epochs: int, device: torch.device, **changes: Any) -> Callable[[int], Any]:
    """A round of one client on a device by graphs, with a model that came down to it."""
    wanted = toy.scenario(
        model=MODELS["cnn-batch"],
        training={"batch_size": 16, "local_epochs": epochs, "optimizer": {"momentum": 0.9}},
        engine={"execution": "graph"},
        **changes,
    )
    prepared = prepare(wanted)
    runtime = Runtime(wanted, prepared.data, prepared.partition, device)
    state = {n: t.to(device) for n, t in prepared.model.state_dict().items()}
    received = Received({"arrays": state}, {"server-round": 1})

    def round_of(client: int) -> Any:
        runtime.train(client, received, {})
        return runtime

    return round_of


@pretends
def test_a_step_costs_the_host_a_copy_of_its_rows_and_a_graph(graphs: PretendGraphs) -> None:
    costs = []
    for epochs in (1, 5):
        round_of = trained(epochs, torch.device("pretend"))
        round_of(0)
        round_of(1)
        captured = graphs.captured
        with pretend_accelerator.counting() as cost:
            round_of(1)
        assert graphs.captured == captured
        costs.append(cost)
    few, many = costs
    assert many.operations - few.operations == {"copy": 12, "graph": 12}  # three steps an epoch
    assert not few.operations - many.operations
    assert many["allocations"] == few["allocations"]
    assert (many["waits"], many["to_device"]) == (few["waits"], few["to_device"]) == (1, 1)


@pretends
def test_all_that_a_step_writes_stays_where_it_is(graphs: PretendGraphs) -> None:
    round_of = trained(1, torch.device("pretend"))
    captures = round_of(0).executors[0].captures
    (state,) = captures.states.values()
    kept = [*state.tensors, *captures.samples.tensors, *captures.sums.values()]
    places = [tensor.raw.data_ptr() for tensor in kept]
    for client in (1, 2, 0):
        round_of(client)
    (again,) = captures.states.values()
    now = [*again.tensors, *captures.samples.tensors, *captures.sums.values()]
    assert all(one is other for one, other in zip(kept, now, strict=True))
    assert [tensor.raw.data_ptr() for tensor in now] == places
    names = {place[0] for place in captured_places(state.carry)}
    assert {"parameters", "buffers", "optimizer"} <= names


def captured_places(carry: Any) -> list[tuple[str, ...]]:
    from fedlab.engine.execution.captured.static_state import places_of

    return [place for place, _ in places_of(carry)]


def test_a_cuda_graph_is_captured_on_the_stream_that_was_warmed_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The calls of `torch.cuda` and their order, without a device that could answer them."""
    calls: list[Any] = []

    class Stream:
        def wait_stream(self, other: Any) -> None:
            calls.append(("wait", self, other))

    class Graph:
        def replay(self) -> None:
            calls.append("replay")

    @contextmanager
    def noted(*what: Any, **how: Any) -> Iterator[None]:
        calls.append(("enter", *what, *how.values()))
        yield
        calls.append("leave")

    usual = Stream()
    fakes = {"Stream": Stream, "CUDAGraph": Graph, "graph_pool_handle": object}
    fakes |= {"device": noted, "stream": noted, "graph": noted, "current_stream": lambda: usual}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    made = cuda_graphs.CUDAGraphs()
    value = torch.zeros(())
    pools = []
    for _ in range(2):
        calls.clear()
        replay = made.capture(lambda tensors: calls.append(tensors[0].add_(1).item()), [value])
        replay()
        (_, own, waited), (_, warmed) = calls[1], calls[2]
        assert (own, waited) == (warmed, usual)
        steps = [call for call in calls if isinstance(call, float)]
        assert len(steps) == cuda_graphs.WARM_UP + 1
        (graph,) = (call for call in calls if isinstance(call, tuple) and len(call) == 5)
        assert graph[3:] == (own, "thread_local")
        assert calls[-5:] == [graph, steps[-1], "leave", "leave", "replay"]
        assert calls[calls.index(graph) - 1] == ("wait", usual, own)
        pools.append(graph[2])
    assert pools[0] is pools[1]


# ---------------------------------------------------------------------- what is not captured


def own(name: str) -> dict[str, Any]:
    if name == "Branching":
        return {"model": "helpers.odd_networks:Branching"}
    return {"strategy": {"name": "fedavg", "client": f"helpers.uncapturable:{name}"}}


UNCAPTURABLE = {
    "Decides": "not permitted when stream is capturing",
    "Draws": "draws random numbers on the host",
    "KeepsOnTheHost": "keeps 'share' between steps on cpu, not on the device that trains",
    "Grows": "changes the form of 'losses'",
    "Branching": "not permitted when stream is capturing",
}


@pytest.mark.slow_except("Branching")
@pretends
@pytest.mark.parametrize("name", UNCAPTURABLE)
def test_a_step_that_no_replay_can_repeat_is_not_captured(
    graphs: PretendGraphs, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain = run("sequential", tmp_path, rounds=1, **own(name))
    with caplog.at_level(logging.WARNING, "fedlab"):
        replayed = run("graph", tmp_path, rounds=1, **own(name))
    assert_same(plain, replayed)
    said = [each for each in caplog.messages if "without CUDA graphs" in each]
    assert len(said) == 1
    assert UNCAPTURABLE[name] in said[0]
    assert not graphs.replayed


@pytest.mark.usefixtures("on_cpu")
def test_tensors_that_a_step_makes_anew_and_swaps_are_put_back(tmp_path: Path) -> None:
    plain, replayed = (run(each, tmp_path, **own("Replaces")) for each in ("sequential", "graph"))
    assert_same(plain, replayed)


@pytest.mark.parametrize(("changes", "why"), [
    ({"strategy": "fedala"}, "takes steps of its own"),
    ({"strategy": "fixmatch", "partition": {"clients": 3, "label_budget": {"share": 0.3}}},
     "strong views"),
    ({"training": {"batch_size": 16, "loss": "aldr_kl"}}, "the loss keeps tensors"),
])  # fmt: skip
def test_the_reason_is_told_before_training(
    changes: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    scenario = toy.scenario(engine={"execution": "graph"}, **changes)
    with caplog.at_level(logging.WARNING, "fedlab"):
        prepared = prepare(scenario)
    assert any("clients train without 'graph'" in m and why in m for m in caplog.messages)
    device = torch.device("cpu")
    runtime = Runtime(prepared.scenario, prepared.data, prepared.partition, device)
    plan = from_rule(scenario.engine, runtime.trainer, "cpu", 3, scenario.training.batch_size)
    assert plan.stack == 1
    assert why in str(plan)
    executor = runtime.executors[0]
    assert isinstance(executor, Captured)
    assert not executor.supports(None)  # type: ignore[arg-type]


def test_graphs_are_refused_where_there_is_no_cuda(tmp_path: Path) -> None:
    said = r"engine\.execution: 'graph' replays CUDA graphs.*set engine\.execution=auto"
    with pytest.raises(InputError, match=said):
        run("graph", tmp_path, resources={"backend": "local", "device": "cpu"})


def test_compiling_is_refused_where_there_is_no_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"'compile' needs a C\+\+ compiler.*no-such-compiler"):
        run("compile", tmp_path, resources={"backend": "local", "device": "cpu"})


@pytest.mark.parametrize("key", [{"dense_layers": "low_rank"}, {"stack_size": 4}])
def test_settings_that_contradict_captured_steps_are_refused(key: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="leave one of the two out"):
        EngineSpec(execution="graph", **key)


# ---------------------------------------------------------------------- compiled steps


COMPILED: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "scaffold": {"strategy": "scaffold"},
    "fedbn-adam": {"strategy": "fedbn", "training": {"optimizer": {"name": "adam", "lr": 0.01}}},
    "fedprox-clip": {"strategy": "fedprox", "training": {
        "optimizer": {"lr": 0.05, "momentum": 0.9, "clip_norm": 0.5}}},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [c if c == "fedbn-adam" else pytest.param(c, marks=pytest.mark.slow) for c in COMPILED]
)
def test_a_traced_step_has_the_numbers_of_the_step(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_steps, "BACKEND", "aot_eager")
    plain, compiled = (
        run(each, tmp_path, rounds=1, **COMPILED[case]) for each in ("sequential", "compile")
    )
    assert_same(plain, compiled, within=1e-5)


@pytest.mark.slow_except("Branching")
@pytest.mark.parametrize("name", ["Decides", "Draws", "Branching"])
def test_a_step_that_cannot_be_traced_is_not_compiled(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiled_steps, "BACKEND", "eager")
    plain = run("sequential", tmp_path, rounds=1, **own(name))
    with caplog.at_level(logging.WARNING, "fedlab"):
        compiled = run("compile", tmp_path, rounds=1, **own(name))
    assert_same(plain, compiled)
    assert any("without compiled steps" in message for message in caplog.messages)


@pytest.mark.slow
@pytest.mark.skipif(
    compiled_steps.missing(torch.device("cpu")) is not None, reason="no C++ compiler"
)
@pytest.mark.parametrize("case", COMPILED)
def test_compiled_code_has_the_numbers_of_the_step(case: str, tmp_path: Path) -> None:
    model = "cnn-batch" if case.startswith("fedbn") else "mlp"
    plain, compiled = (
        run(each, tmp_path, rounds=1, model=MODELS[model], **COMPILED[case])
        for each in ("sequential", "compile")
    )
    assert_same(plain, compiled, within=1e-5)
