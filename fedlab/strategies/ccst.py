"""CCST, strategy: clients train on images in the styles of other clients.

Federated Domain Generalization for Image Recognition via Cross-Client Style Transfer, Chen, Jiang,
Dou, Chen, WACV 2023, arXiv 2210.00912. Authors' code: JeremyCJM/CCST. Styles there are statistics
of a frozen VGG-19, and a decoder paints images anew; here both networks are the identity, so that a
style is that of colours and contrast, and nothing has to be downloaded.

Up, once: a mean and a standard deviation of each channel. Down, once: those of all clients. Every
round: the whole model, up and down. Stays: the styles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import Field, NonNegativeFloat
from torch import nn

from fedlab.config.ranges import Range, Values
from fedlab.errors import InputError
from fedlab.features.base import NoExtractor
from fedlab.federation.record_layout import Form, Free, Layout
from fedlab.federation.round_strategy import Ask
from fedlab.strategies.base import Strategy
from fedlab.strategies.families.requirements import runs_on
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment

MOST_CHANNELS = 4


class CCSTParameters(StrategyParameters):
    """CCST's parameters.

    A client has one style, over all pixels of all its images ("overall" in the paper). Every time
    an image is read, one client's style is drawn for it; with the client's own it stays as it is.
    The paper paints each image in K styles before training.

    Attributes:
        strength: a: 1 paints images in the drawn style, 0 leaves them as they are.
        noise: Standard deviation of Gaussian noise on what is sent, in units of normalised inputs;
            it follows from the run's seed, and is not differential privacy.
    """

    space: ClassVar[Mapping[str, Range]] = {"strength": Values((0.25, 0.5, 1.0))}
    name: str = "ccst"
    strength: float = Field(default=1.0, ge=0, le=1)
    noise: NonNegativeFloat = 0.0

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses samples that are no images, which have no style.

        Raises:
            InputError: With the remedy.
        """
        data = scenario.data
        if not isinstance(data.features, NoExtractor):
            raise InputError(
                f"data.features: ccst paints images in other styles, and '{data.features.name}' "
                "takes their place; leave data.features out"
            )
        if not runs_on(model, (data.channels, data.image_size, data.image_size)):
            raise InputError(
                "strategy.name: ccst paints images in other styles, and the samples are none; use "
                "another strategy, such as fedavg"
            )


class CCST(Strategy[CCSTParameters]):
    """Gathers styles and hands them out before the first round; then FedAvg."""

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
        """Asks every client for its style, and sends them all to everybody."""
        answers = ask("style", {}, seed=self.settings.seed)
        sent = [dict(answer.arrays["style"]) for answer in answers]
        bank = {name: torch.stack([style[name] for style in sent]) for name in sent[0]}
        clients = torch.tensor([answer.client for answer in answers])
        ask("keep", {"styles": {"clients": clients, **bank}})
