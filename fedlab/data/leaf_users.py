"""The users in LEAF's JSON files, with their samples as they stand there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fedlab.data.source import LoadContext
from fedlab.errors import InputError


class User(NamedTuple):
    """A user of a file.

    Attributes:
        where: The file's key and path, for errors.
        name: The user's name.
        x: The samples, each a text or a list of numbers.
        y: Their labels.
    """

    where: str
    name: str
    x: list[Any]
    y: list[Any]


def users_of(path: Path, context: LoadContext) -> list[User]:
    """The users of a file who have samples.

    Raises:
        InputError: If it is not of LEAF's form, or its numbers of samples are not those of users.
    """
    where = f"{context.key}.path: '{path}'"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = [
            User(where, str(u), content["user_data"][u]["x"], content["user_data"][u]["y"])
            for u in content["users"]
        ]
        lengths = [(user.name, len(user.x), len(user.y)) for user in found]
        numbers = content.get("num_samples", [size for _, size, _ in lengths])
        stated = dict(zip(map(str, content["users"]), numbers, strict=True))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{where} is not of LEAF's form ({type(error).__name__}: {error}); it must hold users "
            "and user_data, with x and y for each user, and as many num_samples as users"
        ) from error
    if sorted(user.name for user in found) != sorted(content["user_data"]):
        raise InputError(
            f"{where} lists other users in users than it has in user_data, or one of them twice; "
            "list each once"
        )
    for name, samples, labels in lengths:
        if samples != labels:
            raise InputError(
                f"{where}: user '{name}' has {samples} samples and {labels} labels; give one label "
                "for each sample"
            )
        if stated[name] != samples:
            raise InputError(
                f"{where}: user '{name}' has {samples} samples, and num_samples says "
                f"{stated[name]}; correct the number, or make the file anew if samples are lost"
            )
    return [user for user in found if len(user.y)]


def refuse_other_lengths(users: Sequence[User]) -> None:
    """Refuses samples that have not as many numbers as the first.

    Args:
        users: Those of all files.

    Raises:
        InputError: With file, user and sample of the first that differs.
    """
    first = users[0]
    wanted = _shape(first.x[0])
    for user in users:
        for place, sample in enumerate(user.x):
            if (shape := _shape(sample)) != wanted or shape is None:
                other = f"user '{first.name}' ({first.where})"
                raise InputError(
                    f"{user.where}: sample {place} of user '{user.name}' has {_numbers(shape)}, "
                    f"and {'its sample 0' if user is first else other} has {_numbers(wanted)}; all "
                    "must have as many: correct x in the file"
                )


def _shape(sample: Any) -> tuple[int, ...] | None:
    """The shape of nested lists; None where lists beside each other differ."""
    if not isinstance(sample, list):
        return ()
    shapes = {_shape(each) for each in sample}
    inner = shapes.pop() if shapes else ()
    return None if shapes or inner is None else (len(sample), *inner)


def _numbers(shape: tuple[int, ...] | None) -> str:
    if shape is None:
        return "lists of different lengths"
    if not shape:
        return "no list of numbers"
    return f"{' x '.join(map(str, shape))} number{'s' * (shape != (1,))}"
