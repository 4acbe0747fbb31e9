"""The errors a user may see: one sentence each that says what is wrong, where, and what to do."""

from __future__ import annotations

import re
import traceback
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from sysconfig import get_path
from textwrap import shorten

NOT_OWN = (
    *{path for key in ("stdlib", "platstdlib", "purelib", "platlib") if (path := get_path(key))},
    "<frozen",
)
"""What the files of Python and of installed packages begin with."""


class FedlabError(Exception):
    """Base of all errors that fedlab raises on purpose; the command line prints only its text."""

    exit_code = 1


class InputError(FedlabError):
    """Something the user gave (scenario, data, option) cannot be used; nothing was trained."""

    exit_code = 2


class RunError(FedlabError):
    """A run that had started cannot go on."""


class LostDataError(RunError):
    """A file of samples is gone, or not what it was when the run began: no client can go on."""


def format_error(
    error: BaseException, files: Collection[str] = (), longest: int | None = None
) -> str:
    """An error in a user's code in one line: ``ValueError: no width (nets.py, line 12)``.

    Args:
        error: The error.
        files: Files that are a user's own wherever they lie.
        longest: Characters of what it says, at most; words are left out at the end.
    """
    said = " ".join(str(error).split())
    if longest is not None:
        said = shorten(said, longest, placeholder=" ...")
    stack = traceback.extract_tb(error.__traceback__)
    own = [each for each in stack if each.filename in files or is_own_frame(each.filename)]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {said}{where}"


def is_own_frame(file: str) -> bool:
    """Whether a file is a user's own: of neither fedlab, Python nor an installed package."""
    return not file.startswith((str(Path(__file__).parent), *NOT_OWN))


@contextmanager
def no_exit(what: str) -> Generator[None]:
    """Turns ``sys.exit`` in a user's code into an error; it would look like a successful end.

    Raises:
        RunError: Where it calls ``sys.exit``.
    """
    try:
        yield
    except SystemExit as error:
        raise RunError(
            f"{what} called sys.exit ({format_error(error)}), which would end fedlab in the middle "
            "of its work; raise an error there instead, or return"
        ) from error


COMMANDS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that command a terminal, or turn the direction of writing."""


def visible(text: str) -> str:
    """A text whose control characters are written out: what is in a file commands no terminal."""
    return COMMANDS.sub(lambda each: ascii(each.group())[1:-1], text)
