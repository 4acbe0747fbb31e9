"""The page as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedlab.comparison.columns import columns
from fedlab.comparison.comparison import Comparison
from fedlab.comparison.notes import missing, notes
from fedlab.comparison.work import all_work, work_notes
from fedlab.errors import InputError
from fedlab.report import colours
from fedlab.report.html.clients import clients
from fedlab.report.html.cost import cost
from fedlab.report.html.counts_section import counted
from fedlab.report.html.feature_section import features
from fedlab.report.html.figure import PageSection, Sign
from fedlab.report.html.learning import learning
from fedlab.report.html.overview import overview
from fedlab.report.html.partition_section import partition
from fedlab.report.html.reproduce import repeat
from fedlab.report.html.results import results
from fedlab.report.html.svg import shape
from fedlab.version import __version__

LEFT_OUT = "Left out: the report was made with --no-data."


def write_report(comparison: Comparison, file: Path, *, data: bool = True) -> None:
    """Writes a self-contained page of HTML about runs; the same runs give the same bytes.

    Args:
        comparison: The runs.
        file: Where to write it.
        data: Whether to load the samples, for the pictures of the partition and of features.

    Raises:
        InputError: If it cannot be written there, or a run cannot be read.
    """
    text = render(comparison, data=data)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"the report cannot be written to '{file}': {error.strerror or error}; "
            "choose another file with -o"
        ) from error


def render(comparison: Comparison, *, data: bool = True) -> str:
    """The page as text; see `write_report`."""
    absent = missing(comparison)
    if data:
        divided, domains, classes = partition(comparison)
        seen = features(comparison)
    else:
        divided, domains, classes = PageSection("data", "Data", missing=LEFT_OUT), (), ()
        seen = PageSection("features", "Features", missing=LEFT_OUT)
    return (
        _templates()
        .get_template("page.html")
        .render(
            version=__version__,
            palette=colours,
            score=comparison.score,
            head=overview(comparison),
            results=results(comparison),
            table=[c for c in columns(comparison) if c.title != "runs" or absent],
            notes=notes(comparison),
            missing=absent,
            learning=learning(comparison),
            clients=clients(comparison),
            counts=counted(comparison),
            cost=cost(comparison),
            work=all_work(comparison),
            work_notes=work_notes(comparison),
            data=divided,
            features=seen,
            repeat=repeat(comparison),
            methods=[
                Sign(group.label, style % 8, shape(style))
                for style, group in enumerate(comparison.groups)
            ],
            domains=_signs(domains),
            classes=_signs(classes),
        )
    )


def _signs(names: tuple[str, ...]) -> list[Sign]:
    return [Sign(name, index % 10) for index, name in enumerate(names)]


def _templates() -> Environment:
    made: Any = Environment(
        loader=PackageLoader("fedlab.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return made
