"""Formulas as MathML: ``$w$`` in a line, ``$$`` around a block. No script, no outside font."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

IN_A_LINE = r"(?<![\\$])\$(?!\s)([^$\n]+?)(?<!\s)\$(?![\d$])"
AFTER_CODE, BEFORE_ESCAPES = 189, 90
"""Places in Python-Markdown's queues: code is left alone, and backslashes are the formula's."""


class InLine(InlineProcessor):
    """A formula within a line."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # type: ignore[override]  # noqa: N802
        """Puts the MathML where Markdown changes nothing any more."""
        return self.md.htmlStash.store(convert(m[1])), m.start(0), m.end(0)


class InABlock(BlockProcessor):
    """A formula that is a paragraph of its own."""

    def test(self, parent: ElementTree.Element, block: str) -> bool:
        """Whether the paragraph is a formula."""
        return block.startswith("$$") and block.rstrip().endswith("$$")

    def run(self, parent: ElementTree.Element, blocks: list[str]) -> None:
        """Makes one line of MathML of it."""
        formula = " ".join(blocks.pop(0).strip().strip("$").split())
        place = ElementTree.SubElement(parent, "div", {"class": "formula"})
        place.text = self.parser.md.htmlStash.store(convert(formula, display="block"))


class Formulas(Extension):
    """The extension, for ``markdown_extensions``."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Registers both kinds."""
        md.inlinePatterns.register(InLine(IN_A_LINE, md), "formula", AFTER_CODE)
        md.parser.blockprocessors.register(InABlock(md.parser), "formula", BEFORE_ESCAPES)
