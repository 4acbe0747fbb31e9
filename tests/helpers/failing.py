"""Client trainers that misbehave, for tests of what happens then."""

from __future__ import annotations

import os

import torch

from fedlab.clients.base import Carry, ClientState, Phase, Received
from fedlab.clients.fedavg import FedAvg
from fedlab.data.client_data import ClientData
from fedlab.records import Tensors
from fedlab.training.task import Batch


class FailsOnOne(FedAvg):
    """Raises for the client whose domain is the brightest but one."""

    def training_data(
        self, samples: ClientData, received: Received, client_state: ClientState
    ) -> ClientData:
        """Recognises clients by their pixels, whose means are about 92, 112 and 132."""
        if 102 < float(samples.inputs.double().mean()) < 122:
            raise ValueError("no luck")
        return super().training_data(samples, received, client_state)


BRIGHTEST = -0.05
"""Mean normalised inputs of the toy problem are above this in its last domain, d2, alone."""


class OddOneOut(FedAvg):
    """Misbehaves for clients of the brightest domain, in every process."""

    def step(
        self, carry: Carry, batch: Batch, phase: Phase, server_round: int
    ) -> tuple[Carry, dict[str, torch.Tensor]]:
        """Misbehaves first."""
        if float(batch.inputs.mean()) > BRIGHTEST:
            self.misbehave(server_round)
        return super().step(carry, batch, phase, server_round)

    def misbehave(self, server_round: int) -> None:
        """What goes wrong."""


class FailsInAStack(FedAvg):
    """Cannot be stacked, and raises for the brightest domain where it is not."""

    def gradients(
        self, carry: Carry, batch: Batch, phase: Phase
    ) -> tuple[Tensors, dict[str, torch.Tensor]]:
        """Looks at values, which `torch.func.vmap` refuses."""
        if float(batch.inputs.mean()) > BRIGHTEST:
            raise ValueError("no luck")
        return super().gradients(carry, batch, phase)


class SlowOnce(OddOneOut):
    """Waits in the first round, for what a test puts in place of ``wait``."""

    def misbehave(self, server_round: int) -> None:
        """Waits before each step."""
        if server_round == 1:
            self.wait()

    def wait(self) -> None:
        """Does not wait."""


class Dies(OddOneOut):
    """Takes its process along."""

    def misbehave(self, server_round: int) -> None:
        """Ends the process as a crash of native code would."""
        os._exit(1)


class Raises(OddOneOut):
    """Raises in its first step."""

    def misbehave(self, server_round: int) -> None:
        """As a mistake of the method's author would."""
        raise ValueError("no luck")
