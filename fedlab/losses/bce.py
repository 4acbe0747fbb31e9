"""Binary cross-entropy over labels, balanced and asymmetric.

Logit adjustment: Long-tail Learning via Logit Adjustment, Menon, Jayasumana, Rawat, Jain, Veit,
Kumar, ICLR 2021, arXiv 2007.07314, for each label by itself. Asymmetric loss: Asymmetric Loss For
Multi-Label Classification, Ridnik, Ben-Baruch, Zamir, Noy, Friedman, Protter, Zelnik-Manor, ICCV
2021, arXiv 2009.14119, equations 4 to 7.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, model_validator
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from fedlab.accelerator import exact
from fedlab.errors import InputError
from fedlab.losses.base import ClientStats, Loss
from fedlab.records import Tensors
from fedlab.targets.base import MULTI_LABEL


class BCE(Loss):
    """The mean over samples and labels of -y log σ(z) - (1 - y) log(1 - σ(z)).

    With ``prior``, z is the output plus τ times the log-odds of the label among a client's
    samples, or of the shares given: outputs then do not depend on them, and clients' models can be
    averaged. Tests use the outputs without correction.

    With ``gamma_pos``, ``gamma_neg`` or ``clip`` it is the asymmetric loss: terms of labels that
    hold are weighted by (1 - p)^γ₊, of others by q^γ₋, where p = σ(z) and q = max(p - clip, 0)
    takes the place of p in the others' term.

    Attributes:
        prior: ``none``; ``client``, the shares among the client's labelled samples; or a share of
            the samples for each label, above 0 and below 1.
        tau: τ of the prior.
        pos_weight: Factor on the terms of labels that hold: one number, or one for each label.
        gamma_pos: γ₊ of the asymmetric loss; 0 in the paper's experiments.
        gamma_neg: γ₋; 4 there.
        clip: Shift of the probability of labels that do not hold; 0.05 there.
    """

    name: str = "bce"
    targets: ClassVar[frozenset[str]] = frozenset({MULTI_LABEL})
    prior: Literal["none", "client"] | tuple[float, ...] = "none"
    tau: PositiveFloat = 1.0
    pos_weight: PositiveFloat | tuple[PositiveFloat, ...] = 1.0
    gamma_pos: float = Field(default=0.0, ge=0)
    gamma_neg: float = Field(default=0.0, ge=0)
    clip: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _says_nothing_in_vain(self) -> BCE:
        if isinstance(self.prior, tuple) and not all(0 < each < 1 for each in self.prior):
            raise ValueError("prior has to be shares above 0 and below 1, one for each label")
        if self.prior == "none" and self.tau != 1:
            raise ValueError(
                f"tau {self.tau:g} is a factor on the prior, and there is none; set it"
            )
        return self

    @property
    def personal(self) -> bool:  # type: ignore[override]
        """Whether the prior is the client's."""
        return self.prior == "client"

    def start(self, stats: ClientStats, server_round: int, rounds: int) -> Tensors:
        """τ log-odds of the labels and the weights of those that hold, each of shape (labels,).

        A client's shares are those of its samples and one more that has each label by half, so
        that a label that it lacks has a finite log-odds.

        Raises:
            InputError: If shares or weights are of another number of labels.
        """
        counts = stats.class_counts
        kept: Tensors = {}
        for key in ("prior", "pos_weight"):
            given: tuple[float, ...] | float | str = getattr(self, key)
            if isinstance(given, tuple) and len(given) != len(counts):
                raise InputError(
                    f"training.loss.{key} has {len(given)} numbers, and there are {len(counts)} "
                    "labels; give one for each"
                )
        if self.prior != "none":
            if isinstance(self.prior, tuple):
                share = torch.tensor(self.prior, dtype=torch.float64)
            else:
                labelled = stats.samples if stats.labelled is None else stats.labelled
                share = (exact(counts).double() + 0.5) / (labelled + 1)
            kept["prior"] = (self.tau * share.logit()).float().to(counts.device)
        if self.pos_weight != 1:
            weights = torch.tensor(self.pos_weight, device=counts.device)
            kept["weights"] = weights.expand(len(counts)).clone()
        return kept

    def value(
        self, outputs: torch.Tensor, labels: torch.Tensor, indices: torch.Tensor, kept: Tensors
    ) -> torch.Tensor:
        """The mean over the batch and the labels."""
        if "prior" in kept:
            outputs = outputs + kept["prior"]
        weights = kept.get("weights")
        if not (self.gamma_pos or self.gamma_neg or self.clip):
            return binary_cross_entropy_with_logits(outputs, labels, pos_weight=weights)
        chance = outputs.sigmoid()
        holds = -logsigmoid(outputs) * (1 - chance) ** self.gamma_pos
        if self.clip:
            shifted = (chance - self.clip).clamp(min=0)
            fails = -torch.log1p(-shifted)
        else:
            shifted, fails = chance, -logsigmoid(-outputs)
        fails = fails * shifted**self.gamma_neg
        weighted = holds if weights is None else holds * weights
        return (labels * weighted + (1 - labels) * fails).mean()
