"""The page of the command line, made of what ``fedlab --help`` is made of."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click
import tables
import typer.main

from fedlab.cli import app


def page() -> str:
    """The Markdown of all verbs, in the order of ``fedlab --help``."""
    return "\n\n".join(_page())


def _page() -> Iterator[str]:
    command = typer.main.get_command(app)
    yield "# Command line"
    yield (
        "`fedlab --help` lists the verbs and `fedlab VERB --help` describes one; this page is "
        "generated from the same text. Errors of the user are printed in a line, with exit code 2; "
        "`fedlab --debug VERB ...` shows tracebacks."
    )
    context = click.Context(command, info_name="fedlab")
    yield tables.table(
        ("verb", "what it does"),
        [
            (f"[`{' '.join(way)}`](#{'-'.join(['fedlab', *way])})", _summary(verb))
            for way, verb in _verbs(command, context)
        ],
    )
    for way, verb in _verbs(command, context):
        yield from _verb(way, verb, context)


def _verbs(
    command: click.Command, context: click.Context, way: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every verb with the words that lead to it; groups themselves are left out."""
    if not hasattr(command, "list_commands"):
        yield way, command
        return
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        if inner is not None and not inner.hidden:
            yield from _verbs(inner, context, (*way, name))


def _verb(way: tuple[str, ...], verb: click.Command, parent: click.Context) -> Iterator[str]:
    context = click.Context(verb, info_name=" ".join(("fedlab", *way)))
    yield f"## `fedlab {' '.join(way)}`"
    words, examples = _words(verb)
    yield words
    usage = " ".join(verb.collect_usage_pieces(context))
    yield f"```text\nfedlab {' '.join(way)} {usage}\n```"
    options = [_option(p, context) for p in verb.params if getattr(p, "help", None)]
    if options:
        yield tables.table(("option", "default", "meaning"), options)
    if examples:
        yield "```console\n" + "\n".join(examples) + "\n```"


def _option(parameter: click.Parameter, context: click.Context) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    default = parameter.get_default(context)
    shown = "" if default is None or default is False or callable(default) else f"`{default}`"
    return names, shown, _plain(getattr(parameter, "help", "") or "")


def _summary(verb: click.Command) -> str:
    return _words(verb)[0].split("\n\n")[0]


def _words(verb: click.Command) -> tuple[str, list[str]]:
    """What a verb's help says, and the commands that it shows in dim letters."""
    text = inspect.cleandoc(verb.help or "")
    shown = re.search(r"\[dim\](.*?)\[/dim\]", text, re.DOTALL)
    examples = [line.strip() for line in shown[1].splitlines()] if shown else []
    words = text.replace(shown[0], "") if shown else text
    return "\n\n".join(" ".join(_plain(p).split()) for p in words.strip().split("\n\n")), examples


def _plain(text: str) -> str:
    return re.sub(r"\[/?(?:dim|bold|cyan|green)\]", "", text)
