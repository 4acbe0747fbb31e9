"""Checks of data that are already divided into training and test samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from fedlab.data.source import LoadContext, Source
from fedlab.errors import InputError


def refuse_idle_share(source: Source, what: str, context: LoadContext) -> None:
    """Refuses a ``test_share`` that would change nothing.

    A device has its share from the scenario, and may come with test samples.

    Args:
        source: A source with a ``test_share``, all of whose samples come in two splits.
        what: What holds its test samples, e.g. ``test arrays``.
        context: Gives its key in the scenario.

    Raises:
        InputError: If its ``test_share`` is another than the default.
    """
    share = getattr(source, "test_share", None)
    is_default = share == type(source).model_fields["test_share"].default
    if not is_default and not context.single_client:
        raise InputError(
            f"{context.key}.test_share is {share:g}, and it splits what has no {what}, which all "
            f"of these data have; leave test_share out, or the {what}"
        )


def refuse_shared_files(files: Mapping[str, Iterable[Path]], key: str) -> None:
    """Refuses a file that is read twice, so that a model is tested on what it has learnt.

    Args:
        files: The files by the parameter that names them.
        key: Key of the source in the scenario.

    Raises:
        InputError: With the file and the two parameters.
    """
    found: dict[Path, str] = {}
    for parameter, paths in files.items():
        for path in paths:
            other = found.setdefault(path.resolve(), parameter)
            if other != parameter:
                raise InputError(
                    f"{key}.{parameter} and {key}.{other} both name '{path}', so that samples "
                    "would be trained on and tested; give each its own files"
                )
