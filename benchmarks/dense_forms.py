"""What each form of wide dense layers takes on this processor, and whether the rule chooses well.

    python -m benchmarks.dense_forms
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.dense_forms --works cnn

A client of so many samples (a stack of 25 for works of dense layers alone) trains for a round in
one thread, in each form in turn. CPU milliseconds a client, medians over the repeats, so that other
work on the machine matters little. ``engine.dense_layers: measured`` makes the same comparison once
for a scenario of one's own; ``auto`` goes by a rule, and measures nothing.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks import machine
from benchmarks.fedlab_work import prepare, scenario
from benchmarks.works import WORKS, Work
from fedlab.clients.base import Received
from fedlab.engine.execution.runtime import Runtime
from fedlab.federation.preaggregation import Preaggregation
from fedlab.scenario import Scenario
from fedlab.server_app import build_strategy
from fedlab.simulation import prepare as prepared_of

FORMS = ("dense", "low_rank", "auto")
SAMPLES = {"cnn": (20, 50, 100, 200, 400, 800), "lr": (50, 200, 800), "mlp": (50, 200, 800)}
STACK = 25
"""Clients of a stack, for works of dense layers alone."""


def milliseconds(work: Work, folder: Path, repeats: int) -> dict[str, float]:
    """CPU milliseconds a client by form.

    Args:
        work: The work, with as many clients as train together.
        folder: Where its samples are kept.
        repeats: Rounds of each form that count, after one that does not.
    """
    data = prepare(work, folder, initial=False)
    players = {
        form: _player(scenario(work, data, 1, engine={"dense_layers": form})) for form in FORMS
    }
    taken: dict[str, list[float]] = {form: [] for form in FORMS}
    for repeat in range(repeats + 1):
        for form, play in players.items():
            begin = time.process_time()
            play()
            if repeat:
                taken[form].append(1000 * (time.process_time() - begin) / work.clients)
    return {form: statistics.median(each) for form, each in taken.items()}


def _player(of: Scenario) -> Callable[[], object]:
    """Trains all clients of a scenario for a round, and adds up what they learnt."""
    prepared = prepared_of(of)
    strategy = build_strategy(prepared.scenario, prepared.model, prepared.fleet)
    strategy.rounds = 1
    strategy.initialise(dict(prepared.model.state_dict()))
    received = Received(strategy.broadcast(1), strategy.config(1))
    cpu = torch.device("cpu")
    runtime = Runtime(prepared.scenario, prepared.data, prepared.partition, cpu)
    clients = range(len(prepared.partition))

    def play() -> object:
        total = Preaggregation("examples")
        if len(clients) == 1:
            return runtime.train(0, received, {}, total)
        return runtime.train_many(clients, received, [{} for _ in clients], total)

    return play


def table(rows: Sequence[tuple[str, int, dict[str, float]]]) -> str:
    """Markdown: a row for each work and number of samples."""
    lines = ["| work | samples a client | dense, CPU ms a client | low rank | as the rule says |"]
    lines.append("|---|--:|--:|--:|--:|")
    for name, samples, taken in rows:
        cells = " | ".join(f"{taken[form]:.2f}" for form in FORMS)
        lines.append(f"| `{name}` | {samples} | {cells} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Times and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--works", nargs="+", choices=list(SAMPLES), default=list(SAMPLES))
    parser.add_argument("--samples", nargs="+", type=int, help="samples a client, for all works")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.works:
            clients = 1 if name == "cnn" else STACK
            for samples in given.samples or SAMPLES[name]:
                work = replace(WORKS[name], clients=clients, cohort=clients, samples=samples)
                rows.append((name, samples, milliseconds(work, Path(folder), given.repeats)))
                print(table(rows).splitlines()[-1], file=sys.stderr)
    print(f"{machine.description()} ({machine.arithmetic()})\n\n{table(rows)}")


if __name__ == "__main__":
    main()
