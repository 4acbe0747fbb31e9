"""IFCA, strategy: several global models; every client trains the one with the least local loss.

An Efficient Framework for Clustered Federated Learning, Ghosh, Chung, Yin, Ramchandran, NeurIPS
2020, arXiv 2006.04088. Authors' code: jichan3751/ifca.

Up: the chosen model, trained, and its number. Down: all models, to train and to test.
Stays: nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from fedlab import rng
from fedlab.config.ranges import Integers, Range
from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import METRICS, Form, Layout
from fedlab.models.anatomy import anatomy_of
from fedlab.models.pretrained.transfer import transfer_of
from fedlab.models.redrawn import redrawn
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.strategies.parameters import StrategyParameters

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment


def model_record(number: int) -> str:
    """The name of the record of model `number`, from 0."""
    return f"model-{number}" if number else "arrays"


class IFCAParameters(StrategyParameters):
    """IFCA's parameters.

    What clusters are found depends on the models' initial weights, of which the paper tries
    several: run several seeds. The history has each client's choice (``cluster``) and the number of
    clients of every model, which shows a collapse to few of them.

    Attributes:
        clusters: k, the number of models; 4 in the authors' code, for four rotations of MNIST.
        weighting: Every client counts the same in its model's mean, as in the authors' code.
    """

    space: ClassVar[Mapping[str, Range]] = {"clusters": Integers(2, 6)}
    name: str = "ifca"
    clusters: int = Field(default=2, ge=2)
    weighting: Literal["examples", "uniform"] = "uniform"

    @property
    def tests_more_than_the_model(self) -> bool:
        """All models, of which a client chooses on its samples."""
        return True

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses networks without other initial weights, and settings that assume one model.

        Raises:
            InputError: With the reason and the remedy.
        """
        with rng.preserved():
            other = dict(redrawn(model).named_parameters())
        own = dict(model.named_parameters())
        learning = anatomy_of(model).learning  # all that differs: what is frozen is drawn once
        if all(torch.equal(other[name], own[name]) for name in learning):
            raise InputError(
                f"strategy.name: ifca starts from {self.clusters} models of different weights, and "
                f"no layer of the model '{scenario.model.name}' that learns has a reset_parameters "
                "that draws them; give it one, or use another model"
            )
        if transfer_of(model) is not None:
            raise InputError(
                f"model.weights: ifca starts from {self.clusters} models of different weights, and "
                "trained ones are the weights of one; leave model.weights out, or use "
                "strategy.name=fedavg"
            )
        if anatomy_of(model).derived:
            raise InputError(
                f"strategy.name: ifca averages several models, and '{scenario.model.name}' has "
                "buffers that follow from the weights of one; use another model"
            )
        if scenario.participation.update_norm is not None:
            raise InputError(
                "participation.update_norm: clients of ifca start from different models, so that "
                "there is no one model to measure a change from; leave it out"
            )


class IFCA(Strategy[IFCAParameters]):
    """w_j ← the mean of the models of the clients that chose j (Algorithm 1, model averaging).

    A model that no client chose stays as it is.
    """

    metrics = METRICS | {"cluster"}
    takes_changed_updates = False

    @property
    def has_global_model(self) -> bool:
        """No: every client tests the model with the least loss on its samples."""
        return False

    def initialise(self, model: Tensors) -> None:
        """The initial model, and others of the same layers with weights drawn from the seed."""
        super().initialise(model)
        for number in range(1, self.parameters.clusters):
            with rng.torch_seed(self.settings.seed, "cluster", number):
                other = redrawn(self.model)
            tensors = {**dict(other.named_parameters()), **dict(other.named_buffers())}
            own = {name: tensors[name].detach() for name in self.shared}
            self.state[model_record(number)] = own
        self.chosen: list[int] = []

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """All models."""
        records = map(model_record, range(self.parameters.clusters))
        return {record: self.state[record] for record in records}

    def sent_to_test(self, server_round: int) -> dict[str, Tensors]:
        """All models, as clients choose one for tests, too."""
        return self.broadcast(server_round)

    def upload_bytes(self, down: int) -> int:
        """One of the models that went down, and its number, one int64."""
        return down // self.parameters.clusters + torch.int64.itemsize

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """One model, and its number."""
        number = Form("int64", (), low=0, high=self.parameters.clusters - 1)
        return {"arrays": down["arrays"], "cluster": {"choice": number}}

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Averages the models of the clients that chose the same."""
        updates = [update for update in updates if update.examples > 0]
        choices = [int(update.arrays["cluster"]["choice"]) for update in updates]
        clusters = range(self.parameters.clusters)
        self.chosen = [choices.count(number) for number in clusters]
        for number in clusters:
            own = [u for u, choice in zip(updates, choices, strict=True) if choice == number]
            if own:
                self.state[model_record(number)] = self.weighted_mean(own, "arrays")

    def round_metrics(self, server_round: int) -> dict[str, float]:
        """How many clients chose each model."""
        chosen: list[int] = vars(self).pop("chosen", [])
        return {f"clients_of_model_{number}": each for number, each in enumerate(chosen)}
