"""The same work by fedlab, a loop written by hand, Flower, pfl-research, FedJAX and BlazeFL.

    python -m benchmarks.compare
    python -m benchmarks.compare --work lr mlp --runners fedlab-ray lean-p2 flower --rounds 10
    python -m benchmarks.compare --work cifar femnist --repeats 1

Every runner runs in a process of its own, one after the other, and all of them again for every
repeat (A B C, A B C). Medians, their spread over repeats and ratios go to a Markdown table and a
JSON file. A platform that cannot be installed or fails keeps its row, with the reason.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import machine
from benchmarks.environments import UnavailableError, cache_folder
from benchmarks.fedlab_work import prepare
from benchmarks.running import Answer, Runner, run
from benchmarks.statistics import number, ratio, timing
from benchmarks.works import WORKS, Work

# The networks of `cifar` and `resnet18` are torchvision's.
TORCH = (f"torch=={torch.__version__.partition('+')[0]}", "torchvision")
PFL = ("pfl[pytorch]==0.6.0", *TORCH)
# FedJAX's last release calls functions that newer versions of JAX have dropped.
BLAZEFL = ("blazefl==2.0.3", *TORCH, "numpy", "tqdm")
FEDJAX = ("fedjax==0.0.17", "jax==0.5.3", "jaxlib==0.5.3", "dm-haiku==0.0.13", "optax<0.2.5")
BOTH = str(machine.cores())

RUNNERS = {
    "fedlab-ray": Runner(f"fedlab, Ray, {BOTH} actors of 1 thread", "fedlab"),
    "fedlab-local": Runner(
        f"fedlab, this process, {BOTH} threads",
        "fedlab",
        ("--set", f"resources.backend=local resources.cpus_per_actor={BOTH}"),
    ),
    "lean-p2": Runner(
        f"PyTorch by hand, {BOTH} processes of 1 thread", "lean", ("--processes", BOTH)
    ),
    "lean-t2": Runner(f"PyTorch by hand, {BOTH} threads", "lean", ("--threads", BOTH)),
    "flower": Runner("Flower run_simulation, 1 CPU a client", "flower"),
    "pfl-p2": Runner(
        f"pfl-research, {BOTH} workers of 1 thread", "pfl", ("--processes", BOTH), PFL
    ),
    "pfl-t2": Runner(f"pfl-research, {BOTH} threads", "pfl", ("--threads", BOTH), PFL),
    "fedjax-jit": Runner("FedJAX, its jit backend", "fedjax", ("--backend", "jit"), FEDJAX),
    "fedjax-vmap": Runner("FedJAX, a vmap backend", "fedjax", ("--backend", "vmap"), FEDJAX),
    "blazefl-t2": Runner(
        f"BlazeFL, {BOTH} threads", "blazefl", ("--threads", BOTH), BLAZEFL, python="3.12"
    ),
    "blazefl-p2": Runner(
        f"BlazeFL, {BOTH} processes", "blazefl", ("--processes", BOTH), BLAZEFL, python="3.12"
    ),
}
HAVE_ENGINES = ("fedlab-ray", "fedlab-local", "flower")
"""Runners for which a client that does nothing leaves something to measure."""

ROUNDS = {"lr": 20, "mlp": 20, "cnn": 5, "digits": 3, "idle": 20, "femnist": 5, "cifar": 1}
"""Works and the rounds of them that are timed."""
USUAL = ["lr", "mlp", "cnn", "digits", "idle"]
"""Works that are run where none is named: the others take long."""

PACKAGES = ("fedlab-sim", "torch", "flwr", "ray", "numpy")


def measure(
    work: Work, names: Sequence[str], rounds: int, repeats: int, timeout: float
) -> tuple[dict[str, dict[str, Any]], float]:
    """Runs all runners, interleaved.

    Returns:
        For each runner its answers, or why there are none; and how busy the machine was with
        something else at most when a runner was about to start, as a share of its cores.
    """
    data = prepare(work, cache_folder() / "data")
    answers: dict[str, list[Answer]] = {name: [] for name in names}
    failures: dict[str, str] = {}
    occupied: list[float] = []
    for repeat in range(repeats):
        for name in names:
            if name in failures:
                continue
            occupied.append(machine.busy())
            try:
                answers[name].append(run(RUNNERS[name], work, data, rounds, timeout=timeout))
                said = f"{timing([answers[name][-1].seconds]).median:.4f} s a round"
            except UnavailableError as error:
                failures[name] = said = str(error)
            print(f"{work.name} {repeat + 1}/{repeats} {name}: {said}", file=sys.stderr, flush=True)
    rows = {
        name: {
            "title": RUNNERS[name].title,
            "options": list(RUNNERS[name].options),
            "requirements": list(RUNNERS[name].requirements),
            "failure": failures.get(name),
            "answers": [asdict(answer) for answer in answers[name]],
        }
        for name in names
    }
    return rows, max(occupied)


def table(work: Work, rows: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row per runner, the quickest first, failures last."""
    seconds = {
        name: [answer["seconds"] for answer in row["answers"]]
        for name, row in rows.items()
        if row["answers"] and not row["failure"]
    }
    ours = [name for name in seconds if name.startswith("fedlab")]
    best = min(ours, key=lambda name: timing(seconds[name]).median, default=None)
    lines = [
        "| runner | seconds a round | repeats from - to | clients a second | ratio to fedlab "
        "| CPU ms a round | loss | norm | MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in sorted(seconds, key=lambda name: timing(seconds[name]).median):
        spent, last = timing(seconds[name]), rows[name]["answers"][-1]
        times = f"{ratio(seconds[name], seconds[best]):.2f}" if best else ""
        cpu = median(answer["cpu"] for answer in rows[name]["answers"])
        title = rows[name]["title"]
        lines.append(
            f"| {f'**{title}**' if name in ours else title} | {spent.median:.4f} "
            f"| {spent.low:.4f} - {spent.high:.4f} | {work.cohort / spent.median:,.0f} | {times} "
            f"| {1000 * cpu:.0f} | {number(last['loss'])} | {number(last['norm'])} "
            f"| {last['notes']['max_rss_mb']} |"
        )
    lines += [
        f"| {row['title']} | {row['failure'].replace('|', '/')} | | | | | | | |"
        for row in rows.values()
        if row["failure"]
    ]
    return "\n".join(lines)


def describe(work: Work) -> str:
    """A work in one line."""
    does = "nothing" if work.idle else f"1 epoch, batch {work.batch}, SGD {work.lr}"
    shape = "x".join(map(str, work.input_shape))
    some = f" on average, {work.sizes.min()} to {work.sizes.max()}" if work.spread else ""
    return (
        f"{work.clients} clients of {work.samples} samples{some} "
        f"({shape}, {work.classes} classes), cohort {work.cohort}, {does}"
    )


def document(results: dict[str, Any]) -> str:
    """The results of all works as one Markdown page."""
    parts = [f"# Runners side by side on {results['machine']}"]
    for name, entry in results["works"].items():
        known = ", ".join(f"{package} {v}" for package, v in entry["versions"].items())
        parts += [
            f"## {name}: {describe(WORKS[name])}",
            f"`{entry['command']}` on {entry['date']}, {entry['rounds']} rounds after the first 2 "
            f"in each of {entry['repeats']} interleaved repeats, on a machine of which other work "
            f"took at most {100 * entry['busy']:.0f} % before a run; {known}.",
            table(WORKS[name], entry["runners"]),
        ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", nargs="+", choices=ROUNDS, default=USUAL)
    parser.add_argument("--runners", nargs="+", choices=RUNNERS, default=list(RUNNERS))
    parser.add_argument("--rounds", type=int, help="rounds to time; by default as many as fit")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--timeout", type=float, default=600, help="seconds after which a runner is given up"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args()
    path = given.out / f"compare-{machine.kind()}.json"
    results = json.loads(path.read_text()) if path.exists() else {"works": {}}
    results["machine"] = machine.description()
    for name in given.work:
        runners = [one for one in given.runners if name != "idle" or one in HAVE_ENGINES]
        rounds = given.rounds or ROUNDS[name]
        rows, occupied = measure(WORKS[name], runners, rounds, given.repeats, given.timeout)
        results["works"][name] = {
            "command": shlex.join(["python", "-m", "benchmarks.compare", *sys.argv[1:]]),
            "date": date.today().isoformat(),
            "rounds": rounds,
            "repeats": given.repeats,
            "versions": machine.versions(*PACKAGES),
            "busy": occupied,
            "runners": rows,
        }
        given.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n")
        path.with_suffix(".md").write_text(document(results))
        print(table(WORKS[name], rows))


if __name__ == "__main__":
    main()
