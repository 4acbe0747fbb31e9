"""Pages that are made from the code alone: what a scenario may say, and what it is made of."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator

import tables

from fedlab.cli.looking import SECTIONS
from fedlab.config import catalogue, registry, schema
from fedlab.config.builtin_scenarios import shipped_scenarios
from fedlab.config.component import Component, ConfigBlock

PARTS = {page: groups for page, groups in SECTIONS.items() if page != "strategies"}
"""Page -> the groups on it; methods have pages of their own."""


def pages() -> dict[str, str]:
    """All of them: page -> Markdown."""
    return {
        "reference/scenario.md": "\n\n".join(_scenario()),
        "reference/scenarios.md": "\n\n".join(_shipped()),
        **{f"reference/{page}.md": "\n\n".join(_parts(page)) for page in PARTS},
    }


def _scenario() -> Iterator[str]:
    from fedlab.scenario import Scenario

    yield "# What a scenario may say"
    yield (
        "Every key with its range and default. A part that can be exchanged is a block with a "
        "`name`; the name decides what else the block may hold, and a name alone is short for "
        "`{name: ...}`. `fedlab show SCENARIO` prints a scenario with every default written out, "
        "`fedlab validate FILE` reports all mistakes in one. On the command line, "
        "`dotted.key=value` sets anything: a block with a `name` is taken as it stands, and one "
        "without changes the keys that it says."
    )
    yield from _blocks(Scenario, ())


def _blocks(section: type[ConfigBlock], place: tuple[str, ...]) -> Iterator[str]:
    """A section's own keys, then its inner sections."""
    heading = ".".join(place) or "top level"
    yield f"{'#' * min(2 + max(len(place) - 1, 0), 4)} `{heading}`"
    yield tables.as_code(catalogue.paragraphs(section.__doc__ or ""))
    inner, rows = [], []
    for parameter in catalogue.keys_of(section):
        block = schema.section_in(section.model_fields[parameter.name].annotation)
        if block is None:
            rows.append(parameter)
            continue
        dotted = ".".join((*place, parameter.name))
        if issubclass(block, Component):
            kind, default = _link(block.group), _default(section, parameter.name)
        else:
            kind, default = f"[a block](#{_anchor(dotted)})", parameter.default
            default = None if default is None else "see there"
            inner.append((block, (*place, parameter.name)))
        if typing.get_origin(section.model_fields[parameter.name].annotation) is tuple:
            kind = f"a list of {kind}"
        rows.append(catalogue.Parameter(parameter.name, kind, default, parameter.text))
    yield tables.keys(rows)
    for block, where in inner:
        yield from _blocks(block, where)


def _default(section: type[ConfigBlock], key: str) -> str | None:
    field = section.model_fields[key]
    if field.is_required():
        return None
    default = field.get_default()
    return default if isinstance(default, str) else getattr(default, "name", str(default))


def _link(group: str) -> str:
    if group == "strategies":
        return "[a method](../methods/index.md)"
    page = next(page for page, groups in PARTS.items() if group in groups)
    anchor = f"#{_anchor(group.replace('_', ' '))}" * (len(PARTS[page]) > 1)
    return f"[one of these]({page}.md{anchor})"


def _parts(page: str) -> Iterator[str]:
    from fedlab.scenario import Scenario

    where = dict(_places(Scenario, ()))
    yield f"# {page.capitalize()}"
    for group in PARTS[page]:
        if len(PARTS[page]) > 1:
            yield f"## {group.replace('_', ' ').capitalize()}"
        place = f"Under `{where[group]}` in a scenario; also" if group in where else "Also"
        yield f"{place} `package.module:Class` [of your own](../guides/index.md)."
        for name in registry.BUILTIN[group]:
            words, parameters = catalogue.describe(group, name)
            yield f"### `{name}`"
            yield tables.as_code(words)
            yield tables.keys(parameters)


def _places(section: type[ConfigBlock], place: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Groups of components, and where in a scenario each is named."""
    for key, field in section.model_fields.items():
        block = schema.section_in(field.annotation)
        if block is not None and issubclass(block, Component):
            yield block.group, ".".join((*place, key))
        elif block is not None:
            yield from _places(block, (*place, key))


def _shipped() -> Iterator[str]:
    yield "# Scenarios that come with fedlab"
    yield (
        "Each is one file, and opens with what it shows and the commands that show it. "
        "`fedlab copy NAME` makes a copy to change."
    )
    for name, (title, path) in shipped_scenarios().items():
        yield f"## `{name}`"
        yield title + "."
        yield f'```yaml title="{path.name}"\n{path.read_text("utf-8").rstrip()}\n```'


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-")
