"""A comparison's table in Markdown, LaTeX and HTML, and flat for CSV."""

from __future__ import annotations

import html as html_text
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas

from fedlab.comparison.columns import columns
from fedlab.comparison.notes import notes
from fedlab.comparison.sentences import NONE, Column
from fedlab.comparison.table import table

if TYPE_CHECKING:
    from fedlab.comparison.compared import Compared


def markdown(comparison: Compared) -> str:
    """See `Comparison.to_markdown`."""
    return markdown_of(columns(comparison), notes(comparison))


def markdown_of(table: Sequence[Column], footnotes: Sequence[str]) -> str:
    """Columns as a table in Markdown, the best of each bold, with notes below."""
    lines = [[column.title for column in table]]
    lines.append(["---:" if column.number else "---" for column in table])
    for place in range(len(table[0].cells)):
        cells = ((c.cells[place].replace("|", "\\|"), c.best[place]) for c in table)
        lines.append([f"**{text}**" if best else text for text, best in cells])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return rows + "\n\n" + "\n".join(f"{note}  " for note in footnotes) + "\n"


def latex(comparison: Compared) -> str:
    """See `Comparison.to_latex`."""
    return latex_of(columns(comparison), notes(comparison))


def latex_of(table: Sequence[Column], footnotes: Sequence[str]) -> str:
    """Columns as a table in LaTeX, the best of each bold, with notes as comments."""
    lines = [r"% \usepackage{booktabs}", *(f"% {note}" for note in footnotes)]
    lines.append(rf"\begin{{tabular}}{{{''.join('r' if c.number else 'l' for c in table)}}}")
    lines += [r"\toprule", _latex_row([_latex(column.title) for column in table]), r"\midrule"]
    for place in range(len(table[0].cells)):
        cells = ((_latex(column.cells[place]), column.best[place]) for column in table)
        lines.append(_latex_row([rf"\textbf{{{text}}}" if best else text for text, best in cells]))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def html(comparison: Compared) -> str:
    """See `Comparison._repr_html_`."""
    table = columns(comparison)

    def cell(kind: str, column: Column, text: str, best: bool = False) -> str:
        side = "right" if column.number else "left"
        inner = html_text.escape(text)
        return f'<{kind} style="text-align: {side}">{f"<b>{inner}</b>" if best else inner}</{kind}>'

    head = "".join(cell("th", column, column.title) for column in table)
    body = "".join(
        "<tr>" + "".join(cell("td", c, c.cells[place], c.best[place]) for c in table) + "</tr>"
        for place in range(len(comparison.groups))
    )
    footnotes = "<br>".join(html_text.escape(note) for note in notes(comparison))
    return (
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p><small>{footnotes}"
        "</small></p>"
    )


def flat(comparison: Compared) -> pandas.DataFrame:
    """The table's numbers with one level of columns, and columns for method and setting."""
    frame = table(comparison)
    frame.columns = [" ".join(column) for column in frame.columns]
    return frame.reset_index()


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex(text: str) -> str:
    """Text with LaTeX's special characters escaped and ours replaced."""
    if text == NONE:
        return "--"
    special = {
        **{character: "\\" + character for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "†": r"$^\dagger$",
    }
    escaped = "".join(special.get(character, character) for character in text)
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)
