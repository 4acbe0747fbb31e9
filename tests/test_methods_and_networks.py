"""Methods with odd networks: refused in one line before training, or right to the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fedlab
from fedlab.clients.base import Received
from fedlab.config import registry
from fedlab.data.preprocess import Preprocess
from fedlab.engine.execution.build_trainer import client_trainer_of
from fedlab.errors import InputError
from fedlab.models.anatomy import anatomy_of, fill
from fedlab.models.copies import copy_of
from fedlab.preparation import Prepared, prepare
from fedlab.runs.checkpoint import load_client_state
from fedlab.runs.run import Run
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario

NETWORKS = (
    *("Plain", "Frozen", "FrozenHead", "FrozenBody", "HeadAlone", "Tied", "SharedModule"),
    *(
        "NonPersistent",
        "SpectralNorm",
        "OldSpectralNorm",
        "WeightNorm",
        "OldWeightNorm",
        "Counting",
    ),
    *(
        "Temperature",
        "Dropped",
        "BatchNormed",
        "GroupNormed",
        "Tiles",
        "Idle",
        "Empty",
        "Checkpointed",
    ),
    *("Reentrant", "Segments", "Residual", "Masked", "Reversed", "Branching", "LastCodebook"),
    *("LocalCodebook", "HeadFirst", "ReadTwice", "TwiceInTraining", "ConvolutionalHead", "Told"),
)
WAYS = (
    {"execution": "sequential", "linear": "dense"},
    {"execution": "vmap", "linear": "low_rank"},
)
FEW: dict[str, Any] = {"partition": {"clients": 3, "label_budget": {"share": 0.5}}}
DEVICE = {"samples_per_second": 100, "download_mbps": 20, "upload_mbps": 5}
NEEDS: dict[str, dict[str, Any]] = {
    "fixmatch": FEW,
    "uda": FEW,
    "fedlabel": FEW,
    "fedbuff": {
        "devices": {"profiles": [DEVICE]},
        "strategy": {"name": "fedbuff", "buffer_size": 2, "concurrency": 3},
    },
    "moon": {"strategy": {"name": "moon", "projection": 6}},
    "ggeur": {
        "data": {"sources": [{"name": "test_ggeur:Clouds", "train": 24}]},
        # Of hundreds of steps on kinks, two ways differ by more than rounding.
        "strategy": {"name": "ggeur", "per_class": 12, "per_prototype": 2},
    },
}
"""What a method cannot do without."""


def scenario(method: str, network: str) -> Scenario:
    """Two rounds of a few samples."""
    images = {
        "sources": [{"name": "helpers.toy:Stripes", "domains": 2, "train": 24, "test": 12}],
        "image_size": 8,
    }
    fields = {
        "name": "odd",
        "rounds": 2,
        "data": images,
        "partition": {"clients": 3},
        "model": f"helpers.odd_networks:{network}",
        "strategy": method,
        "training": {"batch_size": 6, "optimizer": {"lr": 0.05}},
        "resources": {"backend": "local"},
    }
    return Scenario.model_validate(fields | NEEDS.get(method, {}))


def is_right(method: str, network: str, folder: Path) -> bool:
    """Runs a method with a network in several ways; False if it is refused."""
    chosen = scenario(method, network)
    try:
        prepared = prepare(chosen)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert "plain PyTorch" not in str(error)  # noqa: PT017
        return False
    runs = []
    for number, way in enumerate(WAYS):
        chosen_scenario = load_scenario(chosen, engine=way)
        runs.append(fedlab.simulate(chosen_scenario, out=folder / f"{number}", progress=False))
        assert not (runs[-1].folder / "failures.csv").exists()
    what_is_frozen_or_tied_stays_so(runs[0], prepared)
    what_is_loaded_is_what_was_tested(runs[0], prepared)
    all_agree(runs)
    return True


def states_of(run: Run) -> list[dict[str, Tensor]]:
    """The server's model, and each client's."""
    clients = range(run.scenario.partition.clients)
    return [run.model_state(), *(run.model_state(client) for client in clients)]


def what_is_frozen_or_tied_stays_so(run: Run, prepared: Prepared) -> None:
    """In the server's model, in clients' models, and in the other state of clients."""
    first, anatomy = prepared.model.state_dict(), anatomy_of(prepared.model)
    checkpoints = RunFolder(run.folder).checkpoints
    kept = [load_client_state(checkpoints, c) for c in range(run.scenario.partition.clients)]
    for name in anatomy.frozen:
        for state in states_of(run):
            assert name not in state or torch.equal(state[name], first[name]), name
        for record in (record for records in kept for record in records.values()):
            # A control variate or a correction of it would be zero.
            value = record.get(name)
            assert value is None or torch.equal(value, first[name]) or not value.any(), name
    for alias, name in anatomy.aliases.items():
        for state in states_of(run):
            assert (alias in state) == (name in state), alias
            assert alias not in state or torch.equal(state[alias], state[name]), alias


def what_is_loaded_is_what_was_tested(run: Run, prepared: Prepared) -> None:
    """A state goes into the user's network, strictly, and is as good as the history says."""
    data, partition = prepared.data, prepared.partition
    trainer = client_trainer_of(run.scenario, prepared.model, len(data.class_names))
    inputs_of = Preprocess(run.scenario.data, data).inputs
    last = run.history.query("split == 'test' and metric == 'accuracy' and round == 2")
    checkpoints = RunFolder(run.folder).checkpoints

    def accuracy(network: nn.Module, rows: Any) -> float:
        samples = inputs_of(torch.from_numpy(data.test.inputs[rows]))
        with torch.no_grad():
            found = network.eval()(samples).argmax(dim=1)
        return float((found == torch.from_numpy(data.test.labels[rows])).double().mean())

    for client in range(len(partition)):
        rows, rows_of_client = partition[client].test, last.query(f"client == {client}")
        wanted = float(
            (rows_of_client.value * rows_of_client.examples).sum() / rows_of_client.examples.sum()
        )
        kept = load_client_state(checkpoints, client)
        tested = trainer.evaluated_model(Received({"arrays": run.model_state()}), kept)
        network = fill(copy_of(prepared.model), tested)
        assert accuracy(network, rows) == pytest.approx(wanted)
        state = run.model_state(client)
        if state.keys() == prepared.model.state_dict().keys():
            network = copy_of(prepared.model)
            network.load_state_dict(state)  # strict
            assert accuracy(network, rows) == pytest.approx(wanted)
    if run.model_state().keys() == prepared.model.state_dict().keys():
        network = copy_of(prepared.model)
        network.load_state_dict(run.model_state())
        for row in last.query("client == -1").itertuples():
            rows = (data.test.domains == data.domain_names.index(row.domain)).nonzero()[0]
            assert accuracy(network, rows) == pytest.approx(row.value)


