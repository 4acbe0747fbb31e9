"""The history of a run: one row for every number, in files after every round."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fedlab.errors import InputError
from fedlab.federation.callbacks import RoundReport
from fedlab.row import GLOBAL, Row

if TYPE_CHECKING:
    import pandas

    from fedlab.federation.round_strategy import RoundStrategy

HISTORY_COLUMNS = ("round", "client", "domain", "split", "metric", "value", "examples")
TIMING_COLUMNS = ("round", "phase", "seconds")
FAILURE_COLUMNS = ("round", "client", "reason")
COUNT_COLUMNS = ("round", "client", "domain", "split", "metric", "count", "place", "value")


class Mark(NamedTuple):
    """The length of a file, and the digest of its content up to there.

    Attributes:
        size: Its bytes.
        digest: Their digest, as hexadecimal digits.
    """

    size: int
    digest: str


class HistoryWriter:
    """Observer that appends every round to ``history.csv`` and ``timings.csv``.

    Rows outlive this process once their round is over. They outlive a power cut once `sync` was
    called, as before every checkpoint: from there, a run is resumed anyway, and waiting for the
    disk in every round would take longer than the rounds of small clients.

    What metrics have counted and is kept is in ``counts.csv``, which is there once there was any.
    Clients that gave no update, late or lost ones among them, are named in ``failures.csv``, which
    is there once there was one.

    Floats are written in the shortest form that reads back as the same number, so that equal runs
    have equal bytes. Wall-clock seconds are kept apart, for they never repeat.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.files = {
            Path(folder) / "history.csv": HISTORY_COLUMNS,
            Path(folder) / "timings.csv": TIMING_COLUMNS,
            Path(folder) / "failures.csv": FAILURE_COLUMNS,
            Path(folder) / "counts.csv": COUNT_COLUMNS,
        }
        self._digests: dict[Path, Any] = {}
        """Digests of the files as far as they are written, so that none is read again."""

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Writes the headers of a new run."""
        for path in list(self.files)[:2]:
            self._append(path, [])

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Appends the round's rows and closes the files, so that readers see them."""
        rows = [(*row[:-2], repr(float(row.value)), row.examples) for row in report.rows]
        seconds = [
            (report.round, phase, repr(float(spent))) for phase, spent in report.seconds.items()
        ]
        failures = [(report.round, name, why.strip()) for name, why in report.failures.items()]
        counts = [
            (
                row.round,
                row.client,
                row.domain,
                row.split,
                row.metric,
                row.count,
                " ".join(map(str, row.place)),
                repr(row.value),
            )
            for row in report.counts
        ]
        for path, lines in zip(self.files, (rows, seconds, failures, counts), strict=True):
            if lines:
                self._append(path, lines)

    def on_end(self, strategy: RoundStrategy) -> None:
        """Nothing is left to write."""

    def _append(self, path: Path, lines: Sequence[Sequence[Any]]) -> None:
        """Appends lines, after the header where the file is new."""
        new = not path.exists() or path.stat().st_size == 0
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([self.files[path]] * new + list(lines))
        written = text.getvalue().encode()
        digest = self._digest(path)
        with path.open("ab") as file:
            file.write(written)
        digest.update(written)

    def _digest(self, path: Path) -> Any:
        """The digest of a file's content so far."""
        if path not in self._digests:
            self._digests[path] = _digest_of(path.read_bytes() if path.exists() else b"")
        return self._digests[path]

    def sync(self) -> dict[str, Mark]:
        """Forces all rows onto the disk; returns the mark of each file, by its name."""
        marks: dict[str, Mark] = {}
        for path in self.files:
            if path.exists():
                with path.open("ab") as file:
                    os.fsync(file.fileno())
                    marks[path.name] = Mark(file.tell(), self._digest(path).hexdigest())
        return marks

    def truncate(self, marks: Mapping[str, Mark]) -> None:
        """Cuts the files back to their marks: rows of lost rounds are removed.

        Args:
            marks: From `sync`; a file that is not named starts anew.
        """
        self._digests.clear()
        for path in self.files:
            if path.exists():
                os.truncate(path, marks[path.name].size if path.name in marks else 0)


