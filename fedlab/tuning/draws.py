"""The values that a tuning tries: the same number for every method, shared keys with equal values.

The first draw of every method is the scenario as it stands. Draw k of the settings that methods
share is the same for all of them, so that no method is luckier; a method's own parameters are drawn
for it alone. In Search of Lost Domain Generalization, Gulrajani, Lopez-Paz, ICLR 2021, arXiv
2007.01434 (DomainBed) does it so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedlab import rng
from fedlab.config.ranges import Range


def draw(
    shared: Mapping[str, Range], own: Mapping[str, Range], method: str, number: int, seed: int
) -> dict[str, Any]:
    """The values of one draw, by dotted key.

    Args:
        shared: Ranges that all methods draw alike.
        own: Ranges of the method itself.
        method: Its name.
        number: Which draw, from 0; 0 changes nothing.
        seed: Seed of the tuning.
    """
    if number == 0:
        return {}
    drawn = {
        key: each.draw(rng.generator(seed, "tune", number, key)) for key, each in shared.items()
    }
    return drawn | {
        key: each.draw(rng.generator(seed, "tune", number, method, key))
        for key, each in own.items()
    }
