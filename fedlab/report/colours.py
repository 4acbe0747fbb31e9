"""The colours of methods and domains, the same in files and on the page of a comparison."""

from __future__ import annotations

METHODS = (
    *("#0072b2", "#d55e00", "#008f68", "#b4558d"),
    *("#a87400", "#2f97d1", "#6a6a6a", "#5f45a8"),
)
"""After Okabe and Ito: colours that colour-blind readers can distinguish."""
METHODS_ON_BLACK = (
    *("#58aef0", "#f28b50", "#3fc99c", "#e398c4"),
    *("#e6b341", "#93d2f5", "#b4b4b4", "#ad97ee"),
)
DOMAINS = (
    *("#3f9c8f", "#cc6677", "#b59a2d", "#5a4fb0", "#58a6d2"),
    *("#2c7a42", "#8c2a5e", "#8f8f2e", "#d98a4a", "#7a7a7a"),
)
DOMAINS_ON_BLACK = (
    *("#63c4b6", "#e68a99", "#d9c15a", "#9a8ff0", "#8fcbee"),
    *("#5fb878", "#d0699e", "#c2c25e", "#f0ab72", "#aaaaaa"),
)


def method_colours(number: int) -> list[str]:
    """The colours of `number` methods; they repeat beyond eight."""
    return [METHODS[place % len(METHODS)] for place in range(number)]


def domain_colours(number: int) -> list[str]:
    """The colours of `number` domains; they repeat beyond ten."""
    return [DOMAINS[domain % len(DOMAINS)] for domain in range(number)]
