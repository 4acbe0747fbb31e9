"""FDSE, strategy: layers in two steps, of which the second erases a domain's skew.

Federated Learning with Domain Shift Eraser, Wang et al., CVPR 2025, arXiv 2503.13063. What is said
here of the authors' code is read in copies of it by third parties.

Up: the whole network without the running statistics before the erasers. Down: the same, with the
client's own erasers. Stays: the running statistics before the erasers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from fedlab.config.ranges import LogUniform, Range
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.least_norm import least_norm_weights
from fedlab.federation.record_layout import Form, Layout
from fedlab.models.anatomy import anatomy_of
from fedlab.models.norms import NormPolicy
from fedlab.models.skew_eraser import (
    PERSONAL,
    decompose,
    decomposed_layers,
    personal_parameters,
)
from fedlab.records import Tensors
from fedlab.strategies.families.requirements import refuse_unclear_outputs
from fedlab.strategies.families.server_update import ServerStep
from fedlab.strategies.parameters import ClientsCount, StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FDSEParameters(StrategyParameters):
    """FDSE's parameters.

    From the second round on, clients pull the statistics of what the shared normalisation of each
    layer reads towards its running statistics as they came down. In the authors' code, one running
    mean over all layers in turn takes the place of a batch's own statistics; here these are taken.

    Attributes:
        ratio: G: 1/G of a layer's channels are computed by the shared extractor, the others by the
            eraser from these.
        lam: λ, weight of that term.
        beta: Layer l of L counts in it by softmax(β l); deeper ones count more. 0.1 is the default
            of the authors' code; notes on the paper by others have 0.001.
        distance: ``kl`` is the divergence of the batch's normal distribution from the running one,
            the mean over channels, after the form of the authors' code; ``squared`` sums
            (μ - μ_l)² + (σ - σ_l)² over channels, as descriptions of the paper have it.
        tau: τ, the temperature of the weights by which a client's erasers are mixed with those of
            clients with similar ones.
        weighting: How clients count in the mean length of a step and in the mean running
            statistics; the direction of a step follows from a rule in any case.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "lam": LogUniform(0.001, 0.1),
        "tau": LogUniform(0.05, 5.0),
    }
    name: str = "fdse"
    ratio: int = Field(default=2, ge=2)
    lam: NonNegativeFloat = 0.01
    beta: float = 0.1
    distance: Literal["kl", "squared"] = "kl"
    tau: PositiveFloat = 0.5
    weighting: Literal["examples", "uniform"] = "uniform"

    @property
    def clients_count(self) -> ClientsCount:
        """``rule``: by directions."""
        return "rule"

    @property
    def tests_more_than_the_model(self) -> bool:
        """The client's erasers, which the server has mixed."""
        return True

    def adapt(self, model: nn.Module) -> nn.Module:
        """Decomposes the layers before the head."""
        return decompose(model, self.ratio)

    def local_parameter_names(self, model: nn.Module, policy: NormPolicy) -> tuple[str, ...]:
        """The tensors of erasers and of the normalisation before them."""
        own = [f"{path}.{part}." for path in decomposed_layers(model) for part in PERSONAL]
        names = (*dict(model.named_parameters()), *dict(model.named_buffers()))
        return anatomy_of(model).among(name for name in names if name.startswith(tuple(own)))

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses networks without layers to decompose, and what is said of layers that go.

        Raises:
            InputError: With the reason and the remedy.
        """
        spec = scenario.model
        for key in ("weights", "freeze"):
            if (said := spec.said(key)) != "none":
                raise InputError(
                    f"model.{key}: fdse puts new layers in the place of those of which '{said}' is "
                    f"said; leave model.{key} out, or choose another strategy"
                )
        if spec.norm != "batch":
            raise InputError(
                "model.norm: fdse's layers contain their own batch normalisation, and "
                f"'{spec.norm}' would stand behind it; leave model.norm out, or choose another "
                "strategy"
            )
        refuse_unclear_outputs(scenario, model, "decomposes all but")
        if not decomposed_layers(model):
            raise InputError(
                "strategy.name: fdse decomposes convolutions and dense layers before the head, and "
                f"the model '{spec.name}' has none; choose a model such as small_cnn or mlp"
            )


class FDSE(ServerStep[FDSEParameters]):
    """A conflict-free step for shared tensors, and erasers mixed for each client."""

    needs_only_mean = False
    dp_compatible = False
    asks_for_means = False

    def personal(self) -> Tensors:
        """The initial erasers, with the normalisation before them."""
        own = dict(self.model.named_parameters())
        return {name: own[name].detach() for name in personal_parameters(self.model)}

    def sent_to(self, client: int) -> dict[str, Tensors]:
        """The client's erasers, as mixed after its last round of training."""
        return {"erasers": self.state.get(_record(client)) or self.personal()}

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The network, and the erasers."""
        erasers = {name: Form.of(tensor) for name, tensor in self.personal().items()}
        return {"arrays": down["arrays"], "erasers": erasers}

    def weight(self, update: ClientUpdate) -> float:
        """As `weighting` says; 0 for a client without samples."""
        return super().weight(update) * (update.examples > 0)

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """A step for each shared tensor, and a mixture of each personal one for each client."""
        counted = [update for update in updates if self.weight(update) > 0]
        model, mean = self.state["arrays"], self.weighted_mean(counted, "arrays")
        weights = torch.tensor([self.weight(update) for update in counted], dtype=torch.float64)
        for name in self.trainable:
            sent = torch.stack([update.arrays["arrays"][name] for update in counted])
            step = agreed_step(sent.double() - model[name].double(), weights / weights.sum())
            mean[name] = (model[name].double() + step).to(model[name].dtype)
        self.state["arrays"] = mean
        mixed: list[Tensors] = [{} for _ in counted]
        for name in self.personal():
            sent = torch.stack([update.arrays["erasers"][name] for update in counted])
            for own, tensor in zip(mixed, mix(sent, self.parameters.tau), strict=True):
                own[name] = tensor
        self.state |= {_record(u.client): own for u, own in zip(counted, mixed, strict=True)}


def agreed_step(changes: Tensor, weights: Tensor) -> Tensor:
    """The mean length of some changes, times the shortest mean of their directions.

    Args:
        changes: Shape (clients, ...), float64. Changes of length 0 have no direction.
        weights: Those of the mean length, shape (clients,), of sum 1.
    """
    flat = changes.flatten(start_dim=1)
    lengths = flat.norm(dim=1)
    moved = lengths > 0
    if not moved.any():
        return torch.zeros_like(changes[0])
    directions = flat[moved] / lengths[moved, None]
    shortest = least_norm_weights(directions) @ directions
    return ((weights * lengths).sum() * shortest).view_as(changes[0])


def mix(sent: Tensor, tau: float) -> Tensor:
    """Each client's mean of all clients' tensors, by softmax of their cosines over τ.

    Args:
        sent: Shape (clients, ...). The cosine with a tensor of zeros is 0.
        tau: τ.

    Returns:
        The same shape.
    """
    flat = sent.double().flatten(start_dim=1)
    cosines = cosine_similarity(flat[:, None], flat[None], dim=2)
    weights = torch.softmax(cosines / tau, dim=1)
    return (weights @ flat).to(sent.dtype).view_as(sent)


def _record(client: int) -> str:
    """The name of the state's record with a client's erasers."""
    return f"erasers-{client}"
