"""Which clients and domains the last round of a scenario tests, known before the first one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
from flwr.serverapp import Grid
from torch import nn

from fedlab.data.remarks import listed
from fedlab.data.samples import FederatedData
from fedlab.federation.message_rounds import TESTERS
from fedlab.partition.partition import Partition
from fedlab.scenario import Scenario
from fedlab.server_app import build_strategy

if TYPE_CHECKING:
    from fedlab.strategies.base import Strategy

REMEDY = "evaluation.fraction=1"


@dataclass(frozen=True)
class LastTest:
    """What the last round tests.

    Attributes:
        scenario: The experiment.
        clients: The clients that test their own model.
        domains: The domains that they, or the global model, are tested on.
        untested: The other domains that clients or the server could be tested on.
        has_model: Whether the method has a global model to test.
        held_out: Whether clients that never train are tested, too.
    """

    scenario: Scenario
    clients: tuple[int, ...]
    domains: tuple[str, ...]
    untested: tuple[str, ...]
    has_model: bool
    held_out: bool = False

    @property
    def why_nothing(self) -> str:
        """Why nothing is tested, as a clause that begins with the key; empty if something is."""
        if self.clients or self.domains:
            return ""
        if not self.scenario.evaluation.domains:
            return "evaluation.fraction: 0 and evaluation.domains=false test nothing"
        return (
            f"evaluation.fraction: 0 lets no client test, and {self.scenario.strategy.name} has no "
            "global model to test on the domains"
        )

    @property
    def remark(self) -> str:
        """A remark on what a reader of the results would miss; empty if nothing is missing."""
        if why := self.why_nothing:
            but = "its model" + " and the tests of held-out clients" * self.held_out
            return f"{why}, so that the run has no result but {but}; set {REMEDY} to have one"
        spec = self.scenario.evaluation
        if not self.untested or spec.select == "validation" or spec.patience is not None:
            return ""  # which round is the last, or the tested one, is not known yet
        remedies = [REMEDY] * (spec.fraction < 1) + ["evaluation.domains=true"] * self._would_help
        if not remedies:
            return ""  # an unseen domain, and no global model: comparisons say so
        return (
            f"evaluation: round {self.scenario.rounds}, the last, tests nothing on "
            f"{listed(self.untested)}, so that no mean over domains includes "
            f"{'them' if len(self.untested) > 1 else 'it'}; set {' or '.join(remedies)}"
        )

    @property
    def _would_help(self) -> bool:
        return self.has_model and not self.scenario.evaluation.domains


class _Nodes:
    """A grid of which the ids of its nodes alone are known."""

    def __init__(self, clients: int) -> None:
        self.clients = clients

    def get_node_ids(self) -> Sequence[int]:
        return range(self.clients)


def last_test(
    scenario: Scenario,
    data: FederatedData,
    partition: Partition,
    model: nn.Module,
    domains: Sequence[str],
) -> LastTest:
    """What the last round tests.

    Args:
        scenario: The experiment, prepared.
        data: Its samples.
        partition: Whose samples are whose.
        model: The initial network.
        domains: Domains on which a global model is tested in full.
    """
    held_out = partition.held_out.tolist()
    strategy = build_strategy(scenario, model, None, held_out)
    has_model = strategy.has_global_model or scenario.strategy.tests_both
    clients = testers(strategy, scenario, len(partition))
    found = set(domains) if has_model else set()
    owner = np.repeat(np.arange(len(partition)), np.diff(partition.test_offsets))
    own = data.test.domains[partition.test[np.isin(owner, clients)]]
    found |= {data.domain_names[index] for index in np.unique(own).tolist()}
    names = [name for name in data.domain_names if name not in found]
    return LastTest(scenario, tuple(clients), tuple(found), tuple(names), has_model, bool(held_out))


def testers(strategy: Strategy, scenario: Scenario, clients: int) -> list[int]:
    """The clients that test in the last round, as the round loop draws them."""
    grid = cast(Grid, _Nodes(clients))
    return strategy.cohort(scenario.rounds, grid, TESTERS, scenario.evaluation.fraction)
