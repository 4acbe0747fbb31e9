"""Methods side by side on one scenario: a Markdown table of test accuracy by domain, over seeds.

    python -m benchmarks.methods domain_skew runs/domain_skew --strategies fedavg fedbn fedwon
    python -m benchmarks.methods digits_five runs/digits_five data.root=DATA rounds=30

Runs that are finished are not repeated, and interrupted ones go on: the same command completes or
only prints the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

import fedlab
from fedlab.runs.metrics import by_domain, last_evaluated_round


def run(scenario: str, overrides: list[str], strategy: str, seed: int, folder: Path) -> fedlab.Run:
    if (folder / "scenario.yaml").exists():
        return fedlab.resume(folder)
    chosen = [f"strategy.name={strategy}", f"seed={seed}", *overrides]
    return fedlab.simulate(scenario, chosen, out=folder)


def accuracies(run: fedlab.Run) -> pd.Series:
    """Accuracy of the clients' own models in the last evaluated round, by domain, with the mean."""
    last = last_evaluated_round(run.history)
    assert last is not None
    domains = by_domain(run.history, last)["clients_value"]
    return pd.concat([domains, pd.Series({"mean": domains.mean()})])


def table(runs: dict[str, list[fedlab.Run]]) -> str:
    """Markdown: a row per method, mean ± standard deviation over seeds in per cent."""
    frames = {method: pd.DataFrame([accuracies(run) for run in of]) for method, of in runs.items()}
    columns = list(next(iter(frames.values())).columns)
    lines = [
        "| method | " + " | ".join(columns) + " | seconds a run |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for method, frame in frames.items():
        cells = [f"{100 * frame[c].mean():.1f} ± {100 * frame[c].std(ddof=1):.1f}" for c in columns]
        lines.append(f"| {method} | " + " | ".join(cells) + f" | {seconds(runs[method]):.0f} |")
    return "\n".join(lines)


def seconds(runs: list[fedlab.Run]) -> float:
    """Median wall-clock seconds of all rounds of a run (without the start of Ray)."""
    spent = []
    for one in runs:
        rows = one.history[one.history.metric.str.startswith("seconds_")]
        spent.append(rows.value.sum())
    return float(pd.Series(spent).median())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("scenario")
    parser.add_argument("out", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--strategies", nargs="+", default=["fedavg", "fedbn", "fedwon"])
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_intermixed_args()
    runs = {
        strategy: [
            run(given.scenario, given.overrides, strategy, s, given.out / f"{strategy}-s{s}")
            for s in range(given.seeds)
        ]
        for strategy in given.strategies
    }
    print(table(runs))


if __name__ == "__main__":
    main()
