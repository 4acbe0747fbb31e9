"""What every method's clients really send up is what a server with devices expects of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedlab.config import registry
from fedlab.deploy.server.inspection import Expectation
from fedlab.engine.local_grid import LocalGrid
from fedlab.engine.start import make_runtime
from fedlab.federation.evaluation_reply import counts_layout
from fedlab.federation.preaggregation import REQUEST
from fedlab.federation.record_layout import expected_of
from fedlab.preparation import Prepared, prepare
from fedlab.records import array_records, to_wire
from fedlab.runs.execute import conduct
from fedlab.runs.run_folder import RunFolder
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario
from helpers.four_domains import write_four
from helpers.tiny_scenario import write_tiny

NOT_ON_DEVICES = {"centralised", "fedbuff"}
"""They move samples, or need a virtual clock."""

FEATURES = {name: ["model=linear", "partition.labels=iid"] for name in ("ggeur", "nmtune")}
SEMI = ["partition.label_budget.share=0.3"]
SETTINGS: dict[str, list[str]] = {
    "fedlabel": [*SEMI, "training.local_epochs=2"],
    "fixmatch": SEMI,
    "uda": SEMI,
    "llp_bp": ["partition.label_proportions.bag_size=4"],
    "feddg_ga": ["evaluation.validation=0.2"],
    "fednova": ["training.optimizer.momentum=0.9"],
}
OTHERWISE: list[dict[str, Any]] = [
    {"name": "fednova"},
    {"name": "fedproto"},
    {"name": "scaffold"},
    {"name": "fedrep"},
    {"name": "qfedavg"},
    {"name": "ifca"},
    {"name": "ggeur", "rank": 2, "per_class": 20, "per_prototype": 2},
]
"""Methods that send up other tensors, or count other samples, than most."""

VARIANTS: list[dict[str, Any]] = [
    *(
        {"name": name}
        for name in registry.BUILTIN["strategies"]
        if name not in NOT_ON_DEVICES and {"name": name} not in OTHERWISE
    ),
    {"name": "fedlabel", "aggregation": "flute", "unlabelled_steps": 3},
    {"name": "ggeur", "base": {"name": "scaffold"}},
    {"name": "ggeur", "prototypes": False, "base": {"name": "fednova"}},
    {"name": "fedsam", "own_share": 0.1},
    {"name": "ccst", "styles": "features"},
    {"name": "flwr:FedAdam"},
]


class Devices(LocalGrid):
    """Sends every reply as a device does, and takes it in as a server does."""

    def __init__(self, prepared: Prepared) -> None:
        scenario = prepared.scenario
        super().__init__(make_runtime(scenario, "cpu", 1, prepared.data, prepared.partition))
        self.prepared = prepared
        self.kinds: set[str] = set()

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        messages = list(messages)
        for message in messages:
            message.content.pop(REQUEST, None)
        replies = list(super().send_and_receive(messages, timeout=timeout))
        by_node = {message.metadata.dst_node_id: message for message in messages}
        return [self._admitted(by_node[reply.metadata.src_node_id], reply) for reply in replies]

    def _admitted(self, message: Message, reply: Message) -> Message:
        assert reply.has_content(), reply.error.reason
        kind = message.metadata.message_type
        if kind == "evaluate.domain":
            return reply
        self.kinds.add(kind)
        client = reply.metadata.src_node_id - 1000
        partition = self.prepared.partition
        train, test = (
            int(np.diff(offsets)[client])
            for offsets in (partition.train_offsets, partition.test_offsets)
        )
        scenario, trainer = self.prepared.scenario, self.worker.runtime.trainer
        classes = len(self.prepared.data.class_names)
        most = scenario.strategy.most_examples(scenario, train, len(trainer.phases()), classes)
        domains = reply.content.get("domains", {})
        expectation = Expectation(
            client,
            "task",
            expected_of(message.content),
            array_records(message.content),
            examples=test if kind == "evaluate" else most,
            train=train,
            domain=domains["domain"][0] if kind == "evaluate" else None,  # type: ignore[index]
            counts=counts_layout(
                scenario.metric_set.counted, classes, test, self.prepared.data.target
            ),
            target=self.prepared.data.target if kind == "evaluate" else trainer.task.target,
        )
        sent = to_wire(RecordDict(dict(reply.content)))
        sent["client"] = ConfigRecord({"id": client, "task": "task"})
        size = sum(
            len(array.data) for record in array_records(sent).values() for array in record.values()
        )
        assert size <= expectation.largest
        admitted = expectation.admit(sent)
        before, after = (
            {name: list(record) for name, record in array_records(content).items()}
            for content in (reply.content, admitted)
        )
        assert {n: sorted(r) for n, r in before.items()} == {n: sorted(r) for n, r in after.items()}
        reply.content = admitted
        return reply


def scenario_of(variant: dict[str, Any], folder: Path) -> Scenario:
    name = variant["name"]
    overrides = FEATURES.get(name, [*SETTINGS.get(name, []), "data.domains=[north, south]"])
    file = write_tiny(folder) if name in FEATURES else write_four(folder)
    more = ["partition.clients=2", "rounds=2", "seed=1"]
    return load_scenario(file, [*overrides, *more], strategy=variant)


PACKED = ["scaffold", "fedbn", "fednova"]
"""Methods whose replies are also compressed: with more records, with layers that stay, without."""


@pytest.mark.slow_except("int8-fedbn", "top_k-fedbn", "top_k-fednova")
@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("compression", ["top_k", "int8"])
def test_a_compressed_reply_is_what_is_expected(
    name: str, compression: str, tmp_path: Path
) -> None:
    scenario = scenario_of({"name": name}, tmp_path)
    overrides = [f"updates.compression={compression}"]
    prepared = prepare(load_scenario(scenario, overrides))
    with Devices(prepared) as grid, RunFolder.create(tmp_path / "run", prepared.scenario) as folder:
        run = conduct(prepared.scenario, prepared.model, grid, folder)
    assert run.finished
    assert not (run.folder / "failures.csv").exists()


@pytest.mark.parametrize(
    "variant",
    [*OTHERWISE, *(pytest.param(each, marks=pytest.mark.slow) for each in VARIANTS)],
    ids=str,
)
def test_an_honest_reply_is_what_is_expected(variant: dict[str, Any], tmp_path: Path) -> None:
    prepared = prepare(scenario_of(variant, tmp_path))
    with Devices(prepared) as grid, RunFolder.create(tmp_path / "run", prepared.scenario) as folder:
        run = conduct(prepared.scenario, prepared.model, grid, folder)
    assert run.finished
    assert {"train", "evaluate"} <= grid.kinds
    assert not (run.folder / "failures.csv").exists()
