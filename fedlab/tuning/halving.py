"""Successive halving: only the better half of the draws continues after 1/4 and 1/2 of the rounds.

Non-stochastic Best Arm Identification and Hyperparameter Optimization, Jamieson, Talwalkar, AISTATS
2016, arXiv 1502.07943. No draw is given up before a quarter of the rounds, since methods for skewed
data often start late; every method keeps as many draws as any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from fedlab.errors import InputError
from fedlab.row import Split
from fedlab.scenario import Scenario


def rungs(rounds: int) -> list[int]:
    """The rounds after which draws are stopped, and the last round."""
    return sorted({math.ceil(rounds / 4), math.ceil(rounds / 2), rounds})


def refuse_unmeasured(scenario: Scenario, split: Split) -> None:
    """Refuses halving where draws have no score at its rounds.

    Args:
        scenario: Whose runs are halved.
        split: Of which samples scores are.

    Raises:
        InputError: If runs are not tested on these before the first draws are given up.
    """
    spec, first = scenario.evaluation, rungs(scenario.rounds)[0]
    if split not in spec.splits:
        raise InputError(
            f"halving: draws are given up after round {first} by their {split}, and "
            f"evaluation.select={spec.select} tests at the end alone; use "
            "evaluation.select=last, or leave halving out"
        )
    if spec.every > first and first < scenario.rounds:
        raise InputError(
            f"halving: draws are given up after round {first}, and evaluation.every={spec.every} "
            f"tests none of them until then; use evaluation.every={first} or less, or leave "
            "halving out"
        )


def better_half(scores: Mapping[int, float]) -> list[int]:
    """The draws that continue: half of them, rounded up, by score, the highest first.

    Args:
        scores: A score for each draw that is left; NaN is worse than any number.
    """
    ranked = sorted(scores, key=lambda n: (math.isnan(scores[n]), -scores[n], n))
    return sorted(ranked[: math.ceil(len(ranked) / 2)])