def check_marks(folder: Path, marks: Mapping[str, Mark]) -> None:
    """Checks that the files still begin with the content of their marks.

    Args:
        folder: Where they are.
        marks: From `HistoryWriter.sync`.

    Raises:
        ValueError: If one is gone, shorter or other than it was.
    """
    for name, mark in marks.items():
        path = folder / name
        begun = path.read_bytes()[: mark.size] if path.is_file() else None
        if begun is None:
            raise ValueError(f"{name} is not there; put it back")
        if len(begun) < mark.size:
            raise ValueError(f"{name} has {len(begun)} of its {mark.size} bytes; put it back")
        if _digest_of(begun).hexdigest() != mark.digest:
            raise ValueError(f"{name} was changed; put it back as it was")


def _digest_of(content: bytes) -> Any:
    return hashlib.blake2b(content, digest_size=16)


def read_history(folder: str | Path) -> pandas.DataFrame:
    """All rows of a run, finished or not.

    The seconds of the rounds are rows, too: split ``round``, metric ``seconds_<phase>``.

    Args:
        folder: The run's folder.

    Returns:
        A frame with the columns round, client, domain, split, metric, value and examples.

    Raises:
        InputError: If a file of the history is damaged.
    """
    import pandas

    counts = {"round": "int64", "client": "int64", "examples": "int64"}
    history = _read(Path(folder) / "history.csv", HISTORY_COLUMNS, "value", counts)
    timings = _read(Path(folder) / "timings.csv", TIMING_COLUMNS, "seconds", {"round": "int64"})
    seconds = pandas.DataFrame(
        {
            "round": timings["round"],
            "client": GLOBAL,
            "domain": "",
            "split": "round",
            "metric": "seconds_" + timings["phase"],
            "value": timings["seconds"],
            "examples": 0,
        }
    )
    return pandas.concat([history, seconds], ignore_index=True).astype(counts)


def read_counts(folder: str | Path) -> pandas.DataFrame:
    """The stored counts of metrics in a run's tests.

    Args:
        folder: The run's folder.

    Returns:
        A frame with the columns round, client, domain, split, metric, count, place and value.

    Raises:
        InputError: If the file is damaged.
    """
    numbers = {"round": "int64", "client": "int64"}
    return _read(Path(folder) / "counts.csv", COUNT_COLUMNS, "value", numbers)


def to_frame(rows: Sequence[Row]) -> pandas.DataFrame:
    """Rows in memory as a frame of the form of `read_history`."""
    import pandas

    return pandas.DataFrame(
        {column: [getattr(row, column) for row in rows] for column in HISTORY_COLUMNS}
    )


def _read(
    path: Path, columns: Sequence[str], number: str, counts: Mapping[str, str]
) -> pandas.DataFrame:
    """The complete lines of a file; the last one may be torn if a run was killed."""
    import pandas

    written = path.read_bytes() if path.exists() else b""
    whole = written[: written.rfind(b"\n") + 1] or ",".join(columns).encode()
    texts = {column: counts.get(column, "str") for column in columns if column != number}
    try:
        table = pandas.read_csv(
            io.BytesIO(whole),
            dtype=texts,  # type: ignore[arg-type]
            converters={number: float},  # Python's own reading is exact; pandas' may not be
            keep_default_na=False,
        )
        if list(table.columns) != list(columns):
            raise ValueError(f"its first line must be {','.join(columns)}")
        return table.astype({number: "float64"})
    except ValueError as error:
        raise InputError(
            f"{path}: is damaged: {' '.join(str(error).split())}; put back the file as it was, or "
            "delete the run's folder and run it again"
        ) from error
