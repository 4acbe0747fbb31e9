"""Pages that are made from the code alone: what a scenario may say, and what it is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator

import tables

from fedlab import catalogue, registry, schema
from fedlab.component import Component, Section
from fedlab.shipped import shipped_scenarios

PARTS = {
    "models": ("Models", ["models"]),
    "losses": ("Losses", ["losses"]),
    "data": ("Data", ["sources", "transforms", "extractors"]),
    "skews": ("Skews", ["domain_skews", "label_skews", "quantity_skews", "label_noises"]),
}
"""Page -> its title and the groups on it, as ``fedlab list`` has them."""

WHERE = {
    "models": "model",
    "losses": "training.loss",
    "sources": "data.sources",
    "transforms": "data.sources.N.make_domains",
    "extractors": "data.features",
    "domain_skews": "partition.domains",
    "label_skews": "partition.labels",
    "quantity_skews": "partition.quantity",
    "label_noises": "partition.label_noise",
    "strategies": "strategy",
}
"""Where in a scenario a component of a group stands."""


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
        "`fedlab validate FILE` tells all that is wrong with one. On the command line, "
        "`dotted.key=value` sets anything."
    )
    yield from _blocks(Scenario, ())


def _blocks(section: type[Section], place: tuple[str, ...]) -> Iterator[str]:
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
        if "sources" in dotted.split("."):
            kind = f"a list of {kind}"
        rows.append(catalogue.Parameter(parameter.name, kind, default, parameter.text))
    yield tables.keys(rows)
    for block, where in inner:
        yield from _blocks(block, where)


def _default(section: type[Section], key: str) -> str | None:
    field = section.model_fields[key]
    if field.is_required():
        return None
    default = field.get_default()
    return default if isinstance(default, str) else getattr(default, "name", str(default))


def _link(group: str) -> str:
    if group == "strategies":
        return "[a method](../methods/index.md)"
    page = next(page for page, (_, groups) in PARTS.items() if group in groups)
    return f"[one of these]({page}.md#{_anchor(group.replace('_', ' '))})"


def _parts(page: str) -> Iterator[str]:
    title, groups = PARTS[page]
    yield f"# {title}"
    for group in groups:
        yield f"## {group.replace('_', ' ').capitalize()}"
        yield f"Under `{WHERE[group]}` in a scenario; also `package.module:Class` of your own."
        for name in registry.BUILTIN[group]:
            words, parameters = catalogue.describe(group, name)
            yield f"### `{name}`"
            yield tables.as_code(words)
            yield tables.keys(parameters)


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
