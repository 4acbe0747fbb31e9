"""FedHEAL, strategy: drops inconsistent changes, and weights clients by their distance.

Fair Federated Learning under Domain Skew with Local Consistency and Domain Diversity, Chen, Huang,
Ye, CVPR 2024, arXiv 2405.16585. Authors' code: yuhangchen0/FedHEAL. It goes in front of any `base`
method that averages models.

Up: what the base sends, its parameters as they came down where a client's change is inconsistent,
and one bit for each parameter that says where. Down: what the base sends. Stays: how often a client
has changed each parameter in either direction, and what the base keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from fedlab.config.ranges import Range, Values
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Form, Layout
from fedlab.federation.weighted_mean import weighted_mean
from fedlab.models.bits import unpacked
from fedlab.records import Tensors
from fedlab.strategies.base import ServerSettings, Strategy
from fedlab.strategies.families.client_table import client_table, column_of
from fedlab.strategies.families.in_front import InFront, InFrontParameters
from fedlab.strategies.families.requirements import refuse_base_with_a_base
from fedlab.strategies.parameters import ClientsCount

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedHEALParameters(InFrontParameters):
    """FedHEAL's parameters; those of training are the base's.

    The authors' code also masks running statistics and step counters; here these are averaged, and
    only parameters are masked. It counts rounds where a client was not asked as rounds in which it
    did not change its direction; here a client's own rounds count.

    Attributes:
        consistent: Whether clients leave out changes of parameters that they have rarely changed in
            that direction.
        tau: τ: the share of a client's earlier rounds with the direction of this one has to be
            larger. In its first round nothing is left out, and no change counts as positive.
        fair: Whether clients are weighed by the lengths of their changes, which grow the weights of
            those that the model fits least, in place of ``base.weighting``.
        beta: β, what a round's lengths count in the running mean by which weights grow. Weights are
            not divided by their sum from round to round, as in the authors' code, so that a round
            changes their proportions less and less.
    """

    space: ClassVar[Mapping[str, Range]] = {
        "tau": Values((0.1, 0.3, 0.5)),
        "beta": Values((0.1, 0.4, 0.8)),
    }
    name: str = "fedheal"
    consistent: bool = True
    tau: float = Field(default=0.3, ge=0, lt=1)
    fair: bool = True
    beta: float = Field(default=0.4, gt=0, le=1)

    def without_effect(self) -> Mapping[str, str]:
        """The parameter of the half that is switched off."""
        idle = {} if self.consistent else {"tau": "consistent is false"}
        return idle if self.fair else idle | {"beta": "fair is false"}

    @model_validator(mode="after")
    def _leaves_weighting_to_the_base(self) -> FedHEALParameters:
        if self.weighting != "examples":
            raise ValueError(
                f"weighting '{self.weighting}' is that of the base; write "
                "strategy.base.weighting, with strategy.fair=false"
            )
        if not (self.consistent or self.fair):
            raise ValueError("fair and consistent are both false, which leaves the base alone")
        return self

    @property
    def clients_count(self) -> ClientsCount:
        """By their distance; without `fair` by the base's rule."""
        return "rule" if self.fair else super().clients_count

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses bases that do not average the models that clients send.

        Raises:
            InputError: With the reason and the remedy.
        """
        refuse_base_with_a_base(self.base)
        half, remedy = self.base_strategy, "choose a base such as fedavg, fedprox or scaffold"
        if not half.takes_changed_updates:
            raise InputError(
                f"strategy.base: '{self.base.name}' looks at replies by itself, so that nothing "
                f"can be left out of them; {remedy}"
            )
        if not half.asks_for_means or not _sent(half(model, self.base)).get("arrays"):
            raise InputError(
                f"strategy.base: '{self.base.name}' does not average the models of its clients; "
                f"{remedy}"
            )
        if self.base.clients_count == "rule":
            by_weight = half.overrides("weight")  # of single clients, which this mean can take
            if self.fair or not by_weight:
                unfair = ", or set strategy.fair=false" * by_weight
                raise InputError(
                    f"strategy.base: '{self.base.name}' weighs clients by a rule of its own, and "
                    f"the mean that fedheal takes would leave it out; {remedy}{unfair}"
                )
        usual = type(self.base).model_fields["weighting"].default
        if self.fair and self.base.weighting != usual:
            raise InputError(
                f"strategy.base.weighting: '{self.base.weighting}' has no effect where fedheal "
                "weighs clients itself; leave it out, or set strategy.fair=false"
            )
        super().check(scenario, model)


class FedHEAL(InFront):
    """The base, with a mean of models over the clients that have changed a parameter."""

    Parameters = FedHEALParameters
    needs_only_mean = False
    asks_for_means = False

    def __init__(
        self,
        model: nn.Module,
        parameters: FedHEALParameters,
        settings: ServerSettings | None = None,
    ) -> None:
        super().__init__(model, parameters, settings)
        self.heal = parameters
        self._weights: dict[int, float] = {}
        learning = set(self.anatomy.learning)
        self.masked = tuple(name for name in self.shared if name in learning)

    def upload_bytes(self, down: int) -> int:
        """The base's bytes, and a bit for each parameter."""
        return super().upload_bytes(down) + self._mask_bytes

    @property
    def _mask_bytes(self) -> int:
        entries = sum(self.model.get_parameter(name).numel() for name in self.masked)
        return -(-entries // 8) if self.heal.consistent else 0

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The base's layout, and the bits."""
        plain = super().sent_up(down, question)
        if question or not self.heal.consistent:
            return plain
        return {**plain, "mask": {"bits": Form("uint8", (self._mask_bytes,))}}

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """The base's `aggregate` with this method's mean of models."""
        fairness = self._renewed_fairness(updates) if self.heal.fair else None
        super().aggregate(server_round, updates)
        if fairness is not None:
            self.state["fairness"] = fairness

    def weighted_mean(self, updates: Sequence[ClientUpdate], record: str) -> Tensors:
        """Of the models, that over the clients whose change of a parameter is consistent.

        A parameter that no client has changed consistently stays as it is.
        """
        if record != "arrays":
            return super().weighted_mean(updates, record)
        weights = [self._weights[u.client] if self.heal.fair else self.weight(u) for u in updates]
        sent = [dict(update.arrays[record]) for update in updates]
        mean = weighted_mean(sent, weights, self.anatomy.kept_whole)
        if not self.heal.consistent:
            return mean
        like = {name: mean[name] for name in self.masked}
        masks = [unpacked(update.arrays["mask"]["bits"], like) for update in updates]
        for name, value in like.items():
            kept = torch.zeros_like(value, dtype=torch.float64)
            total = torch.zeros_like(kept)
            for weight, tensors, mask in zip(weights, sent, masks, strict=True):
                kept += weight * mask[name]
                total += weight * mask[name] * tensors[name].double()
            change = total / kept.clamp(min=torch.finfo(torch.float64).tiny)
            before = self._down[name]
            mean[name] = torch.where(kept > 0, change.to(value.dtype), before)
        return mean

    @property
    def _down(self) -> Tensors:
        """The broadcast model, which need not be the tested one (as in AFL)."""
        return super().broadcast(1)["arrays"]

    def _renewed_fairness(self, updates: Sequence[ClientUpdate]) -> Tensors:
        """The clients' weights after a round, and those of its clients for the mean.

        Δp_k ← (1 - β) Δp_k + β d_k / Σ_j d_j, p_k ← p_k + Δp_k, a_k = p_k / Σ_j p_j; sums are over
        the round's clients, d_k is the length of a client's change. p_k starts from one over the
        number of clients.
        """
        known = self.state.get("fairness", {})
        p, step = column_of(known, "p"), column_of(known, "step")
        counting = [update for update in updates if self.weight(update) > 0]
        lengths = [self.length(update.arrays["arrays"]) for update in counting]
        total, beta, start = sum(lengths), self.heal.beta, 1 / max(self.population, 1)
        for update, length in zip(counting, lengths, strict=True):
            k = update.client
            share = length / total if total else 1 / len(counting)
            step[k] = (1 - beta) * step.get(k, 0.0) + beta * share
            p[k] = p.get(k, start) + step[k]
        self._weights = {update.client: 0.0 for update in updates}
        whole = sum(p[update.client] for update in counting)
        self._weights |= {u.client: p[u.client] / whole for u in counting}
        return client_table(p=p, step=step)

    def length(self, sent: Mapping[str, Tensor]) -> float:
        """d_k: the sum over parameters of the Euclidean lengths of a client's changes."""
        model = self._down
        return sum(
            float((model[name].double() - sent[name].double()).norm()) for name in self.masked
        )


def _sent(strategy: Strategy) -> Layout:
    """The layout of what a strategy's clients send."""
    strategy.initialise(dict(strategy.model.state_dict()))
    down = strategy.broadcast(1).items()
    return strategy.sent_up(
        {record: {name: Form.of(t) for name, t in tensors.items()} for record, tensors in down}
    )
