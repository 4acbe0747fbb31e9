"""FedLabel, strategy: averages updates, weighted by the samples that contributed to them.

Local or Global: Selective Knowledge Assimilation for Federated Learning with Limited Labels, Cho,
Joshi, Dimitriadis, ICCV 2023, arXiv 2307.08809; authors' code in microsoft/msrflute.

Up: the model, moved by both phases (with ``aggregation: flute`` the models of both phases), and the
number of samples used. Down: the whole model. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn

from fedlab.config.ranges import LogUniform, Range, Uniform
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import METRICS, Layout
from fedlab.federation.weighted_mean import weighted_mean
from fedlab.strategies.base import ServerSettings, Strategy
from fedlab.strategies.families.requirements import refuse_if_all_is_labelled
from fedlab.strategies.parameters import ClientsCount, StrategyParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment

NEVER = 2.0
"""A threshold that no probability passes."""


class FedLabelParameters(StrategyParameters):
    """FedLabel's parameters.

    Attributes:
        threshold: β, the probability above which a pseudo-label is used; the paper's best values
            are 0.3 to 0.5.
        consistency: λ₀, the weight of agreeing with the model that did not label; the paper tries
            0, 0.5, 1 and 2 across devices, the code takes 0.05.
        confidence: The measure by which the labelling model is chosen: the ``variance`` of its
            scores over classes, or their ``entropy``.
        scores: What the variance is taken of: ``logits`` (paper) or ``probabilities`` (code).
        labeller: ``selective``, or always the ``local`` or the ``global`` model (table 1).
        divergence: Direction of the consistency term: ``student_teacher``, the order in which the
            paper writes it, or ``teacher_student`` (code).
        aggregation: ``paper`` adds what both phases learnt and weighs by the samples used;
            ``flute`` is the code's mean of the uniform mean of the labelled phase's models and the
            mean of the others, weighted by pseudo-labels.
        unlabelled_epochs: Passes over the unlabelled samples. The authors' code counts steps
            instead: 30 on single labelled batches, then 10 on unlabelled ones.
        unlabelled_steps: Steps instead of passes, or None.
        burn_in: First rounds in which nothing is pseudo-labelled; the code has 50 of 2000.
        temperature: What logits of pseudo-labels and of the consistency term are divided by; 1 in
            the code, which has it as a parameter.
        proximal: Weight of the distance of the second phase's model from the received one: the mean
            square of each tensor's difference, summed over tensors. The code has it with 10; it is
            not in the paper.
    """

    targets: ClassVar[frozenset[str]] = ONLY_CLASS  # pseudo-labels are classes of a softmax
    space: ClassVar[Mapping[str, Range]] = {
        "threshold": Uniform(0.0, 0.9),
        "consistency": LogUniform(0.1, 10.0),
    }
    name: str = "fedlabel"
    threshold: float = Field(default=0.3, ge=0, lt=1)
    consistency: NonNegativeFloat = 1.0
    confidence: Literal["variance", "entropy"] = "variance"
    scores: Literal["logits", "probabilities"] = "logits"
    labeller: Literal["selective", "local", "global"] = "selective"
    divergence: Literal["student_teacher", "teacher_student"] = "student_teacher"
    aggregation: Literal["paper", "flute"] = "paper"
    unlabelled_epochs: PositiveInt = 1
    unlabelled_steps: PositiveInt | None = None
    burn_in: NonNegativeInt = 0
    temperature: PositiveFloat = 1.0
    proximal: NonNegativeFloat = 0.0

    def without_effect(self) -> Mapping[str, str]:
        """What one choice takes from another."""
        idle = {}
        if self.labeller != "selective":
            idle |= dict.fromkeys(("confidence", "scores"), f"labeller is '{self.labeller}'")
        if self.confidence == "entropy":
            idle["scores"] = "confidence is 'entropy', which is one of probabilities"
        if self.consistency == 0:
            idle["divergence"] = "consistency is 0"
        if self.unlabelled_steps is not None:
            idle["unlabelled_epochs"] = "unlabelled_steps is instead of passes"
        return idle

    def most_examples(self, scenario: Experiment, train: int, phases: int, classes: int) -> int:
        """An upper bound in which samples count as often as they are read."""
        training, size = scenario.training, scenario.training.batch_size
        batch = train if size == "full" else min(size, train)
        labelled, unlabelled = (
            epochs * train if steps is None else steps * batch
            for epochs, steps in (
                (training.local_epochs, training.local_steps),
                (self.unlabelled_epochs, self.unlabelled_steps),
            )
        )
        return labelled + unlabelled

    @property
    def clients_count(self) -> ClientsCount:
        """`weighting`, or ``rule`` for the authors' code, which weighs its phases differently."""
        return "rule" if self.aggregation == "flute" else self.weighting

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses samples that all have labels."""
        refuse_if_all_is_labelled(scenario)


class FedLabel(Strategy[FedLabelParameters]):
    """w ← w + Σ (r_k / Σ r_j) Δw_k, r_k the samples that client k used."""

    metrics = METRICS | {"pseudo-labels", "pseudo-labels-right"}

    def __init__(
        self,
        model: nn.Module,
        parameters: FedLabelParameters | None = None,
        settings: ServerSettings | None = None,
    ) -> None:
        super().__init__(model, parameters, settings)
        self.needs_only_mean = self._parameters.aggregation == "paper"

    @property
    def _parameters(self) -> FedLabelParameters:
        return self.parameters

    def config(self, server_round: int) -> dict[str, Any]:
        """Sends the round's threshold."""
        own = self._parameters
        threshold = own.threshold if server_round > own.burn_in else NEVER
        return {**super().config(server_round), "threshold": threshold}

    def upload_bytes(self, down: int) -> int:
        """One model, or one of each phase."""
        return down if self._parameters.aggregation == "paper" else 2 * down

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """One model, or one of each phase."""
        model = down["arrays"]
        both = {"unlabelled": model} if self._parameters.aggregation == "flute" else {}
        return {"arrays": model, **both}

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """The mean of the updates, or of the means of both phases."""
        if self._parameters.aggregation == "paper":
            return super().aggregate(server_round, updates)
        kept = self.anatomy.kept_whole
        models = [dict(update.arrays["arrays"]) for update in updates]
        labelled = weighted_mean(models, [1.0] * len(updates), kept)
        counts = [max(1.0, float(update.metrics["pseudo-labels"])) for update in updates]
        taught = weighted_mean([dict(u.arrays["unlabelled"]) for u in updates], counts, kept)
        self.state["arrays"] = weighted_mean([labelled, taught], [1.0, 1.0], kept)
