"""How a comparison's settings were chosen by a tuning."""

from __future__ import annotations

from dataclasses import dataclass

ORACLE = "oracle"

CHOSEN_BY = {
    "validation": "validation",
    "leave_one_domain_out": "the domain that was left out",
    ORACLE: "test data",
}
"""What a way of choosing looks at, by its name."""


@dataclass(frozen=True)
class Tuned:
    """How the settings of a comparison were chosen.

    Attributes:
        draws: Settings of each method that were tried.
        select: By what one was chosen: a key of `CHOSEN_BY`.
        metric: The metric that was best.
    """

    draws: int
    select: str
    metric: str

    @property
    def is_oracle(self) -> bool:
        """Whether settings were chosen on test data."""
        return self.select == ORACLE

    @property
    def note(self) -> str:
        """The note below the table."""
        chosen = (
            f"the settings of each method are the best of {self.draws} draw"
            f"{'s' * (self.draws > 1)} by {self.metric} on {CHOSEN_BY[self.select]}"
        )
        if self.is_oracle:
            return f"oracle: {chosen}, which no choice may look at; these numbers are no result."
        return f"tuned: {chosen}."
