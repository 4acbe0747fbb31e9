"""Sanitises texts that come from a device."""

from __future__ import annotations

LONGEST = 3000
"""Largest length of a reason in characters; its beginning and its end are kept."""

LONGEST_NAME = 100


def shown(text: str, most: int = LONGEST) -> str:
    """A text without control characters, shortened.

    Lines are kept, and all but the first are indented, so that none can pass for one of ours.

    Args:
        text: The text.
        most: Approximate largest length in characters.
    """
    lines = text.replace("\r\n", "\n").strip().split("\n")
    text = "\n".join("".join(map(_plain, line)) for line in lines)
    if len(text) > most:
        kept = most // 4
        text = f"{text[:kept]} ... ({len(text) - most} characters) ... {text[kept - most :]}"
    return text.replace("\n", "\n    ")


def _plain(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def fault_of_name(what: str, name: str) -> str:
    """Why a text is not a valid name of a device or a domain; empty if it is."""
    if len(name) > LONGEST_NAME:
        return f"its {what} has {len(name)} characters; choose one of {LONGEST_NAME} at most"
    if not name.isprintable() or set("<>") & set(name):
        return f"its {what} has characters that names do not have: '{shown(name)}'"
    return ""


NOT_LET_IN = "not let in"
"""A server's answer to requests without a known key."""
