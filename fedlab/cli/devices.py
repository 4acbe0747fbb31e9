"""Verbs for real devices: serve, join, keys."""

from __future__ import annotations

import logging
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.table import Table
from rich.text import Text

import fedlab
from fedlab.cli.app import Overrides, Source, app, err, out
from fedlab.errors import InputError

keys_app = typer.Typer(
    help="Make the server's keys, add devices, revoke them.", no_args_is_help=True
)
app.add_typer(keys_app, name="keys", rich_help_panel="Real devices")

Keys = Annotated[Path, typer.Option("--keys", help="Folder of the server's keys.")]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Without TLS and keys; on this machine only.")
]
Force = Annotated[bool, typer.Option("--force", help="With --insecure: on the network, too.")]


@app.command(rich_help_panel="Real devices")
def serve(
    scenario: Source,
    overrides: Overrides = None,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen at; all of this machine's, or 127.0.0.1 if insecure."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen at.", min=0, max=65535)] = 9092,
    keys: Keys = Path("keys"),
    insecure: Insecure = False,
    force: Force = False,
    classes: Annotated[
        str | None,
        typer.Option(help="Names of the classes, where the scenario's data are not here: a,b,c"),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of this run, instead of one in runs/.")
    ] = None,
) -> None:
    """Run a scenario on real devices, which come with `fedlab join`.

    Waits for as many devices as the scenario has clients. Started again after a crash, it goes on
    with the last finished round.

    [dim]fedlab keys init; fedlab keys add camera-1; fedlab keys add camera-2
    fedlab serve my.yaml strategy=fedbn partition.clients=2
    fedlab serve smoke --insecure[/dim]
    """
    from fedlab.deploy.security.keys import KeyRing
    from fedlab.deploy.security.network import refuse_open_network

    listening = host or ("127.0.0.1" if insecure else "0.0.0.0")
    if insecure:
        refuse_open_network(listening, force)
    ring = None if insecure else KeyRing.open(keys)
    with _stoppable("go on with the same command"):
        _say("the server is starting; PyTorch takes seconds to load, on a busy machine a minute")
        from fedlab.deploy.server.serve import serve as run_server
        from fedlab.deploy.server.superlink_process import Endpoint
        from fedlab.report.terminal.progress import ProgressReporter
        from fedlab.report.terminal.summary_table import print_closing_table
        from fedlab.simulation import default_folder

        loaded = fedlab.load_scenario(scenario, overrides or ())
        with ProgressReporter(out) as reporter:
            run = run_server(
                loaded,
                endpoint=Endpoint(listening, port, ring),
                out=folder or default_folder(loaded),
                classes=[name.strip() for name in classes.split(",")] if classes else None,
                callbacks=[reporter],
                on_ready=lambda address: _say(f"devices join at {address}"),
            )
    print_closing_table(run, out)


@app.command(rich_help_panel="Real devices")
def join(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT")],
    data: Annotated[
        Path,
        typer.Option(help="This device's samples: image folder, .npz, .csv, .parquet, ..."),
    ],
    domain: Annotated[
        str | None, typer.Option(help="Name of their domain; by default that of the file.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="This device's key, from `fedlab keys add`.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="This device's name, where it has no key.")
    ] = None,
    state: Annotated[
        Path, typer.Option(help="Folder for what this device keeps between rounds.")
    ] = Path("fedlab-state"),
    insecure: Insecure = False,
    force: Force = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, mps ...; by default what is there.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; by default all.", min=1)] = None,
    patience: Annotated[
        float, typer.Option(help="Seconds without the server after which to give up.", min=0)
    ] = 3600,
    weights: Annotated[
        Path | None,
        typer.Option(help="This device's copy of the file of weights that the scenario names."),
    ] = None,
) -> None:
    """Take part in a run with this device's own data, which never leave it.

    [dim]fedlab join server.example:9092 --data photos/ --key camera-1.pem
    fedlab join 127.0.0.1:9092 --data north.npz --domain north --insecure[/dim]
    """
    from fedlab.deploy.device.node import Settings, join_server

    settings = Settings(
        data=data,
        domain=domain,
        key=key,
        name=name,
        state=state,
        insecure=insecure,
        force=force,
        device=device,
        threads=threads,
        patience=patience,
        weights=weights,
    )
    with _stoppable("join again to go on"), _logged():
        farewell = join_server(address, settings)
    if not farewell.finished:
        raise InputError(f"{address} has sent this device away: {farewell.reason}")
    _say("; ".join(filter(None, [farewell.reason, "the run has ended"])))


@keys_app.command()
def init(
    hosts: Annotated[list[str] | None, typer.Argument(metavar="[HOST]...")] = None,
    keys: Keys = Path("keys"),
) -> None:
    """Make the certificate authority and the server's certificate, or renew the latter.

    HOST is a name or address by which devices reach the server.

    [dim]fedlab keys init server.example 192.168.1.10[/dim]
    """
    from fedlab.deploy.security.keys import KeyRing

    new = KeyRing(keys).init(hosts or [])
    made = "a certificate authority and a certificate" if new else "a new certificate"
    _say(f"made {made} for the server in '{keys}'; keep ca.key and server.key to yourself")


@keys_app.command()
def add(
    device: Annotated[str, typer.Argument()],
    keys: Keys = Path("keys"),
    file: Annotated[
        Path | None, typer.Option("--out", help="The device's file, instead of DEVICE.pem.")
    ] = None,
) -> None:
    """Make a device's key, and let it in.

    [dim]fedlab keys add camera-1[/dim]
    """
    from fedlab.deploy.security.keys import KeyRing

    target = file or Path(f"{device}.pem")
    KeyRing.open(keys).add(device, target)
    _say(
        f"'{device}' may take part; move '{target}' to it over a safe channel, and there: "
        f"fedlab join HOST:PORT --data PATH --key {target.name}"
    )


@keys_app.command("list")
def list_keys(keys: Keys = Path("keys")) -> None:
    """List the devices, and those that were revoked."""
    from fedlab.deploy.security.keys import KeyRing

    table = Table("device", "state", "since", box=None)
    for each in KeyRing.open(keys).devices():
        state = Text("revoked", "red") if each.revoked else Text("may take part", "green")
        table.add_row(Text(each.name), state, f"{each.since:%Y-%m-%d %H:%M}")
    out.print(table)


@keys_app.command()
def revoke(
    device: Annotated[str, typer.Argument()],
    keys: Keys = Path("keys"),
) -> None:
    """Shut a device out, at once if the server is running.

    [dim]fedlab keys revoke camera-1[/dim]
    """
    from fedlab.deploy.security.keys import KeyRing

    KeyRing.open(keys).revoke(device)
    _say(f"'{device}' may no longer take part")


def _say(text: str) -> None:
    out.print(Text(text), soft_wrap=True)


@contextmanager
def _logged() -> Generator[None]:
    """Writes what fedlab logs to the console, with the time, for a service's journal."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("fedlab")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def _stoppable(hint: str) -> Generator[None]:
    """Exits with code 130 and a hint at Ctrl-C and at SIGTERM, by which services are stopped."""

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        err.print(Text(f"stopped; {hint}"), soft_wrap=True)
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
