"""What can be named in a scenario, and what it is, in a sentence; for the command line."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fedlab import registry


@dataclass(frozen=True)
class Parameter:
    """A key of a component's block.

    Attributes:
        name: The key.
        kind: What it may be, as a type.
        default: Its default; None where it has none and must be given.
        text: What it means.
    """

    name: str
    kind: str
    default: str | None
    text: str


def sentences(group: str) -> dict[str, str]:
    """Every name of a group with the first sentence about it.

    Sources are read, not imported: a list must not take the seconds that PyTorch takes.
    """
    rows = {
        name: _sentence(registry.path_of(group, name), of_module=group == "strategies")
        for name in registry.names(group)
    }
    if group == "strategies":
        rows["flwr:NAME"] = "Any strategy of Flower that averages: flwr:FedAdam, flwr:Krum, ..."
    return rows


def groups_with(name: str) -> list[str]:
    """The groups that have a component of that name; local halves go with their strategies."""
    return [group for group in registry.BUILTIN if group != "clients" and _is_in(group, name)]


def describe(group: str, name: str) -> tuple[str, list[Parameter]]:
    """A component's own words, and the keys that its block may hold.

    Raises:
        InputError: If there is no such component.
    """
    target = registry.resolve(group, name)
    block = getattr(target, "Parameters", target)
    texts = _attribute_texts(block)
    parameters = []
    for key, field in block.model_fields.items():
        if key == "name":
            continue
        default = None if field.is_required() else _plain(field.get_default())
        kind = _kind(field.annotation)
        parameters.append(Parameter(key, kind, default, texts.get(key, "")))
    module = inspect.getmodule(target)
    paper = inspect.getdoc(module) if group in {"strategies", "models", "losses"} else None
    if group == "strategies" and name.startswith("flwr:"):
        from fedlab.strategies.flower import constructor_arguments

        parameters += [
            Parameter(key, _kind(kind), None if default is ... else _plain(default), "")
            for key, (kind, default) in constructor_arguments(name).items()
        ]
    words = [_paragraphs(text) for text in (paper, target.__doc__) if text]
    return "\n\n".join(words), parameters


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
    """The first sentence of a class's docstring; for a method, of the file that is the method."""
    module, _, name = path.partition(":")
    tree = _module(module)
    if tree is None:
        return f"(cannot be imported from {path})"
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    words = " ".join(ast.get_docstring(node) or "" for node in ([tree] if of_module else classes))
    return " ".join(words.split()).split(". ")[0].rstrip(".").replace(", server half:", ":")


def _paragraphs(text: str) -> str:
    """A docstring's words without its sections, one line a paragraph."""
    words = re.split(r"\n\s*(?:Attributes|Args):\n", inspect.cleandoc(text))[0]
    return "\n\n".join(" ".join(part.split()) for part in words.split("\n\n"))


def _attribute_texts(block: type) -> dict[str, str]:
    """What Google docstrings say about attributes, those of base classes included."""
    texts: dict[str, str] = {}
    for cls in reversed(block.__mro__):
        section = re.search(
            r"^Attributes:\n((?:[ ].*\n?|\n)*)", inspect.cleandoc(cls.__doc__ or ""), re.M
        )
        for name, text in re.findall(
            r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section.group(1) if section else "", re.M
        ):
            texts[name] = " ".join(text.split())
    return texts


def _kind(annotation: Any) -> str:
    """An annotation without its constraints and modules: ``int``, ``'batch' | 'group'``."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _kind(arguments[0])
    if origin is typing.Literal:
        return " | ".join(str(choice) for choice in arguments)
    if arguments and origin is not None:
        inner = [_kind(argument) for argument in arguments if argument is not Ellipsis]
        if "Union" in str(origin):
            return " | ".join(inner)
        return f"{getattr(origin, '__name__', origin)} of {', '.join(dict.fromkeys(inner))}"
    return "none" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def _plain(default: Any) -> str:
    """A default as it would stand in YAML."""
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    return str(list(default)) if isinstance(default, tuple) else str(default)
