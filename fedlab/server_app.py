"""A scenario's strategy as a Flower ServerApp."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from torch import nn

from fedlab.errors import InputError, RunError
from fedlab.federation.callbacks import Callback
from fedlab.federation.client_updates import reason
from fedlab.federation.evaluation_reply import read_tests
from fedlab.federation.evaluation_rows import CentralTest
from fedlab.federation.method_wrapper import wrap_class
from fedlab.federation.rounds import Selection, exchange
from fedlab.methods import strategy_class
from fedlab.metrics.metric_set import MetricSet
from fedlab.privacy.strategy import Private
from fedlab.records import Tensors, tensor_bytes, to_record
from fedlab.scenario import Scenario
from fedlab.strategies.base import ServerSettings, Strategy
from fedlab.updates.server_side import WithUpdates
from fedlab.virtual_time.device_population import DevicePopulation


def build_strategy(
    scenario: Scenario,
    model: nn.Module,
    fleet: DevicePopulation | None = None,
    held_out: Sequence[int] = (),
) -> Strategy:
    """The scenario's strategy for a network (as `fedlab.models.build` makes it).

    Args:
        scenario: The experiment.
        model: The initial network.
        fleet: The clients' devices, where virtual time is to pass.
        held_out: Clients that never train.
    """
    strategy = strategy_class(scenario)
    if scenario.privacy is not None:
        strategy = wrap_class(Private, strategy)
    if not scenario.updates.is_plain:
        strategy = wrap_class(WithUpdates, strategy)
    return strategy(model, scenario.strategy, server_settings(scenario, fleet, held_out))


def server_settings(
    scenario: Scenario, fleet: DevicePopulation | None = None, held_out: Sequence[int] = ()
) -> ServerSettings:
    """The settings of the server that all methods share (see `build_strategy`)."""
    return ServerSettings(
        seed=scenario.seed,
        fraction_train=scenario.participation.fraction,
        fraction_evaluate=scenario.evaluation.fraction,
        evaluate_every=scenario.evaluation.every,
        max_failed_share=scenario.participation.max_failed_share or 0.0,
        update_norm=scenario.participation.update_norm,
        min_replies=scenario.participation.min_replies,
        privacy=scenario.privacy,
        updates=scenario.updates,
        fleet=fleet,
        metrics=scenario.metric_set,
        splits=scenario.evaluation.splits,
        held_out=frozenset(held_out),
        adapt_steps=scenario.evaluation.adapt_steps,
    )


def refuse_hopeless_deadline(scenario: Scenario, model: nn.Module, fleet: DevicePopulation) -> None:
    """Refuses a virtual deadline that too few clients can ever meet.

    Raises:
        InputError: With what the quickest of them need.
    """
    deadline = scenario.devices.deadline
    if deadline is None:
        return
    strategy = build_strategy(scenario, model, fleet)
    strategy.initialise(dict(model.state_dict()))
    sent = strategy.broadcast(1) | strategy.sent_to(0)
    down = sum(tensor_bytes(tensors) for tensors in sent.values())
    seconds = np.sort(fleet.seconds(down, strategy.upload_bytes(down)))
    needed = min(strategy.replies_needed, len(fleet))
    if seconds[needed - 1] > deadline:
        raise InputError(
            f"devices.deadline: {deadline:g} virtual seconds are too short: replies from {needed} "
            f"of {len(fleet)} clients take {seconds[needed - 1]:.4g}, and a round comes to nothing "
            "without them; use a longer deadline"
        )


def build_server_app(
    scenario: Scenario,
    model: nn.Module,
    *,
    test_domains: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    first_round: int = 1,
    state: dict[str, Tensors] | None = None,
    fleet: DevicePopulation | None = None,
    selection: Selection | None = None,
    held_out: Sequence[int] = (),
) -> ServerApp:
    """The ServerApp that runs a scenario's rounds.

    Args:
        scenario: The experiment.
        model: The initial network.
        test_domains: Domains whose test sets the global model meets in every evaluated round, by
            messages to clients that hold them.
        callbacks: Observers of the run.
        first_round: Where to start; 1, or the round after a checkpoint's.
        state: The strategy's state at that checkpoint.
        fleet: The clients' devices, where virtual time is to pass.
        selection: Chooses the round whose model is the run's; by default the last.
        held_out: Clients that never train and are tested with what the others learn.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = build_strategy(scenario, model, fleet, held_out)
        if state is not None:
            strategy.state = state
        has_model = strategy.has_global_model or scenario.strategy.tests_both
        tested = list(test_domains) if has_model else []
        deadline = scenario.participation.timeout
        strategy.start(
            grid,
            to_record(model.state_dict()),
            num_rounds=scenario.rounds,
            timeout=deadline,
            evaluate_fn=domain_test(grid, tested, strategy.settings.metrics) if tested else None,
            callbacks=callbacks,
            first_round=first_round,
            selection=selection,
        )

    return app


def domain_test(
    grid: Grid, domains: Sequence[str], metrics: MetricSet
) -> Callable[[int, ArrayRecord], MetricRecord | None]:
    """A test of the global model on whole domains, in the form Flower's strategies take."""

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        nodes = sorted(grid.get_node_ids())
        messages = [
            Message(
                RecordDict(
                    {
                        "arrays": arrays,
                        "config": ConfigRecord({"domain": domain, "server-round": server_round}),
                    }
                ),
                dst_node_id=nodes[index % len(nodes)],
                message_type="evaluate.domain",
                group_id=str(server_round),
            )
            for index, domain in enumerate(domains)
        ]
        replies = exchange(grid, messages, timeout=None)
        for reply in replies:
            if reply.has_error():
                raise RunError(f"round {server_round}: the global model's test: {reason(reply)}")
        return CentralTest(read_tests(replies), metrics)

    return evaluate
