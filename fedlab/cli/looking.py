"""Verbs that look before training: list, show, validate, partition."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

import fedlab
from fedlab.cli.app import Changing, Overrides, Source, app, drawable, out
from fedlab.errors import InputError

SECTIONS = {
    "strategies": ["strategies"],
    "models": ["models", "adapters"],
    "losses": ["losses"],
    "metrics": ["metrics"],
    "data": ["sources", "targets", "transforms", "extractors"],
    "skews": ["domain_skews", "label_skews", "quantity_skews", "label_noises"],
    "updates": ["update_transforms", "compressions", "aggregation_rules"],
    "trackers": ["trackers"],
}


@app.command("list", rich_help_panel="Look before you train")
def list_(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[WHAT]"),
    ] = None,
) -> None:
    """List what a scenario can be made of, installed extensions included.

    WHAT is scenarios, strategies, models, losses, metrics, data, skews, updates or
    trackers; by default all of them.

    [dim]fedlab list
    fedlab list strategies[/dim]
    """
    from fedlab.config import catalogue
    from fedlab.config.builtin_scenarios import shipped_scenarios

    sections = ["scenarios", *SECTIONS] if what is None else [what]
    for section in sections:
        if section == "scenarios":
            found = {name: title for name, (title, _) in shipped_scenarios().items()}
            _print_list(section, found)
        elif section in SECTIONS:
            for group in SECTIONS[section]:
                _print_list(group.replace("_", " "), catalogue.sentences(group))
        else:
            raise InputError(
                f"there is no list '{section}'; choose from scenarios, " + ", ".join(SECTIONS)
            )


@app.command(cls=Changing, rich_help_panel="Look before you train")
def show(
    name: Annotated[str, typer.Argument()],
    overrides: Overrides = None,
) -> None:
    """Show a scenario with every default, or the parameters of a part.

    NAME is a scenario (file or name), or a part from `fedlab list`: a strategy, model, loss ...

    [dim]fedlab show domain_skew strategy=fedbn
    fedlab show fedprox
    fedlab show domain_skew > mine.yaml[/dim]
    """
    from fedlab.config import catalogue
    from fedlab.config.builtin_scenarios import is_scenario
    from fedlab.scenario_file import load_scenario, to_yaml

    groups = [] if is_scenario(name) or overrides else catalogue.groups_with(name)
    for group in groups:
        _print_component(group, name)
    if not groups and not overrides:
        _refuse_unknown(name)
    if not groups:
        text = to_yaml(load_scenario(name, overrides or ()))
        if out.is_terminal:
            out.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
        else:
            typer.echo(text, nl=False)


def _refuse_unknown(name: str) -> None:
    """Refuses a name that is near one of a part, of which `load_scenario` knows nothing.

    Raises:
        InputError: With that name.
    """
    from fedlab.config import registry
    from fedlab.config.builtin_scenarios import is_scenario

    parts = [
        each for groups in SECTIONS.values() for group in groups for each in registry.names(group)
    ]
    near = difflib.get_close_matches(name, parts, n=1)
    if near and not is_scenario(name):
        raise InputError(
            f"there is nothing called '{name}'; did you mean '{near[0]}'? (`fedlab list`)"
        )


@app.command(cls=Changing, rich_help_panel="Look before you train")
def validate(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENARIO... [KEY=VALUE]...", help="Scenarios, and changes to all of them."
        ),
    ],
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Look for the files and domains it names.")
    ] = True,
) -> None:
    """Check scenarios and print all that is wrong with them, missing files and domains included.

    [dim]fedlab validate mine.yaml
    fedlab validate scenarios/*.yaml --no-data
    fedlab validate domain_skew data.unseen_domains=street[/dim]
    """
    from fedlab.data.load import check_places
    from fedlab.scenario_file import load_scenario

    changes = [word for word in words if "=" in word and not Path(word).exists()]
    files = [word for word in words if word not in changes]
    if not files:
        raise InputError(f"'{changes[0]}' changes a scenario, and none is named; name one first")
    problems = []
    for file in files:
        try:
            loaded = load_scenario(file, changes)
            if data:
                check_places(loaded.data)
        except InputError as error:
            said = str(error)
            problems.append(said if file in said else f"{file}: {said}")
        else:
            out.print(f"[green]valid[/green] {file}", soft_wrap=True)
    if problems:
        raise InputError("\n".join(problems))


@app.command(cls=Changing, rich_help_panel="Look before you train")
def partition(
    scenario: Source,
    overrides: Overrides = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Picture (.png, .pdf, .svg), instead of SCENARIO-partition.png.",
            callback=drawable,
        ),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(
            "--table", help="CSV file with a row for every sample: client, domain, class, split."
        ),
    ] = None,
    features: Annotated[
        bool,
        typer.Option(
            "--feature-skew", help="How far domains lie apart, in the features of data.features."
        ),
    ] = False,
) -> None:
    """Show which client gets which samples, in tables and a picture, before anything is trained.

    The network need not fit the data yet.

    [dim]fedlab partition domain_skew
    fedlab partition domain_skew partition.labels.alpha=0.1 --out skew.png
    fedlab partition domain_skew --table who.csv
    fedlab partition domain_skew --feature-skew data.features=warm_up[/dim]
    """
    from fedlab.preparation import divide
    from fedlab.report.partition_table import write_table
    from fedlab.report.terminal import partition_view

    loaded = fedlab.load_scenario(scenario, overrides or ())
    data, divided = divide(loaded)
    divided = loaded.strategy.reassign(divided)
    partition_view.render(divided, data, out)
    if features:
        from fedlab.features.base import ExtractionContext
        from fedlab.report.feature_skew import feature_skew

        shown = loaded.data.features.apply(ExtractionContext(loaded, data, divided))
        partition_view.render_feature_skew(feature_skew(shown, loaded.seed), out)
    file = picture or Path(f"{loaded.name}-partition.png")
    partition_view.draw(divided, data, file)
    out.print(f"picture: [bold]{file}[/bold]", soft_wrap=True)
    if table:
        write_table(divided, data, table)
        out.print(f"table: [bold]{table}[/bold]", soft_wrap=True)


def _print_list(title: str, rows: dict[str, str]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for name, sentence in rows.items():
        table.add_row(f"  {name}", Text(sentence))
    out.print(Text(title, style="bold"))
    out.print(table)
    out.print()


def _print_component(group: str, name: str) -> None:
    from fedlab.config import catalogue

    words, parameters = catalogue.describe(group, name)
    out.print(Text.assemble((name, "bold cyan"), (f"  ({group.replace('_', ' ')})", "dim")))
    out.print(Text(words))
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", max_width=out.width // 2)
    table.add_column(overflow="fold")
    for parameter in parameters:
        value = "(required)" if parameter.default is None else parameter.default
        line = Text.assemble(parameter.text, " " * bool(parameter.text), (parameter.kind, "dim"))
        table.add_row(Text(f"  {parameter.name}: {value}", style="cyan"), line)
    out.print(table)
    out.print()
