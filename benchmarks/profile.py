"""What a round of fedlab is made of: shares of its time, in one process with one thread.

    python -m benchmarks.profile
    python -m benchmarks.profile --work cnn --set engine.dense_layers=dense

Kernels are those of PyTorch's profiler, by kind; what they leave is Python, decoding and encoding.
Beside the shares stands the CPU time of a round without the profiler, which makes small operations
look larger than they are.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch.profiler import ProfilerActivity, profile

import fedlab
from benchmarks.environments import cache_folder
from benchmarks.fedlab_work import prepare, scenario
from benchmarks.harness import WARM_UP
from benchmarks.works import WORKS, Work

if TYPE_CHECKING:
    from fedlab.federation.callbacks import RoundReport
    from fedlab.strategies.base import Strategy

KINDS = {
    "convolutions": ("convolution",),
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::_addmm"),
    "copies": ("copy_", "aten::index", "aten::cat", "aten::clone", "aten::fill_", "aten::stack"),
    "other operations": ("aten::",),
    "autograd": ("autograd::", "Backward"),
}


class Profiled:
    """Starts the profiler after the first rounds and stops it after the last that counts.

    Args:
        rounds: Rounds to profile.
    """

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.profiler = profile(activities=[ProfilerActivity.CPU])
        self.plain = self.seconds = 0.0
        self._cpu = self._clock = 0.0

    def on_start(self, strategy: Strategy, first_round: int, rounds: int) -> None:
        """Nothing to do before the first round."""

    def on_round(self, strategy: Strategy, report: RoundReport) -> None:
        """Takes the time of as many rounds without the profiler as with it."""
        plain, profiled = WARM_UP + self.rounds, WARM_UP + 2 * self.rounds
        if report.round == plain:
            self.plain = (time.process_time() - self._cpu) / self.rounds
            self.profiler.start()
        if report.round in (WARM_UP, plain):
            self._cpu, self._clock = time.process_time(), time.perf_counter()
        if report.round == profiled:
            self.seconds = (time.perf_counter() - self._clock) / self.rounds
            self.profiler.stop()

    def on_end(self, strategy: Strategy) -> None:
        """Nothing to do after the last round."""

    def by_kind(self) -> dict[str, float]:
        """Seconds a round by kind, with what is left as Python."""
        spent = dict.fromkeys(KINDS, 0.0)
        for event in self.profiler.key_averages():
            kind = next((k for k, texts in KINDS.items() if any(t in event.key for t in texts)), "")
            if kind:
                spent[kind] += event.self_cpu_time_total / 1e6 / self.rounds
        spent["Python and the rest"] = max(0.0, self.seconds - sum(spent.values()))
        return spent


def measure(work: Work, changes: Sequence[str], rounds: int) -> Profiled:
    """Runs a work in this process."""
    experiment = scenario(work, prepare(work, cache_folder() / "data"), WARM_UP + 2 * rounds + 1)
    observer = Profiled(rounds)
    with tempfile.TemporaryDirectory() as folder:
        fedlab.simulate(
            experiment,
            ["resources.backend=local", *changes],
            out=Path(folder) / "run",
            callbacks=[observer],
            progress=False,
        )
    return observer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", nargs="+", choices=WORKS, default=["lr", "mlp", "cnn"])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    columns = [*KINDS, "Python and the rest"]
    print(f"| work | CPU ms a round | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 2) + "|")
    for name in given.work:
        observer = measure(WORKS[name], given.set, given.rounds)
        spent = observer.by_kind()
        total = sum(spent.values())
        shares = " | ".join(f"{100 * spent[kind] / total:.0f} %" for kind in columns)
        print(f"| {name} | {1000 * observer.plain:.0f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
