"""Tests of models: many clients in one forward pass score as each would by itself."""

from __future__ import annotations

import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from fedlab.clients.base import ClientState, Received
from fedlab.engine.start import start_grid
from fedlab.engine.work_units import clients_per_batch
from fedlab.preparation import prepare
from fedlab.records import to_record
from fedlab.scenario import ResourcesSpec
from helpers import toy
from helpers.cohorts import MODELS, runtime_of
from helpers.running import on


@pytest.mark.parametrize("batch_size", [7, 256])
def test_clients_tested_together_score_as_alone(batch_size: int) -> None:
    runtime = runtime_of(
        model=MODELS["cnn-batch"], strategy="fedbn", evaluation={"batch_size": batch_size}
    )
    state = runtime.trainer.task.model.state_dict()
    received = Received({"arrays": {name: state[name] for name in runtime.trainer.shared}})
    kept = {name: state[name] + 1.0 for name in runtime.trainer.local}
    states: list[ClientState] = [{}, {"model": kept}, {}, {}]
    clients = [3, 1, 0, 2]
    together = runtime.evaluate_many(clients, received, states)
    for client, client_state, scores in zip(clients, states, together, strict=True):
        for score, alone in zip(
            scores, runtime.evaluate(client, received, client_state), strict=True
        ):
            assert score.domain == alone.domain
            assert score.examples == alone.examples
            assert score.score == alone.score
            assert score.loss == pytest.approx(alone.loss, rel=1e-5)
    other = runtime.evaluate(1, received, {})
    assert [s.loss for s in together[1]] != pytest.approx([s.loss for s in other])


def test_a_score_for_every_domain_that_occurs() -> None:
    runtime = runtime_of(partition={"clients": 4, "domains": "mixed"}, model=MODELS["linear"])
    received = Received({"arrays": runtime.trainer.task.model.state_dict()})
    for client, scores in enumerate(runtime.evaluate_many(range(4), received, [{}] * 4)):
        domains, counts = runtime.client_tests(client).domains.unique(return_counts=True)
        assert [score.domain for score in scores] == domains.tolist()
        assert [score.examples for score in scores] == counts.tolist()


@pytest.mark.slow
def test_the_number_of_processes_changes_no_score(ray_here: None) -> None:
    chosen = toy.scenario(partition={"clients": 12}, evaluation={"batch_size": 10})
    prepared = prepare(chosen)
    assert clients_per_batch(prepared.partition, 10) == 2
    state = to_record(prepared.model.state_dict())
    content = RecordDict({"arrays": state, "config": ConfigRecord({"server-round": 1})})

    def losses(resources: dict) -> dict:
        scenario = chosen.model_copy(update={"resources": ResourcesSpec(**resources)})
        grid, _ = start_grid(scenario, prepared.data, prepared.partition)
        with grid:
            nodes = grid.get_node_ids()
            replies = list(grid.send_and_receive([Message(content, n, "evaluate") for n in nodes]))
        return {r.content["client"]["id"]: r.content["metrics"]["loss"] for r in replies}

    here = losses({"backend": "local"})
    assert sorted(here) == list(range(12))
    assert here == losses(on("ray"))
