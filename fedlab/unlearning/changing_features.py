"""A network's layers before its head, and steps of Adam on what they make of samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fedlab.data.client_data import ClientData
from fedlab.models.eval_mode import evaluation_mode
from fedlab.models.memory_format import channels_last
from fedlab.records import Tensors
from fedlab.training import lists
from fedlab.training.optimizer import Optimizer
from fedlab.training.spec import OptimizerSpec
from fedlab.unlearning.request import Request


class Part(NamedTuple):
    """A batch of a client's samples.

    Attributes:
        client: The client.
        rows: Indices into its training samples, on the CPU.
    """

    client: int
    rows: Tensor


class Features:
    """The network's features of clients' training samples, as its body changes.

    Attributes:
        task: The learning problem.
        state: The old model's tensors.
        body: The parameters before the head, which learn; written to in place.
        buffers: What else the network has.
        old: The features at first, by client, of shape (n, features).
    """

    def __init__(self, asked: Request, state: Tensors) -> None:
        self._runtime = asked.trained.runtime
        self.task, self.state = self._runtime.trainer.task, state
        parameters, self.buffers = self.task.split({**self.task.initial, **state})
        head = set(self.task.head.names)
        self._head = {name: tensor for name, tensor in parameters.items() if name in head}
        body = {name: tensor for name, tensor in parameters.items() if name not in head}
        self.body = lists.copied(body)
        self._samples: dict[int, ClientData] = {}
        self.old: dict[int, Tensor] = {}
        for client in dict.fromkeys([*asked.remaining, asked.client]):
            self._samples[client] = self._runtime.client_data(client)
            rows = torch.arange(len(self._samples[client].labels))
            with torch.no_grad():
                parts = [
                    self.features(self.body, client, part)
                    for part in rows.split(self._runtime.scenario.evaluation.batch_size)
                ]
            self.old[client] = torch.cat(parts)

    def features(self, body: Tensors, client: int, rows: Tensor) -> Tensor:
        """Features of some of a client's samples, shape (n, features).

        Args:
            body: The parameters before the head.
            client: The client.
            rows: Indices into its training samples, on the CPU.
        """
        inputs = self._samples[client].inputs[rows.to(self._runtime.device)]
        batch = channels_last(self._runtime.preprocess.inputs(inputs))
        with evaluation_mode(self.task.model):
            return self.task.features_and_outputs({**self._head, **body}, self.buffers, batch)[0]


class Adam:
    """Steps of Adam on the layers before the head.

    Args:
        work: The features.
        lr: The learning rate.
    """

    def __init__(self, work: Features, lr: float) -> None:
        self._work, self._rule = work, Optimizer(OptimizerSpec(name="adam", lr=lr))
        self._moments = self._rule.start(work.body)

    def step(self, loss: Callable[[Tensors], Tensor]) -> None:
        """One step.

        Args:
            loss: What is minimised, a scalar of the body's parameters.
        """

        def objective(body: Tensors, buffers: Tensors) -> tuple[Tensor, None]:
            return loss(body), None

        work = self._work
        gradients, _, _ = work.task.gradients(objective, work.body, work.buffers)
        self._rule.apply(work.body, gradients, self._moments, self._rule.spec.lr)
