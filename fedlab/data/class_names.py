"""Names of classes and domains in a normal form, and names that differ in spelling alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from fedlab.errors import InputError

_PLAIN = re.compile(r"0|-?[1-9][0-9]{0,99}")


def normal(name: str) -> str:
    """The normal form of a name, in which names are compared and shown.

    Composed characters (NFC) stand for decomposed ones, as macOS writes file names; blanks at the
    ends and signs of no width go, and blanks inside become one space.
    """
    composed = unicodedata.normalize("NFC", name)
    return " ".join(composed.strip("\u200b\u2060\ufeff\x00").split())


def stated(name: str) -> str:
    """The normal form of a name in a scenario.

    Raises:
        ValueError: If there is nothing to see of it.
    """
    shown = normal(name)
    if not shown:
        raise ValueError(f"{name!r} is blank; write a name")
    return shown


def refuse_spellings(names: Iterable[str], where: str) -> None:
    """Refuses names that differ only in capitals, underscores or character width.

    Args:
        names: Names in their normal form.
        where: What they are, for the error: "data.sources.0.path: there are class folders".

    Raises:
        InputError: With the first two that are alike.
    """
    spellings: dict[str, str] = {}
    for name in sorted(names):
        loose = unicodedata.normalize("NFKC", name.replace("_", " ")).casefold()
        other = spellings.setdefault(" ".join(loose.split()), name)
        if other != name:
            raise InputError(f"{where} '{other}' and '{name}'; give one class one name everywhere")


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels in the order of their classes: as numbers where all are plain integers, else as text.

    ``07`` is no plain integer, and another class than ``7``.
    """
    labels = set(labels)
    if all(_PLAIN.fullmatch(label) for label in labels):
        return sorted(labels, key=int)
    return sorted(labels)


def is_plain(label: str) -> bool:
    """Whether a label is an integer in canonical spelling."""
    return bool(_PLAIN.fullmatch(label))


def check_given(names: Sequence[str], key: str) -> tuple[str, ...]:
    """Class names that a scenario gives, in their normal form.

    Raises:
        InputError: If one is blank, or stands there twice or in two spellings.
    """
    given = tuple(map(normal, names))
    for place, name in enumerate(given):
        if not name:
            raise InputError(
                f"{key}.{place} is {names[place]!r}, which is blank; give each class a name"
            )
        if given.count(name) > 1:
            raise InputError(f"{key} has '{name}' twice; give each class its own name")
    refuse_spellings(given, f"{key} has")
    return given
