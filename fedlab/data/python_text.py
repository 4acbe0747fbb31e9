"""Texts that are part of Python: the documentation of its standard library."""

from __future__ import annotations

import ast
import codecs
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import Field

from fedlab.data.source import LoadContext
from fedlab.data.text_rows import TextRow, read_text
from fedlab.data.text_source import TextSource
from fedlab.errors import InputError

DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class PythonText(TextSource):
    """Documentation of Python's own modules, read from their files: a module is a domain.

    Nothing is imported or executed. The Zen of Python (``this``) is read out of its cipher. Another
    version of Python has other texts. For the other parameters see `TextSource`.

    Attributes:
        modules: Names of modules that are written in Python.
    """

    name: Literal["python_text"] = "python_text"
    modules: tuple[str, ...] = Field(default=("_pydecimal", "statistics"), min_length=1)
    task: Literal["next_token"] = "next_token"  # type: ignore[assignment]  # there are no labels
    tokenizer: Literal["words", "characters", "bytes"] | Path = "characters"

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`."""
        return self.modules

    def texts(self, context: LoadContext) -> Mapping[str, Sequence[TextRow]]:
        """See `TextSource.texts`."""
        return {name: [TextRow(_said_by(name, context.key))] for name in self.modules}


def _said_by(module: str, key: str) -> str:
    """All docstrings of a module, its classes and its functions, in the order of its file."""
    try:
        found = find_spec(module)
    except (ImportError, ValueError, AttributeError):
        found = None
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise InputError(
            f"{key}.modules: there is no module '{module}' that is written in Python; name another"
        )
    tree = ast.parse(read_text(Path(found.origin), f"{key}.modules: '{found.origin}'"))
    if module == "this":
        (cipher,) = (each.value for each in tree.body[:1] if isinstance(each, ast.Assign))
        return codecs.decode(ast.literal_eval(cipher), "rot13")
    said = [ast.get_docstring(each) for each in ast.walk(tree) if isinstance(each, DOCUMENTED)]
    text = "\n".join(each for each in said if each)
    if not text:
        raise InputError(f"{key}.modules: '{module}' has no documentation; name another")
    return text
