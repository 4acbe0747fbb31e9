"""The base of methods whose server takes an optimiser step instead of adopting the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Layout
from fedlab.records import Tensors
from fedlab.strategies.base import ServerSettings, Strategy
from fedlab.strategies.families.client_table import client_table, column_of
from fedlab.strategies.parameters import P


class ServerStep(Strategy[P]):
    """A server that computes with trainable tensors and averages all others.

    Differences, momentum and correction have no meaning for running statistics, whose variance
    they could push below zero, nor for step counters.

    Args:
        model: The network; its parameters that require gradients are trained.
        parameters: The scenario's ``strategy`` block.
        settings: Sampling, evaluation and tolerance.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: P | None = None,
        settings: ServerSettings | None = None,
    ) -> None:
        super().__init__(model, parameters, settings)
        learning = set(self.anatomy.learning)
        self.trainable = tuple(name for name in self.shared if name in learning)

    def filled(self, value: float) -> Tensors:
        """One number in the shape of every trainable tensor."""
        return {n: torch.full_like(self.state["arrays"][n], value) for n in self.trainable}

    def change(self, average: Tensors) -> Tensors:
        """The mean of models less the broadcast model, for trainable tensors."""
        model = self.state["arrays"]
        return {name: average[name] - model[name] for name in self.trainable}

    def layout_of_step(self, down: Layout, record: str, number: Layout) -> Layout:
        """The layout of a reply with a step and a number, and the tensors not trained.

        Args:
            down: The layout of what goes down.
            record: Name of the record of the step, which has the trainable tensors.
            number: The layout of the number.
        """
        model = down["arrays"]
        untrained = {n: form for n, form in model.items() if n not in self.trainable}
        step = {name: model[name] for name in self.trainable}
        return {record: step, **number, **({"untrained": untrained} if untrained else {})}

    def with_untrained(self, trained: Tensors, updates: Sequence[ClientUpdate]) -> Tensors:
        """The model: trained tensors, and the mean of the others in the replies."""
        sent = "untrained" in updates[0].arrays
        model = {**trained, **(self.weighted_mean(updates, "untrained") if sent else {})}
        return {name: model[name] for name in self.shared}

    def participation(self, updates: Sequence[ClientUpdate]) -> float:
        """|S| / M: the share of all clients that sent an update."""
        return len(updates) / self.population

    def take_in(
        self, mean: Tensors, updates: Sequence[ClientUpdate], change: Tensors, factor: float = 1.0
    ) -> Tensors:
        """The mean of a quantity over all clients, after an update of some clients' values.

        Clients count alike, or by their examples: then the mean is Σ n_i c_i / Σ n_i over all
        clients. The server knows n_i of clients that have trained and takes the others, whose c_i
        is zero, to be of mean size; the mean is exact once each client has trained.

        Args:
            mean: The mean so far.
            updates: The round's.
            change: The mean change over the round's clients, as these are weighted.
            factor: What the change is multiplied by.
        """
        if self.parameters.weighting == "uniform":
            return plus(mean, change, factor * self.participation(updates))
        known = column_of(self.state.get("client_sizes", {}), "examples")
        news = {update.client: update.examples for update in updates}
        before, after = (self._examples(each) for each in (known, known | news))
        known |= news
        self.state["client_sizes"] = client_table(examples=known)
        if not after:
            return dict(mean)
        kept = {name: tensor * ((before or after) / after) for name, tensor in mean.items()}
        return plus(kept, change, factor * sum(news.values()) / after)

    def _examples(self, known: Mapping[int, float]) -> float:
        """Estimated examples of all clients, of which those of some are known."""
        return sum(known.values()) * self.population / len(known) if known else 0.0


def plus(tensors: Mapping[str, torch.Tensor], others: Tensors, factor: float = 1.0) -> Tensors:
    """``tensors + factor * others``, for every name in `others`."""
    return {name: tensors[name] + factor * other for name, other in others.items()}
