"""A comparison from one command, and its report in a real browser."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fedlab import cli
from fedlab.report.html.report_data import read_comparison
from fedlab.runs import metrics

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

SEEDS = 2
KEPT_WITHIN = 20.0  # seconds
METHODS = ("fedavg", "fedbn", "fedwon", "fraug")
DOMAINS = ("handwritten", "scan", "photo", "printed", "street")
SECTIONS = ("results", "learning", "clients", "cost", "data", "features", "repeat")
QUICK = (
    "rounds=2",
    "evaluation.every=1",
    "training.local_steps=1",
    "data.sources.0.train_per_domain=60",
    "data.sources.0.test_per_domain=40",
    "resources.backend=local",
)
ALONE = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium, without a window and without talking to anybody."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if path is None:
        pytest.skip("there is no Chromium here; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=list(ALONE))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four methods over some seeds of the domains that come with fedlab."""
    folder = tmp_path_factory.mktemp("compared") / "runs"
    words = ["--strategies", ",".join(METHODS), "--seeds", str(SEEDS), "--out", str(folder), *QUICK]
    done = CliRunner().invoke(cli.app, ["compare", "domain_skew", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def file(runs: Path) -> Path:
    page = runs.parent / "report.html"
    done = CliRunner().invoke(
        cli.app, ["report", str(runs), "-o", str(page)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return page


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Any]:
    """The report, opened from disk; the test fails if the page complains or asks for anything."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    opened = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(file.as_uri())
    yield opened
    assert complaints == []
    assert {url for url in requests if not url.startswith("data:")} == {file.as_uri()}
    context.close()


def test_every_section_is_seen_with_its_pictures(page: Any) -> None:
    for name in SECTIONS:
        section = page.locator(f"section#{name}")
        assert section.get_by_role("heading", level=2).is_visible()
        page.locator(f"nav a[href='#{name}']").click()
        assert page.evaluate("location.hash") == f"#{name}"
    charts = page.locator("svg.chart:visible")
    results, learning, clients, cost, data = 3, 1 + len(DOMAINS) + 1, 1, 2, 2
    assert charts.count() == results + learning + clients + cost + data + len(METHODS)
    boxes = [chart.bounding_box() for chart in charts.all()]
    assert all(box and box["width"] > 200 and box["height"] > 80 for box in boxes)
    assert page.locator(".missing").count() == 0


def test_the_tables_numbers_are_the_historys(page: Any, runs: Path) -> None:
    titles = page.locator("#comparison thead th").all_inner_texts()
    comparison = read_comparison([runs])
    assert [group.label for group in comparison.groups] == list(METHODS)
    for row, group in zip(
        page.locator("#comparison tbody tr").all(), comparison.groups, strict=True
    ):
        assert row.locator("th").inner_text().strip() == group.label
        shown = dict(zip(titles[1:], row.locator("td").all_inner_texts(), strict=True))
        for domain in DOMAINS:
            own = [
                metrics.by_domain(run.history, 2)["clients_value"][domain]
                for run in group.runs.values()
            ]
            assert len(own) == SEEDS
            mean = sum(own) / SEEDS
            deviation = (sum((value - mean) ** 2 for value in own) / (SEEDS - 1)) ** 0.5
            assert shown[domain] == f"{100 * mean:.1f} ± {100 * deviation:.1f}"


def test_light_and_dark_follow_the_system_and_the_reader(page: Any) -> None:
    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page.emulate_media(color_scheme="light")
    light = background()
    page.emulate_media(color_scheme="dark")
    dark = background()
    assert light != dark
    toggle = page.locator("button.toggle")
    toggle.click()
    assert toggle.inner_text() == "Light"
    assert background() == light
    toggle.click()
    assert background() == dark
    assert _shown_after_reloading(page, "Dark"), "the choice is remembered"


def _shown_after_reloading(page: Any, word: str) -> bool:
    """Whether a reload shows a choice: the browser keeps it a moment after the click."""
    end = time.monotonic() + KEPT_WITHIN
    while time.monotonic() < end:
        page.reload()
        if page.locator("button.toggle").inner_text() == word:
            return True
        page.wait_for_timeout(100)
    return False


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_is_cut_off_on_a_narrow_screen(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 780})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    texts = page.evaluate(
        "[...document.querySelectorAll('.chart text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(height for height in texts if height) > 8


def test_the_keyboard_gets_everywhere(page: Any) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    button = page.locator("#learning .legend button").first
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert page.locator("#learning .curve.m1.dim").count() == 2 + len(DOMAINS) + 1
    assert page.locator("#learning .curve.m0.dim").count() == 0
    page.keyboard.press("Enter")
    assert page.locator(".dim").count() == 0


def test_pointing_at_a_curve_shows_its_numbers(page: Any, runs: Path) -> None:
    chart = page.locator("#learning svg.chart:visible").first
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    tip = page.locator(".tip")
    assert tip.is_visible()
    means = {
        group.label: 100 * sum(o.mean for o in group.outcomes.values()) / SEEDS
        for group in read_comparison([runs]).groups
    }
    text = tip.inner_text()
    assert "round 2" in text
    for label, mean in means.items():
        assert re.search(rf"{label}\s+{mean:.1f}", text)


def test_features_are_coloured_by_domain_or_by_class(page: Any) -> None:
    dots = page.locator("#features .d0.c1").first
    before = dots.evaluate("dot => getComputedStyle(dot).color")
    page.get_by_label("class", exact=True).check()
    assert dots.evaluate("dot => getComputedStyle(dot).color") != before
    assert page.locator("#features .of-classes").is_visible()
    assert not page.locator("#features .of-domains").is_visible()
