"""The page about runs: whole, right, self-contained, and the same for the same runs."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fedlab
from fedlab import cli
from fedlab.comparison.comparison import Comparison
from fedlab.comparison.group import Group
from fedlab.comparison.sentences import NONE
from fedlab.data.npz import Npz
from fedlab.errors import InputError
from fedlab.report.colours import domain_colours, method_colours
from fedlab.report.html.client_chart import Clients, client_chart
from fedlab.report.html.curve_chart import Curve, curve_chart
from fedlab.report.html.page import render, write_report
from fedlab.report.html.report_data import read_comparison
from fedlab.report.html.reproduce import command, summarise, together
from fedlab.report.html.scales import apart, ticks
from fedlab.runs import metrics
from fedlab.runs.run import Run
from helpers.made_up import make_run
from helpers.tiny_scenario import write_tiny

SECTIONS = ["results", "learning", "clients", "cost", "data", "features", "repeat"]
RUNS = [(strategy, seed) for strategy in ("fedavg", "fedper") for seed in (0, 1)]
PROX = ["strategy.name=fedprox", "strategy.mu=0.1"]
VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """The elements of a page with their attributes and texts; tells tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[dict] = []
        self.elements: list[dict] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens an element."""
        element = {"tag": tag, **dict(attrs), "text": "", "inside": [e["tag"] for e in self.open]}
        element["around"] = list(self.open)
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content."""
        self.elements.append({"tag": tag, **dict(attrs), "text": "", "around": list(self.open)})

    def handle_data(self, data: str) -> None:
        """Text belongs to all elements around it."""
        for element in self.open:
            element["text"] += data

    def handle_endtag(self, tag: str) -> None:
        """Closes the element that was opened last."""
        assert self.open.pop()["tag"] == tag

    def all(self, tag: str, **attributes: str) -> list[dict]:
        """Elements of a kind."""
        return [
            element
            for element in self.elements
            if element["tag"] == tag
            and all(element.get(name) == value for name, value in attributes.items())
        ]

    def within(self, outer: dict, tag: str) -> list[dict]:
        """Elements of a kind inside another one."""
        return [e for e in self.all(tag) if any(around is outer for around in e["around"])]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods over two seeds, of a scenario that takes no time."""
    folder = tmp_path_factory.mktemp("runs")
    scenario = write_tiny(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDLAB_CACHE", str(folder / "cache"))
        for strategy, seed in RUNS:
            fedlab.simulate(
                scenario,
                ["rounds=3"],
                strategy=strategy,
                seed=seed,
                out=folder / "runs" / f"{strategy}-{seed}",
                progress=False,
            )
    return folder / "runs"


@pytest.fixture(scope="module")
def comparison(runs: Path) -> Comparison:
    return read_comparison([runs])


@pytest.fixture(scope="module")
def text(comparison: Comparison) -> str:
    return render(comparison)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_every_section_is_there_with_heading_and_content(page: Page) -> None:
    sections = page.all("section")
    assert [section["id"] for section in sections] == SECTIONS
    targets = [link["href"] for link in page.all("a") if link["href"].startswith("#")]
    assert [target for target in targets if target != "#main"] == [f"#{name}" for name in SECTIONS]
    for section in sections:
        (heading,) = page.within(section, "h2")
        assert heading["id"] == section["aria-labelledby"]
        assert page.within(section, "svg") or section["id"] == "repeat"
    assert not [p for p in page.all("p") if p.get("class") == "missing"]


@pytest.mark.slow
def test_the_page_has_the_colours_of_pictures(text: str) -> None:
    for number, colour in enumerate(method_colours(8)):
        assert f"--m{number}: {colour};" in text
    for number, colour in enumerate(domain_colours(10)):
        assert f"--k{number}: {colour};" in text


def test_the_page_is_made_for_keyboards_and_screen_readers(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1
    assert len(page.all("h1")) == 1
    ids = [element["id"] for element in page.elements if "id" in element]
    assert len(ids) == len(set(ids))
    charts = [svg for svg in page.all("svg") if "chart" in svg.get("class", "")]
    assert len(charts) >= 12
    for chart in charts:
        assert chart["role"] == "img"
        assert chart["aria-label"]
    assert all(svg in charts or svg["aria-hidden"] == "true" for svg in page.all("svg"))
    assert all(cell.get("scope") in {"col", "row"} for cell in page.all("th"))
    for box in page.all("div"):
        if box.get("class") == "scroll":
            assert (box["tabindex"], box["role"]) == ("0", "region")
            assert box["aria-label"]


def test_nothing_comes_from_outside(text: str, page: Page) -> None:
    # The one address is the name of a language.
    assert set(re.findall(r"\w+://[^\"'\s]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(", text)
    for element in page.elements:
        for attribute in ("src", "href", "srcset", "action", "data"):
            assert element.get(attribute, "#").startswith(("#", "data:"))
    (policy,) = (meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_the_tables_numbers_are_the_historys(page: Page, comparison: Comparison) -> None:
    (table,) = page.all("table", id="comparison")
    head, *rows = page.within(table, "tr")
    titles = [cell["text"] for cell in page.within(head, "th")]
    assert [page.within(row, "th")[0]["text"] for row in rows] == ["fedavg", "fedper"]
    for row, group in zip(rows, comparison.groups, strict=True):
        cells = [cell["text"] for cell in page.within(row, "td")]
        named = dict(zip(titles[1:], cells, strict=True))
        for domain in ("north", "south"):
            own = [
                metrics.by_domain(run.history, 3)["clients_value"][domain]
                for run in group.runs.values()
            ]
            mean, spread = 50 * sum(own), 100 * abs(own[0] - own[1]) / 2**0.5
            assert named[domain] == f"{mean:.1f} ± {spread:.1f}"
        worst = [metrics.by_client(run.history, 3)["value"].min() for run in group.runs.values()]
        assert named["worst client"].startswith(f"{50 * sum(worst):.1f} ± ")


def test_curves_bands_and_dots_are_those_of_the_history(page: Page, comparison: Comparison) -> None:
    (learning,) = page.all("section", id="learning")
    charts = page.within(learning, "svg")
    north = next(chart for chart in charts if "north" in chart.get("aria-label", ""))
    own = [
        metrics.by_domain(run.history, 3)["clients_value"]["north"]
        for run in comparison.groups[1].runs.values()
    ]
    assert f"fedper {50 * sum(own):.1f}" in north["aria-label"]
    paths = [path["class"] for path in page.within(north, "path")]
    assert paths == ["band m0", "curve m0", "mark m0", "band m1", "curve m1", "mark m1"]
    (clients,) = page.all("section", id="clients")
    for drawn in page.within(clients, "svg"):  # for wide screens, and for narrow ones
        assert len(page.within(drawn, "circle")) == len(RUNS) * 4
    values = metrics.by_client(comparison.groups[0].runs[0].history, 3)["value"]
    said = [title["text"] for title in page.within(clients, "title")]
    assert f"client 2 (north), seed 0: {100 * values[2]:.1f} %" in said


def test_the_same_runs_give_the_same_bytes(text: str, runs: Path) -> None:
    assert render(read_comparison([runs])) == text


def test_a_single_run_has_a_page_of_its_own(runs: Path) -> None:
    page = Page(render(read_comparison([runs / "fedper-0"])))
    assert [section["id"] for section in page.all("section")] == SECTIONS
    assert "of one seed" in page.all("section", id="results")[0]["text"]
    assert not [path for path in page.all("path") if "band" in path.get("class", "")]


def test_texts_of_the_user_cannot_become_markup(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "fedavg-0", tmp_path / "run")
    scenario = tmp_path / "run" / "scenario.yaml"
    changed = scenario.read_text().replace("description: ''", "description: '<script>x</script>'")
    assert "<script>x" in changed
    scenario.write_text(changed)
    text = render(read_comparison([tmp_path / "run"]), data=False)
    assert "<script>x" not in text
    assert "&lt;script&gt;x" in text


def test_data_that_are_gone_are_noted_and_all_else_is_there(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "fedavg-0", tmp_path / "run")
    scenario = tmp_path / "run" / "scenario.yaml"
    scenario.write_text(scenario.read_text().replace("north.npz", "gone.npz"))
    page = Page(render(read_comparison([tmp_path / "run"])))
    assert [section["id"] for section in page.all("section")] == SECTIONS
    texts = [p["text"] for p in page.all("p") if p.get("class") == "missing"]
    assert len(texts) == 2
    assert all("gone.npz" in text for text in texts)


@pytest.mark.slow
def test_a_run_that_has_not_finished_is_shown_as_missing(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    (tmp_path / "runs" / "fedper-1" / "finished.json").unlink()
    page = Page(render(read_comparison([tmp_path / "runs"]), data=False))
    (text,) = [
        p["text"]
        for p in page.all("p")
        if p.get("class") == "missing" and "Left out" not in p["text"]
    ]
    assert text.startswith("missing: fedper, seed 1: ")


# ---------------------------------------------------------------------------- the command


def invoke(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["report", *map(str, words)])
    if isinstance(done.exception, InputError):
        return 2, str(done.exception)
    assert done.exception is None, done.exception
    return done.exit_code, done.output


@pytest.mark.slow
def test_the_command_writes_the_page(runs: Path, tmp_path: Path, text: str) -> None:
    file = tmp_path / "new folder" / "page.html"
    code, out = invoke(runs, "-o", file)
    assert (code, out) == (0, f"report: {file}\n")
    assert file.read_text(encoding="utf-8") == text


def test_mistakes_are_named(runs: Path, tmp_path: Path) -> None:
    assert invoke(tmp_path) == (
        2,
        f"the folder '{tmp_path}' holds no run (no scenario.yaml, nor in any folder in it); name "
        "folders that `fedlab simulate` or `fedlab compare` made",
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "comparison.yaml").write_text("")
    assert f"; name one of the comparisons in it: {tmp_path}/mine" in invoke(tmp_path)[1]
    assert "is not there" in invoke(tmp_path / "gone")[1]
    assert "both fedavg with seed 0" in invoke(runs, runs / "fedavg-0")[1]
    (tmp_path / "file").write_text("")
    code, message = invoke(runs / "fedavg-0", "--no-data", "-o", tmp_path / "file" / "page.html")
    assert code == 2
    assert message.startswith(f"the report cannot be written to '{tmp_path}/file/page.html': ")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("history.csv", "round,client\n1,2\n"),
        ("history.csv", "round,client,domain,split,metric,value,examples\n1,0,a,test,loss,x,3\n"),
        ("history.csv", "\x00\x00\n1,2\n"),
        ("environment.json", "{"),
    ],
)
def test_a_corrupt_file_is_named(runs: Path, tmp_path: Path, name: str, content: str) -> None:
    shutil.copytree(runs / "fedavg-0", tmp_path / "run")
    (tmp_path / "run" / name).write_text(content)
    code, message = invoke(tmp_path / "run", "--no-data", "-o", tmp_path / "page.html")
    assert code == 2
    assert message.startswith(f"{tmp_path}/run/{name}: ")
    assert not (tmp_path / "page.html").exists()


def test_runs_of_which_none_was_tested_have_no_report(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "fedavg-0", tmp_path / "run")
    (tmp_path / "run" / "finished.json").unlink()
    with pytest.raises(InputError, match="nothing to report; go on with `fedlab resume`"):
        read_comparison([tmp_path / "run"])


# ---------------------------------------------------------------------------- parts


def test_a_command_repeats_a_shipped_scenario_exactly(tmp_path: Path) -> None:
    changes = [*PROX, "seed=3", "rounds=7", "partition.clients=3"]
    scenario = fedlab.load_scenario("smoke", changes)
    words = command(Run(tmp_path, scenario)).split()
    assert words[:3] == ["fedlab", "simulate", "smoke"]
    assert fedlab.load_scenario(words[2], words[3:]) == scenario
    mine = fedlab.load_scenario(write_tiny(tmp_path))
    assert command(Run(tmp_path, mine)) == f"fedlab simulate {tmp_path}/scenario.yaml"


def test_one_command_repeats_a_comparison_of_a_shipped_scenario(tmp_path: Path) -> None:
    def runs(*changes: str) -> dict[int, Run]:
        return {
            seed: Run(
                tmp_path, fedlab.load_scenario("smoke", [f"seed={seed}", "rounds=7", *changes])
            )
            for seed in (0, 1)
        }

    avg, prox = Group("fedavg", {}, runs()), Group("fedprox mu=0.1", {}, runs(*PROX))
    assert together(Comparison((avg, prox))) == (
        "fedlab compare smoke rounds=7 --strategies 'fedavg,fedprox mu=0.1' --seeds 2"
    )
    other = Group("fedprox mu=0.1", {}, runs(*PROX, "partition.clients=4"))
    assert together(Comparison((avg, other))) == ""
    assert (
        together(Comparison((avg, Group("fedprox mu=0.1", {}, runs(*PROX), {2: "failed"})))) == ""
    )


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.61, 0.89, [0.65, 0.7, 0.75, 0.8, 0.85]),
        (0, 40, [0, 10, 20, 30, 40]),
        (-3.2, 7, [-2, 0, 2, 4, 6]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_of_what_is_counted_are_whole() -> None:
    assert ticks(0, 2, 7, least=1) == [0, 1, 2]
    assert ticks(0, 40, 7, least=1) == ticks(0, 40, 7)


def test_labels_are_moved_apart_and_keep_their_order() -> None:
    assert apart([10, 11, 50], 14, 0, 100) == [10, 24, 50]
    assert apart([50, 11, 10], 14, 0, 100) == [50, 24, 10]
    assert apart([98, 99], 14, 0, 100) == [86, 100]


def test_a_report_of_nothing_writable_leaves_no_file(
    comparison: Comparison, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="choose another file with -o"):
        write_report(comparison, tmp_path, data=False)


def chart_of(curves: list[Curve]) -> Page:
    options = {"label": "Curves", "x_title": "round", "y_range": (0.0, 1.0), "size": (340.0, 220.0)}
    return Page(curve_chart(curves, x_text=str, named=True, **options))


def test_long_curves_are_thinned_and_keep_their_end() -> None:
    curve = Curve("long", 0, range(10_000), [k / 10_000 for k in range(10_000)], [0.0] * 10_000)
    page = chart_of([curve])
    (path,) = (path["d"] for path in page.all("path") if "curve" in path["class"])
    assert path.count("L") < 300
    points = json.loads(page.all("svg")[0]["data-curves"])["curves"][0]["points"]
    assert points[-1][2:] == ["9999", "100.0"]


def test_curves_may_be_empty_have_gaps_and_long_names() -> None:
    nan = float("nan")
    name = "fedprox mu=0.1, partition.labels.alpha=0.3, training.optimizer.lr=0.01"
    gaps = Curve(name, 9, [1, 2, 3], [0.5, nan, 0.7], [0.1, nan, nan])
    page = chart_of([Curve("nothing", 0, [], [], []), gaps])
    assert [path["class"] for path in page.all("path")][:2] == ["band m1", "curve m1 again"]
    (name_shown,) = (text["text"] for text in page.all("text", **{"class": "name"}))
    assert name.startswith(name_shown[:-1])
    assert len(name_shown) < 15
    assert "nan" not in str(page.elements).lower().replace(name, "")


def test_many_clients_are_a_histogram_that_counts_them_all() -> None:
    values = [k / 1000 for k in range(1000)]
    page = Page(
        client_chart([Clients("many", 0, values, ["" for _ in values], "")], 1040, label="x")
    )
    bars = [rect for rect in page.all("rect") if "count" in rect["class"]]
    assert not page.all("circle")
    counts = [int(title["text"].split()[0]) for title in page.all("title")]
    assert len(counts) == len(bars) == 60
    assert sum(counts) == 1000
    assert float(bars[0]["width"]) > 0


def test_dots_of_equal_clients_do_not_hide_each_other() -> None:
    page = Page(client_chart([Clients("same", 0, [0.5] * 4, list("abcd"), "")], 330, label="x"))
    places = {(circle["cx"], circle["cy"]) for circle in page.all("circle")}
    assert len(places) == 4


@pytest.mark.slow
def test_a_method_without_any_finished_run_keeps_its_place(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "runs")
    for seed in (0, 1):
        (tmp_path / "runs" / f"fedper-{seed}" / "finished.json").unlink()
    page = Page(render(read_comparison([tmp_path / "runs"]), data=False))
    (table,) = page.all("table", id="comparison")
    last = page.within(table, "tr")[-1]
    assert page.within(last, "th")[0]["text"] == "fedper"
    assert {cell["text"] for cell in page.within(last, "td")[1:]} == {NONE}


def made(folder: Path, strategy: str, north: float, **more: Any) -> Run:
    """A run with one client on north, and one on south with half the accuracy."""
    scenario = folder / "tiny.yaml"
    if not scenario.is_file():
        write_tiny(folder)
    accuracies = {"north": [north], "south": [north / 2]}
    return make_run(folder / strategy, scenario, [accuracies], strategy=strategy, **more)


def lede(comparison: Comparison) -> str:
    """What the page says first."""
    page = Page(render(comparison, data=False))
    return [p["text"] for p in page.all("p") if p.get("class") == "lede"][-1]


@pytest.mark.slow
def test_a_tie_has_no_winner(tmp_path: Path) -> None:
    equal = [made(tmp_path, name, 0.8) for name in ("fedavg", "fedper", "fedbn")]
    assert lede(Comparison.of(equal)) == (
        "fedavg, fedper and fedbn reach the same 60.0 % on all domains."
    )
    worse = made(tmp_path, "fedsam", 0.4)
    assert lede(Comparison.of([*equal, worse])) == (
        "fedavg, fedper and fedbn reach the same 60.0 % on all domains, more than the other 1."
    )
    assert lede(Comparison.of([equal[0], worse])).startswith(
        "fedavg reaches 60.0 % on all domains, the most of 2 methods"
    )


@pytest.mark.slow_for("others0")
@pytest.mark.parametrize(
    ("others", "said"),
    [(["fedbn"], "; p (Holm) 0.031)."), (["fedbn", "fedper"], "; p (Holm) 0.062: not significant")],
)
def test_the_first_words_name_the_corrected_p(tmp_path: Path, others: list[str], said: str) -> None:
    runs = [
        make_run(
            tmp_path / f"{strategy}{seed}",
            write_tiny(tmp_path),
            [{"north": [0.5 + 0.01 * seed + better], "south": [0.4]}],
            strategy=strategy,
            seed=seed,
        )
        for strategy, better in zip(["fedavg", *others], (0.0, 0.2, 0.1), strict=False)
        for seed in range(6)
    ]
    words = lede(Comparison.of(runs))
    assert words.startswith("fedbn reaches")
    assert "10.0 points above fedavg (95 % interval" in words
    assert said in words


def test_what_each_method_does_in_a_round_is_a_table(tmp_path: Path) -> None:
    runs = [
        made(tmp_path, "fedavg", 0.8, trained={0: (10, 4), 1: (30, 6)}, parameters=75),
        made(tmp_path, "fedbn", 0.8, trained={1: (30, 6)}, parameters=1075),
    ]
    page = Page(render(Comparison.of(runs), data=False))
    (table,) = page.all("table", id="work")
    rows = page.within(table, "tr")
    cells = [
        [each["text"] for each in [*page.within(row, "th"), *page.within(row, "td")]]
        for row in rows
    ]
    assert cells == [
        ["method", "clients count", "steps", "parameters trained", "sent up", "sent down"],
        ["fedavg", "by examples", "5", "75", "500 B", "500 B"],
        ["fedbn", "all the same", "6", "1,075", "1.0 kB", "1.0 kB"],
    ]
    results = page.all("section", id="results")[0]["text"]
    assert "had never been drawn to train" in results
    assert "Mean over clients that have trained" in results


def test_domains_without_a_picture_are_named(tmp_path: Path) -> None:
    accuracies = {f"sensor {k:02d}": [0.5] for k in range(31)}
    run = make_run(tmp_path / "run", write_tiny(tmp_path), [accuracies])
    page = Page(render(Comparison.of([run]), data=False))
    learning = page.all("section", id="learning")[0]["text"]
    assert "29 of 31 domains have a picture; in the table alone: sensor 29, sensor 30." in learning
    head = [cell["text"] for cell in page.within(page.all("table", id="comparison")[0], "th")]
    assert head.index("all domains") < head.index("sensor 00")


def test_no_value_of_python_stands_on_the_page() -> None:
    files = {"north": Path("a/north.npz"), "south": Path("b.npz")}
    source = Npz(name="npz", files=files)
    assert "{north: a/north.npz, south: b.npz}" in summarise(source)
    assert "PosixPath" not in summarise(source)
