"""The base of strategies that exchange image styles of clients before the first round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from pydantic import Field, NonNegativeFloat
from torch import nn
from typing_extensions import TypeVar

from fedlab.errors import InputError
from fedlab.features.base import NoExtractor
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Form, Free, Layout
from fedlab.federation.round_strategy import Ask
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.requirements import runs_on
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment

MOST_CHANNELS = 4


class StylesParameters(StrategyParameters):
    """Parameters of a method that restyles images.

    Attributes:
        strength: a: 1 paints images in another style, 0 leaves them as they are.
        noise: Standard deviation of Gaussian noise on what is sent, in units of normalised inputs;
            it follows from the run's seed, and is not differential privacy.
    """

    strength: float = Field(default=1.0, ge=0, le=1)
    noise: NonNegativeFloat = 0.0

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses samples that are not images.

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
        channels = Free("channels", MOST_CHANNELS)
        return {
            "style": {
                "means": Form("float32", (channels,)),
                "deviations": Form("float32", (channels,), low=0.0),
            }
        }

    def before_rounds(self, ask: Ask) -> None:
        """Asks every client for its style, and sends the result of all to every client."""
        answers = ask("style", {}, seed=self.settings.seed)
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
