"""The errors a user may see: one sentence each that says what is wrong, where, and what to do."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class FedlabError(Exception):
    """Base of all errors that fedlab raises on purpose; the command line prints only its text."""

    exit_code = 1


class InputError(FedlabError):
    """Something the user gave (scenario, data, option) cannot be used; nothing was trained."""

    exit_code = 2


class RunError(FedlabError):
    """A run that had started cannot go on."""


def told(error: BaseException) -> str:
    """An error of a user's own code in one line: ``ValueError: no width (nets.py, line 12)``."""
    said = " ".join(str(error).split())
    stack = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in stack if is_own_frame(frame.filename)]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {said}{where}"


def is_own_frame(file: str) -> bool:
    """Whether code of a file is a user's own: neither fedlab's nor an installed package's."""
    ours = (str(Path(__file__).parent), sysconfig.get_path("purelib"), "<frozen")
    return not file.startswith(ours)


@contextmanager
def no_exit(what: str) -> Generator[None]:
    """Keeps code of a user's own from ending the process, which would look like success.

    Raises:
        RunError: Where it calls ``sys.exit``.
    """
    try:
        yield
    except SystemExit as error:
        raise RunError(
            f"{what} called sys.exit ({told(error)}), which would end fedlab in the middle of its "
            "work; raise an error there instead, or return"
        ) from error