def all_agree(runs: list[Run]) -> None:
    """However clients were executed, and dense layers computed."""
    keys = ["round", "client", "domain", "split", "metric"]
    losses = [run.history.query("metric == 'loss'").set_index(keys).value for run in runs]
    for other, loss in zip(runs[1:], losses[1:], strict=True):
        assert (loss.sort_index() - losses[0].sort_index()).abs().max() < 1e-5
        for one, two in zip(states_of(runs[0]), states_of(other), strict=True):
            torch.testing.assert_close(two, one, atol=1e-5, rtol=1e-5)


@pytest.mark.slow_except("feddyn-HeadAlone", "ditto-Tied", "fedavg-Dropped")
@pytest.mark.parametrize(
    ("method", "network"),
    [
        ("fedavg", "Dropped"),  # masks are drawn in the order of memory
        ("fedavg", "Reversed"),  # a module's hook
        ("fedavg", "OldSpectralNorm"),  # a weight that is no parameter
        ("ditto", "Tied"),
        ("fedbn", "SharedModule"),
        ("scaffold", "FrozenBody"),
        ("local_only", "Segments"),
        ("fedadam", "Residual"),
        ("feddyn", "HeadAlone"),
    ],
)
def test_an_odd_network_is_trained_rightly(method: str, network: str, tmp_path: Path) -> None:
    assert is_right(method, network, tmp_path)


def test_a_method_that_cannot_do_with_a_network_says_so(tmp_path: Path) -> None:
    assert not is_right("fedbn", "Plain", tmp_path)
    assert not is_right("moon", "ConvolutionalHead", tmp_path)
    for method in ("fedrep", "fedper", "lg_fedavg"):
        with pytest.raises(InputError, match=r"strategy.layers: .* all of the rest is frozen"):
            prepare(scenario(method, "HeadAlone"))
        with pytest.raises(InputError, match=r"strategy.layers: .* all of these is frozen"):
            prepare(scenario(method, "FrozenHead"))


@pytest.mark.slow
def test_every_method_meets_odd_networks(tmp_path: Path) -> None:
    # Clients of IFCA and FDSE have no models that could be loaded; LLP-BP learns from bags alone.
    methods = sorted({*registry.BUILTIN["strategies"]} - {"ifca", "fdse", "llp_bp"})
    done = 0
    for number, method in enumerate(methods):
        for step in range(2):
            network = NETWORKS[(2 * number + step) % len(NETWORKS)]
            done += is_right(method, network, tmp_path / f"{method}-{network}")
    assert done > len(methods)
