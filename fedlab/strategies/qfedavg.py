"""q-FedAvg, strategy: weights clients by their losses, for a fairer model (q-FFL).

Fair Resource Allocation in Federated Learning, Li, Sanjabi, Beirami, Smith, ICLR 2020, arXiv
1905.10497. Authors' code: litian96/fair_flearn.

Up: the change of the model times a power of the client's loss, the number that scales it, and
untrained tensors (running statistics). Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from fedlab.config.ranges import Range, Values
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Form, Layout
from fedlab.strategies.families.server_update import ServerStep, plus
from fedlab.strategies.parameters import ClientsCount, StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class QFedAvgParameters(StrategyParameters):
    """q-FedAvg's parameters.

    Attributes:
        q: The larger, the more equal the clients' losses; 0 is FedAvg. The larger, the shorter the
            steps, too. At most 100: the power of a first loss of 2.3, that of ten classes, leaves
            float32 at q = 107.
        weighting: Every client counts the same in the sum over clients of F^(q+1), as a cohort
            drawn uniformly has it in the authors' code; ``examples`` weighs its terms by samples.
    """

    space: ClassVar[Mapping[str, Range]] = {"q": Values((0.001, 0.1, 1.0, 5.0))}
    name: str = "qfedavg"
    q: float = Field(default=1.0, ge=0, le=100)
    weighting: Literal["examples", "uniform"] = "uniform"

    @property
    def clients_count(self) -> ClientsCount:
        """As `weighting` says with q = 0; otherwise by their losses."""
        return "rule" if self.q else self.weighting

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses adaptive local optimisers."""
        optimizer = scenario.training.optimizer.name
        if optimizer != "sgd":
            raise InputError(
                "training.optimizer.name: qfedavg takes the clients' learning rate for the inverse "
                f"of a Lipschitz constant, and steps of '{optimizer}' have another length; use "
                "training.optimizer.name=sgd"
            )


class QFedAvg(ServerStep[QFedAvgParameters]):
    """w ← w - Σ F_k^q Δ_k / Σ h_k (Algorithm 2 of the paper)."""

    needs_only_mean = True

    def upload_bytes(self, down: int) -> int:
        """`down` and h_k, one float64."""
        return down + torch.float64.itemsize

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The weighted change, h_k, and tensors that are not trained."""
        return self.layout_of_step(down, "change", {"scale": {"h": Form("float64", (), low=0.0)}})

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Steps along the clients' changes; where no client has samples there are none."""
        scale = float(self.weighted_mean(updates, "scale")["h"])
        if scale <= 0:
            return
        change = self.weighted_mean(updates, "change")
        model = plus(self.state["arrays"], change, -1 / scale)
        self.state = {"arrays": self.with_untrained(model, updates)}
