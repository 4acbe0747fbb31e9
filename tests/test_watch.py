"""Curves in the terminal: what is drawn, and when watching ends."""

from __future__ import annotations

import threading
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

import fedlab
from fedlab.errors import InputError
from fedlab.federation.callbacks import RoundReport
from fedlab.report.terminal.braille_chart import line_chart
from fedlab.report.terminal.watch import watch
from fedlab.row import Row
from fedlab.runs.history import HistoryWriter
from fedlab.runs.run import load_run
from fedlab.runs.run_folder import RunFolder
from helpers.processes import PATIENCE, wait_until
from helpers.tiny_scenario import write_tiny


def console(terminal: bool) -> Console:
    shown = StringIO()
    return Console(file=shown, width=60, height=24, force_terminal=terminal, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def dots(text: str) -> set[tuple[int, int]]:
    """Places (column, row) of all dots in a chart."""
    found = set()
    for row, line in enumerate(text.splitlines()):
        for column, sign in enumerate(line[7:]):
            bits = max(ord(sign) - 0x2800, 0)
            for dot, (x, y) in enumerate(
                [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]
            ):
                if bits >> dot & 1:
                    found.add((2 * column + x, 4 * row + y))
    return found


def test_a_straight_line_is_drawn_from_corner_to_corner():
    text = line_chart([("red", [(1.0, 0.0), (9.0, 1.0)])], width=17, height=6).plain
    found = dots(text)
    assert found == {(k, 19 - k) for k in range(20)}  # 10 columns and 5 rows of cells
    lines = text.splitlines()
    assert lines[0].startswith(" 1.00 ┤")
    assert lines[4].startswith(" 0.00 ┤")
    assert lines[5].split() == ["1", "9"]


@pytest.mark.parametrize("curve", [[(1.0, 0.5)], [(1.0, 0.25), (2.0, 0.25)]])
def test_single_points_and_level_lines_are_drawn(curve):
    assert dots(line_chart([("red", curve)], width=20, height=6).plain)


def test_later_curves_are_drawn_on_top():
    curve = [(1.0, 0.0), (2.0, 1.0)]
    text = line_chart([("red", curve), ("green", curve)], width=20, height=6)
    assert {str(span.style) for span in text.spans} == {"dim", "green"}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return fedlab.simulate(write_tiny(tmp_path), out="run", progress=False)


def test_a_finished_run_is_shown_at_once(run):
    shown = console(terminal=True)
    watch(run, shown)
    text = written(shown)
    assert "tiny · fedprox · seed 0 · finished" in text
    domains = run.summary()["clients_value"]
    for domain in ("north", "south"):
        assert f"{domain} {domains[domain]:.3f}" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "⠀" not in text
    assert any("\u2801" <= sign <= "\u28ff" for sign in text)


def test_without_a_terminal_every_evaluated_round_is_a_line(run):
    shown = console(terminal=False)
    watch(run, shown)
    lines = written(shown).splitlines()
    assert [line.split("  ")[0] for line in lines] == ["round 1/2", "round 2/2"]
    assert all("accuracy 0." in line and "worst 0." in line for line in lines)


def a_round(number: int, accuracy: float) -> RoundReport:
    return RoundReport(number, 3, [Row(number, 0, "north", "test", "accuracy", accuracy, 10)], {})


def test_a_run_under_way_is_followed_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr("fedlab.report.terminal.watch.PAUSE", 0.01)
    scenario = fedlab.load_scenario(write_tiny(tmp_path), ["rounds=3"])
    folder = RunFolder.create(tmp_path / "run", scenario)
    history = HistoryWriter(folder.path)
    shown = console(terminal=False)
    with folder:
        history.on_start(None, 1, 3)  # type: ignore[arg-type]
        history.on_round(None, a_round(1, 0.25))  # type: ignore[arg-type]
        watcher = threading.Thread(target=watch, args=(load_run(folder.path), shown))
        watcher.start()
        wait_for(shown, "round 1/3")
        history.on_round(None, a_round(2, 0.5))  # type: ignore[arg-type]
        wait_for(shown, "round 2/3")
        assert watcher.is_alive()
    watcher.join(timeout=PATIENCE)
    assert not watcher.is_alive(), "a run without a writer is over"
    assert written(shown).splitlines() == [
        "round 1/3  accuracy 0.250  worst 0.25 (north)",
        "round 2/3  accuracy 0.500  worst 0.50 (north)",
    ]


def wait_for(shown: Console, text: str) -> None:
    assert wait_until(lambda: text in written(shown), seconds=PATIENCE)


def test_a_run_that_never_got_to_a_test_says_how_to_go_on(tmp_path):
    scenario = fedlab.load_scenario(write_tiny(tmp_path))
    folder = RunFolder.create(tmp_path / "run", scenario)
    for terminal in (True, False):
        with pytest.raises(InputError, match=r"has no evaluated round; go on with `fedlab resume"):
            watch(load_run(folder.path), console(terminal))


def test_a_run_is_busy_while_it_is_locked(tmp_path):
    folder = RunFolder.create(Path(tmp_path) / "run", fedlab.load_scenario(write_tiny(tmp_path)))
    assert not folder.busy
    with folder:
        assert RunFolder(folder.path).busy
    assert not folder.busy
