"""A label-shift adapter in use: the last layer follows the class prior of the test samples.

See `fedlab.adaptation.label_shift_adapter` for the paper, and for what of it is known. The prior is
a moving average of what the run's own model predicts, starting from that of the training samples,
π ← m π + (1 - m) mean p(class | x) over a batch; or an estimate from all test samples of a domain.
Predictions of the adapted model would confirm themselves. The adapter goes before the last layer of
the network as it is, as statistics of test batches make it, or as TENT does, whose entropy is then
that of the adapter's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fedlab.adaptation.adapter_training import TrainedAdapter, Training, ratios, train_adapter
from fedlab.adaptation.batch_statistics import Stream
from fedlab.adaptation.client_features import client_features
from fedlab.adaptation.domain_by_domain import LabelShift, Online
from fedlab.adaptation.label_shift import Estimator, Prior, refuse_lacking
from fedlab.adaptation.label_shift_adapter import HeadChange, changed_layer
from fedlab.adaptation.source_samples import refuse_infinite
from fedlab.adaptation.trained import Trained, refuse_without_labels
from fedlab.errors import InputError
from fedlab.models.anatomy.places import with_tensors
from fedlab.models.eval_mode import evaluation_mode
from fedlab.models.head import Head
from fedlab.models.mixing import mixes_test_samples
from fedlab.records import Tensors
from fedlab.strategies.families.requirements import gives_outputs

Base = Literal["none", "batch_statistics", "tent"]
"""What else adapts the network."""

PriorEstimator = Literal["ema", "bbse", "rlls", "em"]

FLOOR = 0.01
"""Share of the training samples' prior in what the adapter is given: no class is impossible."""


class PriorFollowing(Online):
    """The last layer is changed for each batch by an adapter, which clients train first.

    Args:
        trained: The run.
        model: Its global model.
        stream: Runs, or adapts, the run's model on batches.
        options: ``base``, ``estimator``, ``calibrate`` (as of `LabelShift`), ``momentum``,
            ``batch_size``, and those of `Training`.
        seed: Seed of the adapter, and of the order in which samples come.

    Attributes:
        priors: The last prior of each domain.
        source: What the adapter was trained on, in words.

    Raises:
        InputError: If the network or the run's samples do not go with an adapter.
    """

    def __init__(
        self,
        trained: Trained,
        model: Tensors,
        stream: Callable[[Iterable[Tensor]], Stream],
        *,
        base: Base,
        estimator: PriorEstimator,
        calibrate: bool | None,
        momentum: float,
        batch_size: int,
        training: Training,
        seed: int,
    ) -> None:
        super().__init__(trained, stream, batch_size, seed, takes_statistics=base != "none")
        self.head = _dense_head(trained)
        self.model, self.momentum = model, momentum
        if base == "none" and batch_size and mixes_test_samples(trained.runtime.trainer.task.model):
            raise InputError(
                "--batch-size: outputs of the run's network depend on what else is in a batch; use "
                "0, all test samples of a domain"
            )
        self.names = trained.runtime.data.class_names
        self.estimates: LabelShift | None = None
        if estimator != "ema":  # before the adapter is trained, as it may refuse
            own: Estimator = estimator
            self.estimates = LabelShift(trained, model, own, calibrate)
        self.learnt = self._learn(training, seed)
        self.now = self.learnt.prior
        self.changes: list[HeadChange] = []
        self.priors: dict[str, Prior] = {}

    def _learn(self, training: Training, seed: int) -> TrainedAdapter:
        trained, own = self.trained, list(client_features(self.trained, self.model))
        labels = np.concatenate([each.labels.numpy() for each in own])
        refuse_lacking(labels, trained.runtime.data.class_names)
        for each in own:
            refuse_infinite(trained, each.features)
        weight, bias = (self.model[name] for name in self.head.names)
        return train_adapter(own, (weight, bias), training, seed)

    @property
    def source(self) -> str:
        """What the adapter was trained on, in words."""
        found = self.learnt
        words = (
            f"trained on {found.samples:,} samples of {found.clients} clients, each of which sends "
            f"and receives {found.bytes:,} bytes"
        )
        return words + (f"; prior by {self.estimates.source}" if self.estimates else "")

    def adapt(self, domain: str, rows: np.ndarray, before: Tensor) -> tuple[Tensor, Tensors]:
        """See `Way.adapt`; the last layer of the state dict has the adapter's last change in it.

        Raises:
            InputError: If there are too few samples, or the prior cannot be estimated.
        """
        self.now = self.learnt.prior
        if self.estimates is not None:
            logs = self.estimates.calibration.logs(before)
            self.now = torch.from_numpy(self.estimates.prior(domain, logs).test)
        with changed_layer(self.head.layer) as self.changes:
            outputs, state = super().adapt(domain, rows, before)
        self.priors[domain] = Prior(self.learnt.prior.numpy(), self.now.numpy())
        weight, bias = self.head.names
        folded = self.changes[-1].folded(state[weight], state[bias])
        return outputs, {**state, **dict(zip((weight, bias), folded, strict=True))}

    def meet(self, before: Tensor) -> None:
        """Follows the predictions of the run's model, and changes the last layer for a batch."""
        if self.estimates is None:
            mean = before.double().softmax(dim=1).mean(dim=0)
            self.now = self.momentum * self.now + (1 - self.momentum) * mean
        source = self.learnt.prior
        prior = (1 - FLOOR) * self.now + FLOOR * source
        device = self.model[self.head.names[0]].device
        self.changes.append(self.learnt.adapter(ratios(prior, source).to(device)))


def predicted(model: nn.Module, state: Tensors, batches: Iterable[Tensor]) -> Stream:
    """Tests a model that nothing else adapts.

    Args:
        model: The network; its own tensors are not changed.
        state: A full state dict.
        batches: What the network is fed with.
    """
    with torch.no_grad(), evaluation_mode(model), with_tensors(model, state):
        return Stream(torch.cat([model(batch).float().cpu() for batch in batches]), state)


def _dense_head(trained: Trained) -> Head:
    """The last layer, which an adapter can change.

    Raises:
        InputError: If there is none, or clients know no labels.
    """
    run = trained.run
    refuse_without_labels(run, "an adapter is trained on labelled samples")
    task = trained.runtime.trainer.task
    network = f"the run '{run.folder}' ({run.scenario.strategy.name}, {run.scenario.model.name})"
    if not gives_outputs(task.model):
        raise InputError(
            f"--method: label_shift_adapter changes a last dense layer that gives the outputs, and "
            f"the network of {network} has none; use --method label_shift"
        )
    layer = task.head.layer
    if type(layer) is not nn.Linear or layer.bias is None:
        raise InputError(
            f"--method: label_shift_adapter changes weights and biases of a plain dense layer, and "
            f"the last one of {network} is {'without biases' if layer.bias is None else 'another'}"
            "; use --method label_shift"
        )
    return task.head
