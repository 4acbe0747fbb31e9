"""fedlab on one GPU: time, arithmetic and memory of a round, for every way of running clients.

    python -m benchmarks.gpu
    python -m benchmarks.gpu --works cnn resnet18 --flower 1 0.25 0.1 --wheels wheels --minutes 30
    python -m benchmarks.gpu --also engine.dense_layers=dense --executions auto
    python -m benchmarks.gpu --smoke

The machine needs a Python with PyTorch and torchvision and no network: what else fedlab depends on
is installed from a folder of wheels, such as `pip download` fills. Rows that were not begun when
the minutes were over are left out and say so. Without a GPU, or with ``--smoke``, tiny works run on
the CPU, to see that everything works.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import machine
from benchmarks.environments import UnavailableError, cache_folder
from benchmarks.flops import of_round, peak
from benchmarks.statistics import number, timing
from benchmarks.works import WORKS, Work, smaller

if TYPE_CHECKING:
    from benchmarks.running import Runner

GPU_WORKS = ("mlp", "cnn", "resnet18", "digits", "lr")
EXECUTIONS = ("sequential", "vmap", "auto")
ON_A_GPU = ("sequential", "vmap", "graph", "compile", "auto")
"""Ways of running clients where there is a GPU: graphs need one, and compiling takes its time."""

WITH_OTHER_STRATEGIES = ("digits", "resnet18")
"""Works whose networks FedBN and FedWon are made for."""


def install(wheels: Path) -> None:
    """Installs what fedlab depends on beside PyTorch, from a folder and nowhere else.

    Raises:
        subprocess.CalledProcessError: If the folder lacks something.
    """
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    known = tomllib.loads(project.read_text())["project"]
    wanted = [*known["dependencies"], *known["optional-dependencies"]["sim"]]
    rest = [each for each in wanted if not each.startswith("torch")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index"]
    subprocess.run([*pip, "--find-links", str(wheels), *rest], check=True)


def peaks(device: torch.device, smoke: bool) -> dict[str, float]:
    """The measured rate of matrix products by precision, in TFLOP/s."""
    kinds = ("bfloat16", "tf32", "float32") if device.type == "cuda" else ("float32",)
    size, seconds = (256, 0.05) if smoke else (8192 if device.type == "cuda" else 2048, 2.0)
    return {kind: peak(kind, size, device, seconds) for kind in kinds}


def runners(
    work: Work,
    executions: Sequence[str],
    changes: Sequence[str],
    shares: Sequence[str],
    others: bool,
) -> dict[str, tuple[Work, Runner]]:
    """What to run on a work: row title -> (the work, the runner).

    Args:
        work: The work.
        executions: Ways of running clients in fedlab.
        changes: Overrides of the scenario, for each of which there is a row more.
        shares: Shares of the GPU that a client of Flower gets; Flower is left out if there is none.
        others: Whether to run the loop written by hand, fedlab on Ray, and other strategies.
    """
    from benchmarks.running import Runner

    here = "resources.backend=local"

    def row(change: str) -> Runner:
        return Runner("", "fedlab", ("--set", f"{here} {change}"))

    rows = {
        f"fedlab, {execution}": (work, row(f"engine.execution={execution}"))
        for execution in executions
    }
    rows |= {f"fedlab, {change}": (work, row(change)) for change in changes}
    if others:
        rows["fedlab, Ray"] = (work, Runner("", "fedlab"))
        rows["PyTorch by hand, one by one"] = (work, Runner("", "lean"))
    if others and work.name in WITH_OTHER_STRATEGIES:
        batch_norm = replace(work, model={**work.model, "norm": "batch"})
        for strategy in ("fedbn", "fedwon"):
            rows[f"fedlab, {strategy}, auto"] = (batch_norm, row(f"strategy={strategy}"))
    for share in shares:
        title = f"Flower, {share} GPU a client"
        rows[title] = (work, Runner("", "flower", ("--gpus", share)))
    return rows


def measure(
    work: Work, runner: Runner, rounds: int, here: bool, seconds: float = 3600
) -> dict[str, Any]:
    """Runs one row, in this process or in its own; it says why where it cannot be run.

    Args:
        work: The work.
        runner: What runs it.
        rounds: Rounds to time.
        here: Whether to run it in this process.
        seconds: Time that is left for it.
    """
    if seconds <= 0:
        return {"failure": "not measured: the minutes were over"}
    from benchmarks.fedlab_work import network, prepare
    from benchmarks.running import run

    data = prepare(work, cache_folder() / "data")
    try:
        answer = run(runner, work, data, rounds, here=here, timeout=seconds)
    except UnavailableError as error:
        return {"failure": str(error)}
    flops = of_round(work, network(work))
    return {
        "seconds": answer.seconds,
        "clients_per_second": work.cohort / timing([answer.seconds]).median,
        "tflops": flops / timing([answer.seconds]).median / 1e12,
        "loss": answer.loss,
        "notes": answer.notes,
    }


def table(rows: dict[str, dict[str, Any]], best: dict[str, float]) -> str:
    """Markdown: a row for each way of running the work."""
    lines = [
        "| runner | ms a round | clients a second | TFLOP/s | "
        + "".join(f"% of {kind} peak | " for kind in best)
        + "GPU MB | loss |",
        "|---" * (6 + len(best)) + "|",
    ]
    for title, row in rows.items():
        if "failure" in row:
            lines.append(f"| {title} | {row['failure']} " + "| " * (4 + len(best)) + "|")
            continue
        shares = "".join(f"| {100 * row['tflops'] / rate:.1f} " for rate in best.values())
        lines.append(
            f"| {title} | {1000 * timing([row['seconds']]).median:.1f} "
            f"| {row['clients_per_second']:,.0f} | {row['tflops']:.3f} {shares}"
            f"| {row['notes'].get('gpu_mb', '')} | {number(row['loss'])} |"
        )
    return "\n".join(lines)


def quickest(rows: dict[str, dict[str, Any]]) -> str:
    """Which ``engine.execution`` was the quickest of a work, in a sentence; empty without any."""
    ways = {
        title.removeprefix("fedlab, "): timing([row["seconds"]]).median
        for title, row in rows.items()
        if "seconds" in row and title.removeprefix("fedlab, ") in ON_A_GPU
    }
    if not ways:
        return ""
    best = min(ways, key=lambda way: ways[way])
    others = ", ".join(
        f"{way} {seconds / ways[best]:.2f} times" for way, seconds in ways.items() if way != best
    )
    return f"Quickest: `engine.execution={best}`" + (f" ({others} as long)." if others else ".")


def document(results: dict[str, Any]) -> str:
    """All works as one Markdown page."""
    known = ", ".join(f"{package} {v}" for package, v in results["versions"].items())
    rates = ", ".join(f"{kind} {rate:.3g}" for kind, rate in results["peaks"].items())
    parts = [
        f"# fedlab on {results['machine']}",
        f"`{results['command']}` on {results['date']}; {known}. Measured matrix products, in "
        f"TFLOP/s: {rates}.",
    ]
    for name, rows in results["works"].items():
        parts += [f"## {name}", table(rows, results["peaks"]), quickest(rows)]
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--works", nargs="+", choices=GPU_WORKS, default=list(GPU_WORKS))
    parser.add_argument("--executions", nargs="+", help="values of engine.execution")
    parser.add_argument(
        "--also", nargs="*", default=[], metavar="KEY=VALUE", help="overrides to measure, too"
    )
    parser.add_argument(
        "--flower", nargs="*", default=["0.25"], metavar="SHARE", help="GPU shares of its clients"
    )
    parser.add_argument("--rounds", type=int, default=10, help="rounds to time")
    parser.add_argument("--minutes", type=float, default=9.0, help="begin no row after these")
    parser.add_argument("--wheels", type=Path, help="folder to install packages from")
    parser.add_argument("--smoke", action="store_true", help="tiny works, on the CPU if need be")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args(arguments)
    end = time.monotonic() + 60 * given.minutes
    if given.wheels:
        install(given.wheels)
    smoke = given.smoke or not torch.cuda.is_available()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    executions = given.executions or (EXECUTIONS if smoke else ON_A_GPU)
    results: dict[str, Any] = {
        "machine": machine.description(),
        "command": shlex.join(["python", "-m", "benchmarks.gpu", *(arguments or sys.argv[1:])]),
        "date": date.today().isoformat(),
        "versions": machine.versions("torch", "flwr", "ray", "numpy"),
        "peaks": peaks(device, smoke),
        "works": {},
    }
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"{'smoke' if smoke else 'gpu'}-{machine.kind()}.json"
    for name in given.works:
        work = smaller(WORKS[name]) if smoke else WORKS[name]
        shares = [] if smoke else given.flower
        rows = results["works"][name] = {}
        for title, (asked, runner) in runners(
            work, executions, given.also, shares, others=not smoke
        ).items():
            rounds, left = 1 if smoke else given.rounds, end - time.monotonic()
            rows[title] = measure(asked, runner, rounds, smoke, left)
            said = rows[title].get("failure") or f"{rows[title]['clients_per_second']:,.0f} a s"
            print(f"{name}: {title}: {said}", file=sys.stderr, flush=True)
        path.write_text(json.dumps(results, indent=1) + "\n")
        path.with_suffix(".md").write_text(document(results))
    print(document(results))


if __name__ == "__main__":
    main()
