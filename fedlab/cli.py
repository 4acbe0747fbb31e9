"""The command line: a few lines for each verb. PyTorch and Flower are imported when needed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

import fedlab
from fedlab.errors import FedlabError, InputError

app = typer.Typer(
    help="Federated learning under label skew and domain skew.",
    epilog="Start with:  fedlab list   |   fedlab simulate domain_skew strategy=fedbn",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
settings = {"debug": False}

Source = Annotated[str, typer.Argument(metavar="SCENARIO")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")]
SECTIONS = {
    "strategies": ["strategies"],
    "models": ["models"],
    "losses": ["losses"],
    "data": ["sources", "transforms", "extractors"],
    "skews": ["domain_skews", "label_skews", "quantity_skews", "label_noises"],
}


def main() -> None:
    """Runs the command line; errors of the user's making are told in words, without a traceback."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # a scenario may name modules beside it, as under `python -m`
    try:
        app()
    except FedlabError as error:
        if settings["debug"]:
            raise
        first, *more = str(error).splitlines()
        for line in (first, *more):
            is_problem = line is first or isinstance(error, InputError)
            mark = ("error: " if is_problem else "  ", "bold red")
            err.print(Text.assemble(mark, line), soft_wrap=True)
        sys.exit(error.exit_code)


def _show_version(wanted: bool) -> None:
    if wanted:
        out.print(f"fedlab {fedlab.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    settings["debug"] = debug


@app.command()
def simulate(
    scenario: Source,
    overrides: Overrides = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of this run, instead of one in runs/.")
    ] = None,
) -> None:
    """Run a scenario on this machine.

    SCENARIO is a YAML file or a name from `fedlab list scenarios`; KEY=VALUE changes it.

    [dim]fedlab simulate domain_skew
    fedlab simulate domain_skew strategy=fedbn seed=3
    fedlab simulate my.yaml strategy.mu=0.1 --out runs/mu-0.1[/dim]
    """
    from fedlab import simulation

    loaded = fedlab.load_scenario(scenario, overrides or ())
    target = folder or simulation.default_folder(loaded)
    with _stoppable(target):
        run = simulation.simulate(loaded, out=target)
    _close(run)


@app.command()
def resume(run: Annotated[Path, typer.Argument()]) -> None:
    """Go on with a run that was interrupted, to the same end.

    RUN is the folder that `fedlab simulate` made for it.

    [dim]fedlab resume runs/domain_skew-fedbn-s0[/dim]
    """
    from fedlab import simulation

    if fedlab.load_run(run).finished:
        out.print("This run has finished already:")
    with _stoppable(run):
        done = simulation.resume(run)
    _close(done)


@app.command("list")
def list_(
    what: Annotated[
        str | None, typer.Argument(metavar="[scenarios|strategies|models|losses|data|skews]")
    ] = None,
) -> None:
    """List what a scenario can be made of, installed extensions included.

    [dim]fedlab list
    fedlab list strategies[/dim]
    """
    from fedlab import catalogue
    from fedlab.shipped import shipped_scenarios

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


@app.command()
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
    from fedlab import catalogue
    from fedlab.scenario_file import load_scenario, to_yaml
    from fedlab.shipped import is_scenario

    groups = [] if is_scenario(name) or overrides else catalogue.groups_with(name)
    for group in groups:
        _print_component(group, name)
    if not groups:
        text = to_yaml(load_scenario(name, overrides or ()))
        if out.is_terminal:
            out.print(Syntax(text, "yaml", background_color="default", word_wrap=True))
        else:
            typer.echo(text, nl=False)


@app.command()
def validate(
    files: Annotated[list[str], typer.Argument(metavar="SCENARIO...")],
) -> None:
    """Check scenario files and tell all that is wrong with them.

    [dim]fedlab validate scenarios/*.yaml[/dim]
    """
    from fedlab.scenario_file import load_scenario

    problems = []
    for file in files:
        try:
            load_scenario(file)
        except InputError as error:
            problems.append(str(error))
        else:
            out.print(f"[green]valid[/green] {file}", soft_wrap=True)
    if problems:
        raise InputError("\n".join(problems))


@app.command()
def partition(
    scenario: Source,
    overrides: Overrides = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Picture (.png, .pdf, .svg), instead of SCENARIO-partition.png."
        ),
    ] = None,
) -> None:
    """Show which client gets which samples, in tables and a picture, before anything is trained.

    [dim]fedlab partition domain_skew
    fedlab partition domain_skew partition.labels.alpha=0.1 --out skew.png[/dim]
    """
    from fedlab.report import partition_view
    from fedlab.simulation import prepare

    prepared = prepare(fedlab.load_scenario(scenario, overrides or ()))
    partition_view.render(prepared.partition, prepared.data, out)
    file = picture or Path(f"{prepared.scenario.name}-partition.png")
    partition_view.draw(prepared.partition, prepared.data, file)
    out.print(f"picture: [bold]{file}[/bold]", soft_wrap=True)


