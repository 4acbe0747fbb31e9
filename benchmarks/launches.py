"""What a round costs the host of an accelerator: kernels launched, waits and copies, by method.

    python -m benchmarks.launches
    python -m benchmarks.launches --methods fedavg scaffold --clients 8

Counted exactly on a pretend accelerator (`tests/helpers/pretend_accelerator.py`), on the CPU and
without a clock: the same numbers on every machine. The work is a second local round of the
scenario `smoke`'s clients (three steps of its small network with batch normalisation), with what
clients keep taken from the first; one client by itself, the same by graphs (``engine.execution:
graph``, where the method allows it), and several as one stack.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fedlab.clients.base import ClientState, Received
from fedlab.engine.execution.runtime import Runtime
from fedlab.records import to_record
from fedlab.scenario_file import load_scenario
from fedlab.server_app import build_strategy
from fedlab.simulation import prepare

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from helpers import pretend_accelerator, pretend_graphs

METHODS = (
    *("fedavg", "fedbn", "fedprox", "scaffold", "feddyn", "feddc", "fednova", "ditto", "moon"),
    *("fedntd", "fedsam", "fedwon", "fixmatch", "uda", "fedlabel", "fraug"),
)
FEW_LABELS = ("fixmatch", "uda", "fedlabel")


class Counted(NamedTuple):
    """What one local round costs the host.

    Attributes:
        launches: Kernels for each step of each client.
        waits: Times that the host waits in the round.
        copies: Copies to the device in the round.
    """

    launches: float
    waits: int
    copies: int


def count(method: str, clients: int = 1, overrides: Sequence[str] = ()) -> Counted:
    """The cost of a local round of some clients.

    Args:
        method: Name of the method.
        clients: 1 by itself, or so many as one stack.
        overrides: Changes of the scenario `smoke`.
    """
    budget = ["partition.label_budget.share=0.2"] if method in FEW_LABELS else []
    wide = [
        f"partition.clients={clients}",
        "partition.domains=mixed",
        f"data.sources.0.train_per_domain={20 * clients}",
    ]
    changes = [f"strategy={method}", *budget, *(wide if clients > 1 else []), *overrides]
    with pretend_graphs.present():
        device = torch.device(pretend_accelerator.NAME)
        prepared = prepare(load_scenario("smoke", changes))
        scenario = prepared.scenario
        strategy = build_strategy(scenario, prepared.model, prepared.fleet)
        strategy.rounds = scenario.rounds
        strategy.initialise(dict(prepared.model.state_dict()))
        received = Received(_on(strategy.broadcast(1), device), strategy.config(1))
        runtime = Runtime(scenario, prepared.data, prepared.partition, device)
        several = list(range(clients))

        def play(states: Sequence[ClientState]) -> list[Any]:
            if clients == 1:
                return [runtime.train(0, received, states[0])]
            return runtime.train_many(several, received, states)

        first = play([{} for _ in several])
        kept = [_on(update.client_state, device) for update, _ in first]
        if scenario.engine.execution == "graph":  # what clients keep may need graphs of its own
            play(kept)
        with pretend_accelerator.counting() as cost:
            trained = play(kept)
    steps = sum(metrics["steps"] for _, metrics in trained)
    return Counted(cost["launches"] / max(steps, 1), cost["waits"], cost["to_device"])


def _on(records: Any, device: torch.device) -> Any:
    """Records as they arrive from a message."""
    from flwr.app import RecordDict

    from fedlab.records import arrays_of

    return arrays_of(RecordDict({name: to_record(each) for name, each in records.items()}), device)


def table(rows: dict[str, tuple[Counted, Counted, Counted]], clients: int) -> str:
    """Markdown: a row for each method."""
    lines = [
        "| method | launches a step | waits | copies | by graphs: launches a step | waits | copies "
        f"| {clients} as one: launches a client-step | waits | copies |",
        "|---" + "|--:" * 9 + "|",
    ]
    for method, row in rows.items():
        cells = [f"{each.launches:.1f} | {each.waits} | {each.copies}" for each in row]
        lines.append("| " + " | ".join([method, *cells]) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Counts and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--clients", type=int, default=32, help="clients of a stack")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows: dict[str, tuple[Counted, Counted, Counted]] = {}
    for method in given.methods:
        by_graphs = count(method, overrides=["engine.execution=graph"])
        rows[method] = (count(method), by_graphs, count(method, given.clients))
        print(table({method: rows[method]}, given.clients).splitlines()[-1], file=sys.stderr)
    print(table(rows, given.clients))


if __name__ == "__main__":
    main()
