"""Runs a claim, study by study, through ``fedlab tune`` and ``fedlab compare``.

Both go on where they were stopped, so that this does, too.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.evidence import evidence_rows
from benchmarks.evidence.claim import Claim, Study
from benchmarks.evidence.evidence_rows import chosen_for, slug
from benchmarks.evidence.study_commands import compare_command, tune_command

PATIENCE = 60
"""Seconds that a command has to stop in, before it is killed."""


def run(
    claim: Claim,
    roots: Mapping[str, str | None],
    folders: Path,
    minutes: float | None = None,
    studies: tuple[str, ...] = (),
    results: Path = evidence_rows.RESULTS,
) -> bool:
    """Runs what is missing of a claim, and writes its rows after each study.

    Args:
        claim: The claim.
        roots: The folders of data, by the word that studies have for them.
        folders: Where the claim's runs go, a folder for each study.
        minutes: For how long; without an end by default.
        studies: Some of its studies, by name; all by default.
        results: Where its rows are kept.

    Returns:
        Whether all of it has been run.

    Raises:
        ValueError: If there is no such study, or one needs data whose folder is not given, or a
            choice that was not made.
        subprocess.CalledProcessError: If a command fails.
    """
    if unknown := [name for name in studies if name not in claim.studies]:
        raise ValueError(
            f"{claim.name} has no study '{unknown[0]}'; choose one of {', '.join(claim.studies)}"
        )
    end = None if minutes is None else time.monotonic() + 60 * minutes
    for study in claim.studies.values():
        if studies and study.name not in studies:
            continue
        if study.root is not None and roots.get(study.root) is None:
            option = "--" + study.root.lower().replace("_", "-")
            raise ValueError(f"{claim.name}: {study.name} needs data; give {option} FOLDER")
        for command in _commands(claim, study, roots, folders, results):
            try:
                if not _done(command, end):
                    return False
            finally:
                evidence_rows.write(claim, folders, results)
    return True


def _commands(
    claim: Claim, study: Study, roots: Mapping[str, str | None], folders: Path, results: Path
) -> Iterator[list[str]]:
    root, folder = roots.get(study.root or ""), folders / study.name
    if study.chosen_in is None:
        yield tune_command(claim, study, root, folder)
        return
    chosen = chosen_for(claim, study, folders, results)
    if missing := [label for label in study.methods if label not in chosen]:
        raise ValueError(
            f"{claim.name}: {study.name} takes for {missing[0]} what {study.chosen_in} chose, "
            f"which has not been run; run --study {study.chosen_in} first"
        )
    for label, method in study.methods.items():
        values, _ = chosen[label]
        yield compare_command(claim, study, method, values, root, folder / slug(label))


def _done(command: list[str], end: float | None) -> bool:
    """Runs a command of fedlab until it ends, or until the time is over."""
    left = None if end is None else end - time.monotonic()
    if left is not None and left <= 0:
        return False
    print("fedlab", *command, file=sys.stderr, flush=True)
    process = subprocess.Popen([sys.executable, "-m", "fedlab", *command])
    try:
        code = process.wait(left)
    except subprocess.TimeoutExpired:
        process.terminate()  # what a run has written is gone on with
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
        return False
    except BaseException:
        process.kill()
        raise
    if code:
        raise subprocess.CalledProcessError(code, ["fedlab", *command])
    return True
