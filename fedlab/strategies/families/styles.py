"""The base of strategies that exchange image styles of clients before the first round."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import nn
from typing_extensions import TypeVar

from fedlab.errors import InputError
from fedlab.features.base import NoExtractor
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Form, Free, Layout
from fedlab.federation.round_strategy import Ask
from fedlab.models.first_stage import find_first_stage
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.requirements import runs_on
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment

log = logging.getLogger("fedlab")

MOST_CHANNELS = 4


class StylesParameters(StrategyParameters):
    """Parameters of a method that restyles images.

    Attributes:
        styles: ``pixels`` are statistics of the channels of images; ``features`` of the maps that
            the first stage of the network gives, as it is sent down before the first round
            (`fedlab.models.first_stage`), and maps are restyled there, within the network.
        strength: a: 1 paints images in another style, 0 leaves them as they are.
        noise: Standard deviation of Gaussian noise on what is sent, in units of normalised inputs,
            or of features; it follows from the run's seed, and is not differential privacy.
    """

    styles: Literal["pixels", "features"] = "pixels"
    strength: float = Field(default=1.0, ge=0, le=1)
    noise: NonNegativeFloat = 0.0

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses samples that are not images, and networks without early features.

        Raises:
            InputError: With the remedy.
        """
        data = scenario.data
        if not isinstance(data.features, NoExtractor):
            raise InputError(
                f"data.features: {self.name} paints images in other styles, and "
                f"'{data.features.name}' takes their place; leave data.features out"
            )
        if not runs_on(model, (data.channels, data.image_size, data.image_size)):
            raise InputError(
                f"strategy.name: {self.name} paints images in other styles, and the samples are "
                "none; use another strategy, such as fedavg"
            )
        if self.styles == "features":
            self._check_first_stage(scenario, model)

    def _check_first_stage(self, scenario: Experiment, model: nn.Module) -> None:
        stage = find_first_stage(model)
        if stage is None:
            raise InputError(
                "strategy.styles: 'features' are statistics of the maps of a first convolution or "
                f"block of them, and the model '{scenario.model.name}' has none with maps of more "
                "than one pixel; use a model such as small_cnn or resnet10, or "
                "strategy.styles=pixels"
            )
        if stage.untrained:
            log.warning(
                "strategy.styles: 'features' are measured with the running statistics of batch "
                "normalisation, and those of the model '%s' are of a network that was never "
                "trained (0 and 1), so that styles are on another scale than the maps in "
                "training; use model.weights, model.norm=group or strategy.styles=pixels",
                scenario.model.name,
            )


S = TypeVar("S", bound=StylesParameters, default=StylesParameters)
"""Type variable of such methods: their parameters."""


class SharedStyles(Strategy[S]):
    """Collects styles and distributes a function of them before the first round; then FedAvg."""

    needs_only_mean = True

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The model, or a style; the answer to ``keep`` has no tensors."""
        if not question:
            return down
        if question == "keep":
            return {}
        stage = find_first_stage(self.model) if self.reads_features else None
        channels = Free("channels", MOST_CHANNELS) if stage is None else stage.channels
        return {
            "style": {
                "means": Form("float32", (channels,)),
                "deviations": Form("float32", (channels,), low=0.0),
            }
        }

    @property
    def reads_features(self) -> bool:
        """Whether styles are those of features, so that clients need the model for them."""
        return self.parameters.styles == "features"

    def before_rounds(self, ask: Ask) -> None:
        """Asks every client for its style, and sends the result of all to every client.

        For styles of features, the model goes down with the question.
        """
        model = {"arrays": self.state["arrays"]} if self.reads_features else {}
        answers = ask("style", model, seed=self.settings.seed)
        sent = [dict(answer.arrays["style"]) for answer in answers]
        bank = {name: torch.stack([style[name] for style in sent]) for name in sent[0]}
        ask("keep", {"styles": self.made_of(bank, answers)})

    def made_of(self, bank: Tensors, answers: list[ClientUpdate]) -> Tensors:
        """The tensors sent down, from the clients' styles.

        Args:
            bank: ``means`` and ``deviations``, shape (clients, channels).
            answers: Whose they are.
        """
        clients = torch.tensor([answer.client for answer in answers])
        return {"clients": clients, **bank}
