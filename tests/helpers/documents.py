"""The blocks of a document that a reader would type, and how a test runs them, in less time.

A comment before a block says where it is not to be run as it stands::

    <!-- test: skip, needs two machines -->    with the reason
    <!-- test: fails -->                       the last command is meant to be refused
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fedlab.data.digits import Digits
from fedlab.data.several_digits import SeveralDigits
from fedlab.errors import InputError
from fedlab.scenario import Scenario
from fedlab.scenario_file import load_scenario

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"(?:^<!-- test: (?P<mark>[^\n]*?) -->\n+)?"
    r"^```(?P<language>console|python|yaml|toml)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
INSTALL = re.compile(r"^(pip install uv && )?uv run (--extra sim|--all-extras) ")
FILE = re.compile(r"# ([\w/]+\.(?:py|yaml))\n")

SHORT = ["rounds=2", "resources.backend=local", "evaluation.every=1"]
"""What a test adds to every command that trains; FixBN needs a second round to be itself."""

FEW = {
    "label_skew": 400,
    "domain_and_label_skew": 200,
    "limited_labels": 400,
    "label_proportions": 400,
    "latent_label_shift": 1500,
}
"""Training images of a domain, where clients need more than sixty between them."""


class Block(NamedTuple):
    """Something to type.

    Attributes:
        language: ``console``, ``python``, ``yaml`` or ``toml``.
        text: What stands in it.
        mark: What the comment before it says to tests, or nothing.
    """

    language: str
    text: str
    mark: str

    @property
    def file(self) -> str | None:
        """The file that it is, where its first line is a comment with a file's name."""
        named = FILE.match(self.text)
        return named[1] if named else None

    @property
    def skipped(self) -> bool:
        """Whether it is not run; the mark says why."""
        return self.mark.startswith("skip, ")

    @property
    def commands(self) -> list[str]:
        """The lines of a console, without what installs fedlab and without comments."""
        if self.language != "console":
            return []
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        return [INSTALL.sub("", line.partition("  #")[0].strip()) for line in lines]


def pages() -> list[str]:
    """The README and every page of the documentation, as paths from the root."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return ["README.md", *(path.relative_to(ROOT).as_posix() for path in found)]


def blocks(page: str) -> list[Block]:
    """What a page says to type, from top to bottom."""
    text = (ROOT / page).read_text("utf-8")
    return [Block(b["language"], b["text"], b["mark"] or "") for b in BLOCK.finditer(text)]


def scenario_of(command: str) -> Scenario | None:
    """The scenario that a command trains or looks at, with its overrides; None for others.

    Where several are compared, it is the one that they start from.

    Raises:
        InputError: If the command is wrong.
    """
    words = shlex.split(command)
    if words[0] != "fedlab" or words[1] not in {"simulate", "partition", "compare"}:
        return None
    options = [at for at, word in enumerate(words) if word.startswith("--")]
    values = {at for option in options for at in (option, option + 1)}
    source, *overrides = [w for at, w in enumerate(words[2:], 2) if at not in values]
    return load_scenario(source, [] if words[1] == "compare" else overrides)


def shortened(command: str) -> str:
    """The same command with so little to do that it takes a second or two."""
    scenario = scenario_of(command)
    if scenario is None:
        return command
    few = [] if command.startswith("fedlab partition") else [*SHORT]
    if isinstance(scenario.data.sources[0], Digits | SeveralDigits):
        few.append(f"data.sources.0.train_per_domain={FEW.get(scenario.name, 60)}")
        few.append("data.sources.0.test_per_domain=30")
        if getattr(scenario.data.sources[0], "writers", None) is not None:
            few += ["data.sources.0.writers=5", "partition.clients.min_samples=1"]
    if scenario.data.features.name == "warm_up":
        few.append("data.features.rounds=1")
    if scenario.training.local_steps:
        few.append("training.local_steps=2")
    if scenario.partition.label_budget.share < 1:
        few.append("partition.clients=4")  # strongly changed views take their time
    if hasattr(scenario.strategy, "unlabelled_steps"):
        few.append("strategy.unlabelled_steps=2")
    return " ".join([command, *map(shlex.quote, few)])


def reasons() -> Iterator[tuple[str, str]]:
    """Page and mark of every block that has one."""
    return ((page, block.mark) for page in pages() for block in blocks(page) if block.mark)


def is_valid(text: str) -> bool:
    """Whether a YAML block is a whole scenario and not a part of one; a wrong one raises."""
    from fedlab.config import yaml_text

    values, _ = yaml_text.read(text, "document")
    if not isinstance(values, dict) or "rounds" not in values:
        return False
    try:
        load_scenario(values)
    except InputError as error:
        raise AssertionError(str(error)) from error
    return True
