"""FedDC, strategy: clients track their drift, and the mean model is corrected by it.

FedDC: Federated Learning with Non-IID Data via Local Drift Decoupling and Correction, Gao, Fu, Li,
Chen, Xu, Xu, CVPR 2022, arXiv 2203.11751.

Up: the whole model and the change of the client's mean gradient. Down: the whole model and the
clients' mean gradient. Stays: the client's drift and mean gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import PositiveFloat
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.federation.client_updates import ClientUpdate
from fedlab.records import Tensors
from fedlab.strategies.families.requirements import refuse_unless_plain_sgd
from fedlab.strategies.families.server_update import ServerStep, plus
from fedlab.strategies.families.shares import mean_examples, sizes_with
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedDCParameters(StrategyParameters):
    """FedDC's parameters.

    Gradients are commonly clipped to norm 10: set ``training.optimizer.clip_norm``.

    Attributes:
        weighting: Every client counts the same; where they count by their examples, the means of
            drifts and gradients are exact only if all clients take part.
        alpha: α, weight of the penalty that ties a client's model to the global one less its drift;
            commonly 0.01 or 0.1.
        by_share: Whether α and the mean gradient are divided by the client's share of the samples
            (1 for a client of mean size), by which its own gradient counts in that mean, as in the
            authors' code, but not by default here; the optimum is then that of all samples. The
            smaller a client, the longer its steps along these terms: where sizes differ much (8 to
            1, say), training may diverge. The server learns sizes from replies, so that shares are
            1 in the first round.
    """

    space: ClassVar[Mapping[str, Range]] = {"alpha": LogUniform(0.001, 0.1)}
    name: str = "feddc"
    weighting: Literal["examples", "uniform"] = "uniform"
    alpha: PositiveFloat = 0.01
    by_share: bool = False

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses local optimisers other than plain SGD."""
        refuse_unless_plain_sgd(scenario)


class FedDC(ServerStep[FedDCParameters]):
    """w ← mean_S θ_i + mean over all clients of their drifts (Algorithm 1 of the paper).

    A client's drift h_i grows by θ_i - w, so the mean of all drifts is known from the models.
    """

    needs_only_mean = True

    def initialise(self, model: Tensors) -> None:
        """Sets the model, and mean drift and gradient to zeros."""
        super().initialise(model)
        self.state |= {"drift": self.filled(0.0), "gradient": self.filled(0.0), "sizes": {}}

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """The model and the clients' mean gradient G."""
        return {"arrays": self.state["arrays"], "gradient": self.state["gradient"]}

    def config(self, server_round: int) -> dict[str, Any]:
        """Adds the mean number of samples of a client, with `by_share` and once it is known."""
        return {**super().config(server_round), **mean_examples(self.state["sizes"])}

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Updates the means over all clients, and adds the drift to the mean model."""
        sizes = sizes_with(self.state["sizes"], updates) if self.parameters.by_share else {}
        average, share = self.weighted_mean(updates, "arrays"), self.participation(updates)
        drift = plus(self.state["drift"], self.change(average), share)
        gradient = plus(self.state["gradient"], self.weighted_mean(updates, "gradient"), share)
        model = {**average, **plus(average, drift)}
        self.state = {"arrays": model, "drift": drift, "gradient": gradient, "sizes": sizes}
