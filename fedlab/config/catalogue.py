"""Lists and describes the components that a scenario can name, for the command line."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedlab.config import registry
from fedlab.config.yaml_text import in_words

if TYPE_CHECKING:
    from fedlab.config.component import Component, ConfigBlock


PAPERS = {"strategies", "models", "adapters", "losses", "metrics"}
"""Groups whose module docstrings name the component's paper."""


@dataclass(frozen=True)
class Parameter:
    """A key of a component's block.

    Attributes:
        name: The key.
        kind: Its type or choices, and its range.
        default: Its default; None if it must be given.
        text: Its meaning.
    """

    name: str
    kind: str
    default: str | None
    text: str


def sentences(group: str) -> dict[str, str]:
    """Every name of a group with the first sentence of its docstring.

    Sources are parsed instead of imported, as importing PyTorch takes seconds.
    """
    rows = {
        name: _sentence(registry.path_of(group, name), of_module=group == "strategies")
        for name in registry.names(group)
    }
    if group == "strategies":
        rows["flwr:NAME"] = "Any strategy of Flower that averages: flwr:FedAdam, flwr:Krum, ..."
    return rows


def groups_with(name: str) -> list[str]:
    """The groups that have a component of that name; client trainers go with their strategies.

    Raises:
        InputError: If the name is a path, ``module:Class``, and nothing can be imported from it.
    """
    if ":" in name and not name.startswith("flwr:"):
        block = _block(registry.resolve("strategies", name))
        return [block.group] if block else []
    return [group for group in registry.BUILTIN if group != "clients" and _is_in(group, name)]


def describe(group: str, name: str) -> tuple[str, list[Parameter]]:
    """A component's docstring, and the keys of its block.

    Raises:
        InputError: If there is no such component.
    """
    target = registry.resolve(group, name)
    parameters = keys_of(_block(target) or target)
    module = inspect.getmodule(target)
    paper = inspect.getdoc(module) if group in PAPERS else None
    if group == "strategies" and name.startswith("flwr:"):
        from fedlab.strategies.families.flower_parameters import constructor_arguments

        parameters += [
            Parameter(key, _kind(kind), None if default is ... else _plain(default), "")
            for key, (kind, default) in constructor_arguments(name).items()
        ]
    words = [paragraphs(text) for text in (paper, target.__doc__) if text]
    return "\n\n".join(words), parameters


def keys_of(block: type[ConfigBlock]) -> list[Parameter]:
    """The keys of a scenario's block, without a component's ``name``."""
    from fedlab.config.component import Component

    texts = _attribute_texts(block)
    return [
        Parameter(
            key,
            _kind(field.annotation, field.metadata),
            None if field.is_required() else _plain(field.get_default(call_default_factory=True)),
            texts.get(key, ""),
        )
        for key, field in block.model_fields.items()
        if key != "name" or not issubclass(block, Component)
    ]


def _block(target: Any) -> type[Component] | None:
    """The class that reads the block of a named target, or None if it has no block."""
    from fedlab.config.component import Component
    from fedlab.models.spec import ModelSpec

    for kind in (Component, ModelSpec):  # a plain module is a model, too
        block = kind.block_of(target)
        if isinstance(block, type) and issubclass(block, Component):
            return block
    return None


def _is_in(group: str, name: str) -> bool:
    return name in registry.names(group) or (group == "strategies" and name.startswith("flwr:"))


@cache
def _module(name: str) -> ast.Module | None:
    try:
        spec = importlib.util.find_spec(name)
        return ast.parse(Path(spec.origin).read_text("utf-8")) if spec and spec.origin else None
    except (ImportError, OSError, SyntaxError):
        return None


def _sentence(path: str, of_module: bool) -> str:
    """The first sentence of a class's docstring; for a method, of its module's."""
    module, _, name = path.partition(":")
    tree = _module(module)
    if tree is None:
        return f"(cannot be imported from {path})"
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    words = " ".join(ast.get_docstring(node) or "" for node in ([tree] if of_module else classes))
    return " ".join(words.split()).split(". ")[0].rstrip(".").replace(", strategy:", ":")


def paragraphs(text: str) -> str:
    """A docstring without its sections, one line for each paragraph."""
    words = re.split(r"\n\s*(?:Attributes|Args):\n", inspect.cleandoc(text))[0]
    return "\n\n".join(" ".join(part.split()) for part in words.split("\n\n"))


def _attribute_texts(block: type) -> dict[str, str]:
    """The descriptions of attributes in Google docstrings, including those of base classes."""
    texts: dict[str, str] = {}
    for cls in reversed(block.__mro__):
        section = re.search(
            r"^(?:Attributes|Args):\n((?:[ ].*\n?|\n)*)", inspect.cleandoc(cls.__doc__ or ""), re.M
        )
        for name, text in re.findall(
            r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section.group(1) if section else "", re.M
        ):
            texts[name] = " ".join(text.split())
    return texts


def _kind(annotation: Any, constraints: Sequence[Any] = ()) -> str:
    """An annotation in words, with the bounds of numbers: ``int > 0 | none``, ``batch | group``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(arguments[0], arguments[1:])
    if origin is typing.Literal:
        return " | ".join(str(choice) for choice in arguments)
    if origin in {typing.Union, types.UnionType}:
        first, *others = arguments
        return " | ".join([_kind(first, constraints), *map(_kind, others)])
    if arguments and origin is not None:
        inner = [_kind(argument) for argument in arguments if argument is not Ellipsis]
        return f"{_name(origin)} of {', '.join(dict.fromkeys(inner))}"
    return _name(annotation) + _bounds(constraints)


def _name(kind: Any) -> str:
    names = {type(None): "none", tuple: "list", dict: "mapping", Path: "path"}
    if kind in names:
        return names[kind]
    if group := getattr(kind, "group", None):  # a component
        return f"one of {group.replace('_', ' ')}"
    return getattr(kind, "__name__", str(kind))


def _bounds(constraints: Sequence[Any]) -> str:
    """The bounds of a number: `` >= 0, < 1``."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    # A bound stands by itself, or in the `Field` of the annotation.
    parts = [part for each in constraints for part in getattr(each, "metadata", [each])]
    bounds = [
        f"{sign} {getattr(part, name):g}"
        for part in parts
        for name, sign in signs.items()
        if getattr(part, name, None) is not None
    ]
    return " " * bool(bounds) + ", ".join(bounds)


def _plain(default: Any) -> str:
    """A default as YAML."""
    from fedlab.config.defaults import as_written

    return in_words(as_written(default))
