"""Elements of SVG.

Colours and type come from the page's style sheet, so that both follow the choice of light or dark.
"""

from __future__ import annotations

from xml.etree import ElementTree

from markupsafe import Markup

Element = ElementTree.Element


def element(tag: str, /, *children: Element | str, **attributes: str | float | None) -> Element:
    """An element of SVG.

    Args:
        tag: Its name.
        *children: What is in it; a text only as the first.
        **attributes: ``class_`` is ``class``, an underscore a hyphen, numbers have one decimal;
            None leaves one out.
    """
    made = ElementTree.Element(tag)
    for name, value in attributes.items():
        if value is not None:
            text = value if isinstance(value, str) else number(value)
            made.set(name.rstrip("_").replace("_", "-"), text)
    for child in children:
        if isinstance(child, str):
            made.text = child
        else:
            made.append(child)
    return made


def number(value: float) -> str:
    """A coordinate with at most one decimal."""
    text = f"{value:.1f}"
    return text.removesuffix(".0") if text != "-0.0" else "0"


def picture(width: float, height: float, label: str, *children: Element, kind: str = "") -> Markup:
    """A whole figure as SVG text.

    Args:
        width: Its width in pixels, where the page has room for it.
        height: Its height.
        label: What it shows, for those who cannot see it.
        *children: What is in it.
        kind: Classes for the style sheet.
    """
    drawn = element(
        "svg",
        *children,
        class_=f"chart {kind}".strip(),
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=width,
        role="img",
        aria_label=label,
    )
    return Markup(ElementTree.tostring(drawn, encoding="unicode"))


def text(words: str, x: float, y: float, anchor: str | None = None, kind: str = "") -> Element:
    """Text at a place; `anchor` is ``start``, ``middle`` or ``end``."""
    return element("text", words, x=x, y=y, text_anchor=anchor, class_=kind or None)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Element:
    """A straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def polyline(points: list[tuple[float, float]]) -> str:
    """The path through points."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",  # circle
    "M-3.6-3.6h7.2v7.2h-7.2z",  # square
    "M0-4.8L4.6 3.4h-9.2z",  # triangle
    "M0-5L5 0L0 5L-5 0z",  # diamond
    "M0 4.8L4.6-3.4h-9.2z",  # triangle, point down
    "M-1.6-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",  # plus
    "M-4.4-2.2h8.8v4.4h-8.8z",  # bar
    "M0-5L4.8-1.5L2.9 4.1h-5.8L-4.8-1.5z",  # pentagon
)
"""A marker for each method, so that methods differ in more than their colour."""


def shape(style: int) -> str:
    """The path of a method's marker; methods with the same colour have different markers."""
    return SHAPES[(style + 3 * (style // len(SHAPES))) % len(SHAPES)]


def mark(style: int, x: float, y: float) -> Element:
    """The marker of a method at a place."""
    place = f"translate({number(x)} {number(y)})"
    return element("path", d=shape(style), transform=place, class_=f"mark m{style % 8}")