@app.command()
def personalise(
    run: Annotated[Path, typer.Argument()],
    method: Annotated[
        str, typer.Option(help="fine_tune (all layers) or lp_ft (the head first).")
    ] = "lp_ft",
    shots: Annotated[int, typer.Option(help="Labelled samples per class.", min=1)] = 5,
    steps: Annotated[int, typer.Option(help="Optimiser steps of each stage.", min=1)] = 100,
    lr: Annotated[float, typer.Option(help="Learning rate (Adam) of all layers.")] = 1e-4,
    head_lr: Annotated[float, typer.Option(help="Learning rate of the head alone.")] = 1e-3,
    domain: Annotated[
        str | None, typer.Option(help="The global model to this domain, instead.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--out", help="Table as CSV.")] = None,
) -> None:
    """Fine-tune a finished run's model for every client, with few labels, and test it.

    [dim]fedlab personalise runs/domain_skew-fedavg-s0 --shots 10
    fedlab personalise runs/leave_one_domain_out-fedwon-s0 --domain street[/dim]
    """
    from fedlab.adaptation.personalise import check_method
    from fedlab.adaptation.personalise import personalise as fine_tune
    from fedlab.report.tables import print_table

    table = fine_tune(
        fedlab.load_run(run),
        method=check_method(method),
        shots=shots,
        steps=steps,
        lr=lr,
        head_lr=head_lr,
        domain=domain,
    )
    print_table(table, out, file)


@app.command()
def audit(
    run: Annotated[Path, typer.Argument()],
    folds: Annotated[int, typer.Option(help="Parts of a client's samples.", min=2)] = 5,
    file: Annotated[Path | None, typer.Option("--out", help="All samples as CSV.")] = None,
) -> None:
    """Find labels that are probably wrong among the clients of a finished run.

    [dim]fedlab audit runs/label_noise-fedavg-s0 --out audit.csv[/dim]
    """
    from fedlab.adaptation.audit import audit as find_errors
    from fedlab.report.audit_table import print_audit

    found = find_errors(fedlab.load_run(run), folds=folds)
    print_audit(found, out, file)


@app.command()
def copy(
    name: Annotated[str, typer.Argument()],
    target: Annotated[Path, typer.Argument()] = Path(),
) -> None:
    """Copy a scenario that comes with fedlab, to change it.

    TARGET is a file or a folder; by default the working folder.

    [dim]fedlab copy domain_skew
    fedlab copy domain_skew mine.yaml[/dim]
    """
    from fedlab.shipped import find

    source = find(name)
    file = target / source.name if target.is_dir() else target
    try:
        with file.open("x", encoding="utf-8") as copied:
            copied.write(source.read_text(encoding="utf-8"))
    except FileExistsError as error:
        raise InputError(f"'{file}' is there already; name another file") from error
    except OSError as error:
        raise InputError(f"'{file}' cannot be written: {error.strerror}") from error
    out.print(f"copied to [bold]{file}[/bold]; run it with: fedlab simulate {file}", soft_wrap=True)


@contextmanager
def _stoppable(folder: Path) -> Iterator[None]:
    """Ctrl-C ends with exit code 130 and a word on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        has_run = (folder / "scenario.yaml").is_file()
        hint = (
            f"; go on with: fedlab resume {folder}" if has_run else " before anything was trained"
        )
        err.print(Text(f"stopped{hint}"), soft_wrap=True)
        raise typer.Exit(130) from None


def _close(run: fedlab.Run) -> None:
    from fedlab.report.closing_table import print_closing_table

    print_closing_table(run, out)


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
    from fedlab import catalogue

    words, parameters = catalogue.describe(group, name)
    out.print(Text.assemble((name, "bold cyan"), (f"  ({group.replace('_', ' ')})", "dim")))
    out.print(Text(words))
    table = Table.grid(padding=(0, 2))
    for parameter in parameters:
        value = "(required)" if parameter.default is None else parameter.default
        line = Text.assemble(parameter.text, " " * bool(parameter.text), (parameter.kind, "dim"))
        table.add_row(Text(f"  {parameter.name}: {value}", style="cyan"), line)
    out.print(table)
    out.print()
