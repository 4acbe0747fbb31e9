"""What the code knows of a method, put around what is written about it in docs/methods.

A page's front matter says its ``family``, a key of `FAMILIES`, and for the table of all methods
(`method_table`) ``since``, the first version with the method, the ``skew`` that it is for, and a
client's ``steps`` against FedAvg's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import method_results
import tables
from repository import ROOT

from fedlab.config import catalogue, registry

FAMILIES = {
    "start": "To start from",
    "domain": "Domain skew",
    "label": "Label skew and drift",
    "server": "Server optimisers",
    "labels": "Few labels",
    "personal": "Personal models",
    "fair": "Fairness among clients",
    "clustered": "Several global models",
    "systems": "Slow and absent clients",
}
FOLDER = ROOT / "docs" / "methods"
TRAVELS = re.compile(r"\b(Up|Up, once|Down|Down, once|Every round|Stays): ")
ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
EVERY = "[what every method takes](index.md#keys-of-every-method)"
CAVEAT = (
    "What rows can show, and what was not equal between them (steps, tuning), is said where they "
    "come from."
)


class Words(NamedTuple):
    """A method's module docstring, in parts.

    Attributes:
        sentence: What it is.
        travels: What goes up, goes down and stays, by these words.
        paper: Where it comes from, with links; empty for what has no paper.
    """

    sentence: str
    travels: dict[str, str]
    paper: str


def written() -> dict[str, tuple[str, str]]:
    """The pages in docs/methods: name -> (title, family)."""
    return {
        path.stem: (_match(r"^# (.+)", text), _match(r"^family: (\w+)", text))
        for path in sorted(FOLDER.glob("*.md"))
        if path.stem != "index" and (text := path.read_text("utf-8"))
    }


def navigation() -> list[dict]:
    """The methods by family, for ``nav``."""
    pages = written()
    return [
        {title: [f"methods/{name}.md" for name in _ordered(pages, family)]}
        for family, title in FAMILIES.items()
        if _ordered(pages, family)
    ]


def missing() -> list[str]:
    """Registered methods without a page."""
    return [name for name in registry.BUILTIN["strategies"] if name not in written()]


def index() -> str:
    """A table of methods for every family."""
    pages, parts = written(), []
    for family, title in FAMILIES.items():
        rows = [
            (f"[{pages[name][0]}]({name}.md)", f"`{name}`", _sentence_of(name))
            for name in _ordered(pages, family)
        ]
        if rows:
            parts.append(f"## {title}\n\n{tables.table(('method', 'name', 'idea'), rows)}")
    return "\n".join(parts)


def common_keys() -> str:
    """The keys that the block of every method may hold."""
    from fedlab.strategies.parameters import StrategyParameters

    return tables.keys(catalogue.keys_of(StrategyParameters))


def completed(name: str, markdown: str) -> str:
    """A page with all that the code and the results say."""
    words = words_of(name)
    title, _, body = markdown.partition("\n")
    blocks = [title, f"{words.sentence}\n{{ .lead }}", _cards(words.travels)]
    blocks += [*_traffic(name), body.strip()]
    blocks += [f"## Parameters\n\n{_parameters(name)}"]
    if found := list(_results(name)):
        blocks += [f"## Results\n\n{CAVEAT}\n\n" + "\n\n".join(found)]
    if words.paper:
        blocks += [f"## Source\n\n{words.paper}"]
    blocks += ["## Code { data-search-exclude }\n\n" + "\n\n".join(_code(name))]
    return "\n\n".join(blocks) + "\n"


def with_results(markdown: str) -> str:
    """A page with rows of docs/results.md where a comment asks for them.

    Raises:
        ValueError: If there are no such rows.
    """

    def rows_of(wanted: re.Match[str]) -> str:
        section, names = wanted[1], wanted[2].split()
        for found in tables.result_tables((ROOT / "docs/results.md").read_text("utf-8")):
            rows = [row for row in found.rows if row[0].strip("`* ") in names]
            if found.section == section and rows:
                return tables.table(found.head, rows)
        raise ValueError(f"docs/results.md has no rows for '{wanted[0]}'; mend the comment")

    return re.sub(r"<!-- results: (.+): (.+) -->", rows_of, markdown)


def words_of(name: str) -> Words:
    """What the module of a method's strategy says."""
    text = ast.get_docstring(_module("strategies", name)) or ""
    first, *others = (" ".join(part.split()) for part in text.split("\n\n"))
    travels, papers, more = {}, [], []
    for part in others:
        pieces = TRAVELS.split(part)
        if len(pieces) > 1 and not pieces[0]:
            pairs = zip(pieces[1::2], pieces[2::2], strict=True)
            travels |= {key: value.strip().rstrip(".") for key, value in pairs}
        else:
            (papers if ARXIV.search(part) else more).append(tables.as_code(part))
    paper = ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", "\n\n".join(papers))
    return Words(_capital(first.partition(": ")[2] or first), travels, paper)


def _sentence_of(name: str) -> str:
    return words_of(name).sentence.rstrip(".")


def _cards(travels: dict[str, str]) -> str:
    cards = "".join(
        f"<div><b>{key}</b><span>{value}</span></div>" for key, value in travels.items()
    )
    return f'<div class="travels">{cards}</div>' if cards else ""


def _traffic(name: str) -> Iterator[str]:
    """Bytes of a round, from the table in docs/deploy.md."""
    for found in tables.result_tables((ROOT / "docs/deploy.md").read_text("utf-8")):
        for method, *cells in found.rows:
            if method.strip("`") == name and found.head[1:3] == ["up", "down"]:
                up, down = cells[:2]
                yield (
                    f"A client's round with the network of `domain_skew`: {up} up and {down} "
                    "down ([other methods](../deploy.md#what-leaves-a-device)).\n{ .quiet }"
                )


def _parameters(name: str) -> str:
    from fedlab.strategies.parameters import StrategyParameters

    usual = {parameter.name: parameter for parameter in catalogue.keys_of(StrategyParameters)}
    own = [
        parameter
        for parameter in catalogue.describe("strategies", name)[1]
        if usual.get(parameter.name) != parameter
    ]
    if own:
        return f"{tables.keys(own)}\nBeside these, {EVERY}."
    return f"None but {EVERY}."


def _results(name: str) -> Iterator[str]:
    """Rows of docs/results.md about the method, and of FedAvg beside them."""
    for section in method_results.in_results(name):
        yield f"[{section.title}]({section.link}):\n\n" + "\n\n".join(section.tables)


def _code(name: str) -> Iterator[str]:
    for group, what in (("strategies", "Strategy"), ("clients", "Client trainer")):
        if group == "clients" and name not in registry.BUILTIN["clients"]:
            yield "The client trainer is [FedAvg's](fedavg.md#code)."
            continue
        path = _path(group, name)
        code = path.read_text("utf-8").rstrip()
        title = f"{what}: {path.relative_to(ROOT)}"
        block = f'```python title="{path.name}"\n{code}\n```'
        yield f'??? note "{title}"\n\n' + "\n".join(f"    {line}" for line in block.splitlines())


def _path(group: str, name: str) -> Path:
    module = registry.path_of(group, name).partition(":")[0]
    return ROOT / f"{module.replace('.', '/')}.py"


@cache
def _module(group: str, name: str) -> ast.Module:
    return ast.parse(_path(group, name).read_text("utf-8"))


def _ordered(pages: dict[str, tuple[str, str]], family: str) -> list[str]:
    """The family's methods in the order of the registry."""
    return [name for name in registry.BUILTIN["strategies"] if pages.get(name, "  ")[1] == family]


def _match(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
