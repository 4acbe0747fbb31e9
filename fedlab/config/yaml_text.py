"""Reads YAML with 1.2 scalars, without duplicate keys, and with the line of every value."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import yaml
from pydantic_core import to_jsonable_python
from yaml.parser import ParserError
from yaml.scanner import ScannerError

from fedlab.errors import InputError

if TYPE_CHECKING or not yaml.__with_libyaml__:
    from yaml import SafeLoader as FastLoader
else:
    from yaml import CSafeLoader as FastLoader

KeyPath = tuple[str | int, ...]
"""The place of a value in a document: the keys and list indices that lead to it."""

LONGEST = 2**19
"""Largest length of a document in characters; a scenario has some thousands."""

DEEPEST = 40
"""Largest depth of nested blocks."""

MOST = 100_000
"""Largest number of values of a document, with those repeated by aliases."""

_SCALARS = [  # the core schema of YAML 1.2, section 10.3.2
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
]


class _Yaml12(yaml.constructor.SafeConstructor):
    """What PyYAML lacks of YAML 1.2: ``1e-3`` is a number, ``no`` a text, ``010`` is 10."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a plain word", key_node.start_mark
                )
            line = key_node.start_mark.line + 1
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key '{key_node.value}' stands here a second time "
                    f"(first in line {seen[key_node.value]}); keep one of them",
                    key_node.start_mark,
                )
            seen[key_node.value] = line
        return super().construct_mapping(node, deep=deep)


def _integer(loader: Any, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text, base)


class _YamlReader(_Yaml12, yaml.SafeLoader):
    """PyYAML's safe loader, whose errors say best what is wrong."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute


class _FastReader(_Yaml12, FastLoader):
    """The same by libyaml where PyYAML comes with it, ten times as fast."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own class attribute


for _class in (_YamlReader, _FastReader):
    _class.add_constructor("tag:yaml.org,2002:int", _integer)
    for _kind, _pattern, _first in _SCALARS:
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), list(_first)
        )

_ODD = re.compile(rf"[\t\x85\u2028\u2029\ufeff!%?|>]|{yaml.reader.Reader.NON_PRINTABLE.pattern}")
"""Characters that libyaml allows, or reads, in other places than PyYAML does."""


class _Writer(yaml.SafeDumper):
    """Quotes every string that YAML 1.1 or 1.2 would read as another type."""


for _letter, _resolvers in _YamlReader.yaml_implicit_resolvers.items():
    _Writer.yaml_implicit_resolvers = {
        **_Writer.yaml_implicit_resolvers,
        _letter: [*_resolvers, *_Writer.yaml_implicit_resolvers.get(_letter, [])],
    }


def read(
    text: str, where: str, numbered: bool = True, bounded: bool = True
) -> tuple[Any, dict[KeyPath, int]]:
    """Parses one YAML document.

    Args:
        text: The document.
        where: Its name in errors: a file name, or an option.
        numbered: Whether errors name the line.
        bounded: Whether to limit length and depth, for texts that fedlab has not written itself.

    Returns:
        The value, and the line (from 1) of every key and list item in it.

    Raises:
        InputError: If the text is not valid YAML, has a duplicate key, or exceeds the limits of
            length, depth or repetition.
    """
    if not _ODD.search(text):
        with suppress(yaml.YAMLError, ValueError, RecursionError):
            return _parsed(text, bounded, _FastReader)
    try:
        return _parsed(text, bounded, _YamlReader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark and numbered else ""
        is_form = isinstance(error, ParserError | ScannerError)
        remedy = "; look for a wrong indent, quote or bracket here or just above" * is_form
        raise InputError(f"{where}{line}: {error.problem or error.context}{remedy}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{where}: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise InputError(f"{where}: blocks within blocks too deep; write it flatter") from error


def _parsed(
    text: str, bounded: bool, loader: type[_YamlReader | _FastReader]
) -> tuple[Any, dict[KeyPath, int]]:
    if bounded:
        _check_extent(text, loader)
    reader = loader(text)
    node = reader.get_single_node()
    return (None, {}) if node is None else (reader.construct_document(node), dict(_lines(node, ())))


def _check_extent(text: str, loader: type[_YamlReader | _FastReader]) -> None:
    """Refuses documents that would take too much time or memory, by streaming over its events.

    Raises:
        YAMLError: If the text is too long, too deep, or aliases repeat too much of it.
    """
    if len(text) > LONGEST:
        raise yaml.YAMLError(
            f"the text has {len(text):,} characters, and a scenario may have {LONGEST:,}; "
            "shorten it"
        )
    open_blocks: list[tuple[str | None, int]] = []  # anchor, and values before the block
    sizes: dict[str, int | None] = {}  # values below each anchor; None while it is still open
    values = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_blocks.append((event.anchor, values))
            if event.anchor:
                sizes[event.anchor] = None
            if len(open_blocks) > DEEPEST:
                raise _at(event, f"more than {DEEPEST} blocks within blocks; write it flatter")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_blocks.pop()
            if anchor:
                sizes[anchor] = values - before + 1
        elif isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor or "", 1)
            if size is None:
                raise _at(event, f"the alias *{event.anchor} stands inside its own anchor")
            values += size - 1
        if isinstance(event, yaml.ScalarEvent) and event.anchor:
            sizes[event.anchor] = 1
        values += isinstance(event, yaml.NodeEvent)
        if values > MOST:
            raise _at(
                event,
                f"the document has more than {MOST:,} values, those that aliases (*name) repeat "
                "counted each time; write fewer",
            )


def _at(event: yaml.Event, problem: str) -> yaml.MarkedYAMLError:
    mark: Any = event.start_mark
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def write(value: Any) -> str:
    """The YAML text of plain values, in the order given; `read` gives the same values back."""
    return yaml.dump(value, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100)


def _lines(node: yaml.Node, place: KeyPath) -> list[tuple[KeyPath, int]]:
    found: list[tuple[KeyPath, int]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(key.value, key.start_mark, child) for key, child in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(i, child.start_mark, child) for i, child in enumerate(node.value)]
    else:
        children = []
    for key, mark, child in children:
        found.append(((*place, key), mark.line + 1))
        found.extend(_lines(child, (*place, key)))
    return found


def in_words(value: Any) -> str:
    """A value as a line of YAML; paths and other objects as text."""
    plain = to_jsonable_python(value, fallback=str, inf_nan_mode="constants")
    text = yaml.safe_dump(
        plain, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")
