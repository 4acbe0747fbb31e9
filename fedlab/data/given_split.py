"""Data that are already divided into training and test samples leave ``test_share`` idle."""

from __future__ import annotations

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
