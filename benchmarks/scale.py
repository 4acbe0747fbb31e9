"""How fedlab's cost grows with the population, the cohort, the model and the number of actors.

    python -m benchmarks.scale
    python -m benchmarks.scale --axes clients cohort --rounds 5

Every point is a run of its own. A table and a JSON file go to benchmarks/results, and a plot of
clients a second against the size of a cohort to docs/images.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.environments import UnavailableError, cache_folder
from benchmarks.fedlab_work import prepare
from benchmarks.running import Runner, run
from benchmarks.statistics import timing
from benchmarks.works import Work

CLIENTS = (100, 1_000, 10_000, 100_000)
COHORTS = (10, 30, 100, 300, 1000)
WIDTHS = (12, 118, 1_182, 11_820, 118_203)
"""Hidden units that give about 1e4 to 1e8 parameters for 784 inputs and 62 classes."""
ACTORS = (1, 2)

SMALL = Work("population", (32,), 10, {"name": "linear"}, samples=10, cohort=100)
"""Little data and arithmetic, so that what is left grows with the population, if anything does."""
MILLION = Work("population", (8,), 4, {"name": "linear"}, clients=10**6, samples=2, cohort=1000)
"""A round of a thousand clients of a million."""
DENSE = Work("mlp", (784,), 62, {"name": "mlp", "hidden": [128]})
WIDE = replace(DENSE, name="wide", clients=20, cohort=10)


def points(axis: str) -> Iterator[tuple[str, Work, list[str]]]:
    """What to run along an axis: its label, the work, and options of the runner."""
    if axis == "clients":
        for clients in CLIENTS:
            yield f"{clients:,} clients", replace(SMALL, clients=clients), []
        yield "1,000,000 clients of 2 samples, cohort 1,000", MILLION, []
    elif axis == "cohort":
        for cohort in COHORTS:
            yield f"cohort {cohort}", replace(DENSE, cohort=cohort), []
    elif axis == "model":
        for width in WIDTHS:
            work = replace(WIDE, model={"name": "mlp", "hidden": [width]})
            yield f"{parameters(width):,} parameters", work, []
    else:
        for actors in ACTORS:
            yield f"{actors} actors", DENSE, ["--set", f"resources.actors={actors}"]


def parameters(width: int) -> int:
    """Parameters of the `WIDE` network with so many hidden units."""
    return (WIDE.input_shape[0] + 1) * width + (width + 1) * WIDE.classes


def needed_gigabytes(work: Work) -> float:
    """A guess from above of what a round holds: every update twice, the model, float64 sums."""
    if work.name != "wide":
        return 0.0
    size = 4 * parameters(work.model["hidden"][0])
    return size * (2 * work.cohort + 8) / 2**30


def free_gigabytes() -> float:
    """Memory that can be had without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) / 2**20
    return 0.0


def measure(label: str, work: Work, options: list[str], rounds: int) -> dict[str, Any]:
    """Runs one point; the row says why where it cannot be run."""
    row: dict[str, Any] = {"label": label, "cohort": work.cohort, "clients": work.clients}
    needed, free = needed_gigabytes(work), free_gigabytes()
    if needed > free:
        return {**row, "failure": f"may need {needed:.0f} GB, and {free:.0f} GB are free"}
    try:
        data = prepare(work, cache_folder() / "data", initial=False)
        answer = run(Runner("fedlab", "fedlab", options), work, data, rounds)
    except UnavailableError as error:
        return {**row, "failure": str(error)}
    return {
        **row,
        "seconds": answer.seconds,
        "driver_mb": answer.notes["max_rss_mb"],
        "chosen": answer.notes["chosen"],
    }


def table(axis: str, rows: list[dict[str, Any]]) -> str:
    """Markdown: a row per point."""
    lines = [
        f"| {axis} | seconds a round | from - to | clients a second | ms a client | driver MB |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "failure" in row:
            lines.append(f"| {row['label']} | {row['failure']} | | | | |")
            continue
        spent = timing([row["seconds"]])
        lines.append(
            f"| {row['label']} | {spent.median:.4f} "
            f"| {min(row['seconds']):.4f} - {max(row['seconds']):.4f} "
            f"| {row['cohort'] / spent.median:,.0f} | {1000 * spent.median / row['cohort']:.3f} "
            f"| {row['driver_mb']:,} |"
        )
    return "\n".join(lines)


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Clients a second against the size of a cohort."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import ScalarFormatter

    measured = [row for row in rows if "seconds" in row]
    cohorts = [row["cohort"] for row in measured]
    rates = [row["cohort"] / timing([row["seconds"]]).median for row in measured]
    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    axes.plot(cohorts, rates, marker="o", color="#1f6f8b")
    axes.set_xscale("log")
    axes.set_xticks(cohorts)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("clients in a round")
    axes.set_ylabel("clients trained a second")
    axes.set_title("784-128-62 network, 50 samples a client, batch 10", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def document(results: dict[str, Any]) -> str:
    """All axes as one Markdown page."""
    parts = [f"# How fedlab's cost grows, on {results['machine']}"]
    for axis, entry in results["axes"].items():
        known = ", ".join(f"{package} {v}" for package, v in entry["versions"].items())
        parts += [
            f"## {axis}",
            f"`{entry['command']}` on {entry['date']}, {entry['rounds']} rounds after the first "
            f"2; {known}.",
            table(axis, entry["rows"]),
        ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    axes = ["clients", "cohort", "model", "actors"]
    parser.add_argument("--axes", nargs="+", choices=axes, default=axes)
    parser.add_argument("--rounds", type=int, default=5, help="rounds to time")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"scale-{machine.kind()}.json"
    results = json.loads(path.read_text()) if path.exists() else {"axes": {}}
    results["machine"] = machine.description()
    for axis in given.axes:
        rows = []
        for label, work, options in points(axis):
            rows.append(measure(label, work, options, given.rounds))
            said = rows[-1].get("failure") or f"{timing([rows[-1]['seconds']]).median:.4f} s"
            print(f"{label}: {said}", file=sys.stderr, flush=True)
        results["axes"][axis] = {
            "command": shlex.join(["python", "-m", "benchmarks.scale", *sys.argv[1:]]),
            "date": date.today().isoformat(),
            "rounds": given.rounds,
            "versions": machine.versions("fedlab-sim", "torch", "flwr", "ray"),
            "rows": rows,
        }
        path.write_text(json.dumps(results, indent=1) + "\n")
        path.with_suffix(".md").write_text(document(results))
        print(table(axis, rows))
        if axis == "cohort":
            plot(rows, given.images / f"performance_cohort_{machine.kind()}.svg")


if __name__ == "__main__":
    main()
