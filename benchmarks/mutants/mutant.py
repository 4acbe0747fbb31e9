"""A deliberate mistake, and the tests that have to notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A text of the source and a wrong one in its place.

    Attributes:
        name: What goes wrong: the method, then the mistake.
        file: The file, from the root of the repository.
        old: A text that stands in it exactly once; the shorter, the longer it lasts.
        new: The wrong text.
        tests: What of pytest's has to fail then: files, or ``file::test``, from the root.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def applied(self, root: Path) -> str:
        """The file's text with the mistake in it.

        Args:
            root: The root of the repository, or of a copy.

        Raises:
            ValueError: If the text is not there, or more than once; with what to do.
        """
        path = root / self.file
        text = path.read_text("utf-8") if path.exists() else ""
        found = text.count(self.old)
        if found != 1:
            raise ValueError(f"{self.file} has {self.old!r} {found} times; adapt the mutant")
        return text.replace(self.old, self.new)
