"""FedIIR, strategy: pulls clients' gradients of the classifier to their mean over all clients.

Out-of-Distribution Generalization of Federated Learning via Implicit Invariant Relationships, Guo
et al., ICML 2023. Authors' code: YamingGuo98/FedIIR, where formulas and constants are from; its
benchmark is PACS, Li, Yang, Song, Hospedales, arXiv 1710.03077.

Up: before training, the gradient of the last dense layer and the number of samples behind it; after
it, the whole model. Down: the whole model, twice, and the mean gradient. Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import nn

from fedlab.config.ranges import LogUniform, Range
from fedlab.errors import InputError
from fedlab.federation.record_layout import Form, Layout
from fedlab.federation.round_strategy import Ask
from fedlab.federation.weighted_mean import weighted_mean
from fedlab.models.anatomy import anatomy_of
from fedlab.models.head import find_head
from fedlab.records import Tensors, tensor_bytes
from fedlab.strategies.base import ServerSettings, Strategy
from fedlab.strategies.families.requirements import gives_outputs, why_no_outputs
from fedlab.strategies.parameters import StrategyParameters
from fedlab.targets.base import ONLY_CLASS

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


class FedIIRParameters(StrategyParameters):
    """FedIIR's parameters.

    The classifier is the last dense layer; the authors have one of three layers, except on
    RotatedMNIST. Gradients before training are means over a client's samples, read in evaluation
    mode without augmentation; theirs are means over batches.

    Attributes:
        penalty: γ, weight of the squared distance of gradients; 1e-2 for RotatedMNIST and 1e-3 for
            PACS in the authors' code.
        ema: What the mean gradient keeps of itself from round to round.
        corrected: Whether the mean gradient, which starts from zeros, is divided by 1 - ema^r in
            round r; it is not in the authors' code.
        weighting: Every client's model counts the same, as in the authors' code.
    """

    targets: ClassVar[frozenset[str]] = ONLY_CLASS  # the gradient of a softmax
    space: ClassVar[Mapping[str, Range]] = {"penalty": LogUniform(0.0001, 0.1)}
    name: str = "fediir"
    penalty: NonNegativeFloat = 0.001
    ema: float = Field(default=0.95, ge=0, lt=1)
    corrected: bool = False
    weighting: Literal["examples", "uniform"] = "uniform"

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses networks and losses whose gradient has another form."""
        head, learning = find_head(model), set(anatomy_of(model).learning)
        last = head is not None and gives_outputs(model)
        if not last or not set(head.names if head else ()) <= learning:
            why = "has a frozen one; let it learn" if last else why_no_outputs(model)
            raise InputError(
                "strategy.name: fediir compares gradients of a last dense layer that learns and "
                f"gives the outputs, and the model '{scenario.model.name}' {why}, or use one such "
                "as small_cnn or resnet10"
            )
        if scenario.training.loss.name != "cross_entropy":
            raise InputError(
                f"training.loss: fediir compares gradients of cross-entropy, and the loss is "
                f"'{scenario.training.loss.name}'; leave training.loss out"
            )


class FedIIR(Strategy[FedIIRParameters]):
    """ḡ ← ema ḡ + (1 - ema) mean g over the round's clients, by their samples; then FedAvg."""

    def __init__(
        self,
        model: nn.Module,
        parameters: FedIIRParameters | None = None,
        settings: ServerSettings | None = None,
    ) -> None:
        super().__init__(model, parameters, settings)
        head = find_head(model)
        self.head = head.names if head else ()

    def initialise(self, model: Tensors) -> None:
        """Starts with a mean gradient of zeros."""
        super().initialise(model)
        self.state["gradient"] = {name: torch.zeros_like(model[name]) for name in self.head}

    def before_training(self, server_round: int, ask: Ask) -> None:
        """Updates the mean gradient."""
        answers = ask("gradient", {"arrays": self.state["arrays"]})
        sent = [dict(answer.arrays["gradient"]) for answer in answers]
        counts = [float(answer.arrays["samples"]["count"]) for answer in answers]
        if not sum(counts):
            return
        fresh, ema = weighted_mean(sent, counts), self.parameters.ema
        self.state["gradient"] = {
            name: ema * old + (1 - ema) * fresh[name]
            for name, old in self.state["gradient"].items()
        }

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """The model and the mean gradient."""
        own = self.parameters
        scale = 1 / (1 - own.ema**server_round) if own.corrected else 1.0
        gradient = {name: scale * tensor for name, tensor in self.state["gradient"].items()}
        return {"arrays": self.state["arrays"], "gradient": gradient}

    def upload_bytes(self, down: int) -> int:
        """The model alone comes back from training."""
        return tensor_bytes(self.state["arrays"])

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The model, or a gradient and its samples."""
        if not question:
            return {"arrays": down["arrays"]}
        return {
            "gradient": {name: down["arrays"][name] for name in self.head},
            "samples": {"count": Form("int64", (), low=0, counts=True)},
        }
