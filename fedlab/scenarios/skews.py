"""The bases of the skew generators; each is a block of the scenario and a function of a seed."""

from __future__ import annotations

from typing import ClassVar

from fedlab.component import Component


class DomainSkew(Component):
    """Which domains a client sees."""

    group: ClassVar[str] = "domain_skews"


class LabelSkew(Component):
    """How the classes are divided among the clients that see a domain."""

    group: ClassVar[str] = "label_skews"


class QuantitySkew(Component):
    """How many training samples a client has."""

    group: ClassVar[str] = "quantity_skews"


class LabelNoise(Component):
    """Which labels of a client are wrong."""

    group: ClassVar[str] = "label_noises"
