"""BlazeFL, in an environment of its own; ``--threads 2`` or ``--processes 2``.

Clients are those of the loop by hand, so that what differs is BlazeFL's way of running them. Its
threads need a Python without a global lock (3.14t, BlazeFL 3) to train at the same time; with the
lock they do so only inside of PyTorch's operations. Its pool of processes is forked in every round.
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from blazefl.contrib.fedavg import FedAvgBaseServerHandler
from blazefl.core import (
    IPCMode,
    ProcessPoolClientTrainer,
    SHMHandle,
    ThreadPoolClientTrainer,
    process_tensors_in_object,
)

from benchmarks.harness import WARM_UP, Stopwatch, arguments, report
from benchmarks.runners.lean import Trainer
from benchmarks.works import Data, Work, load


@dataclass
class Package:
    """What travels, either way.

    Attributes:
        round: The round.
        parameters: All floating-point tensors of the model as one vector.
        client: Who trained it.
    """

    round: int
    parameters: torch.Tensor | SHMHandle
    client: int = -1


class Clients:
    """Trains clients with a network for each thread or process.

    Args:
        work: The work.
        data: Its samples.
    """

    def __init__(self, work: Work, data: Data) -> None:
        self.work = work
        self.data = data
        self._own = threading.local()

    @property
    def trainer(self) -> Trainer:
        """The network of this thread."""
        if not hasattr(self._own, "trainer"):
            self._own.trainer = Trainer(self.work, self.data.inputs, self.data.labels)
        return self._own.trainer

    def train(self, client: int, payload: Package) -> torch.Tensor:
        """A local round; the client's tensors as one vector."""
        trainer = self.trainer
        pieces = payload.parameters.split([tensor.numel() for tensor in trainer.tensors])
        start = [p.view_as(tensor) for p, tensor in zip(pieces, trainer.tensors, strict=True)]
        trainer.train(client, payload.round, start)
        return torch.cat([tensor.detach().flatten() for tensor in trainer.tensors])


CLIENTS: Clients
"""Those of this process; a forked one finds them here."""


class Threads(ThreadPoolClientTrainer[Package, Package]):
    """BlazeFL's threads.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self.num_parallels = count
        self.device, self.device_count = "cpu", 0
        self.cache = []
        self.stop_event = threading.Event()

    def worker(
        self, cid: int, device: str, payload: Package, stop_event: threading.Event
    ) -> Package:
        """Trains a client."""
        return Package(payload.round, CLIENTS.train(cid, payload), cid)

    def uplink_package(self) -> list[Package]:
        """What the round's clients sent."""
        packages, self.cache = self.cache, []
        return packages


class Processes(ProcessPoolClientTrainer[Package, Package, int]):
    """BlazeFL's processes, which exchange tensors in shared memory.

    Args:
        count: How many.
        length: Values of the model.
    """

    def __init__(self, count: int, length: int) -> None:
        self.num_parallels = count
        self.device, self.device_count = "cpu", 0
        self.cache = []
        self.share_dir = Path()
        self.ipc_mode = IPCMode.SHARED_MEMORY
        self.stop_event = multiprocessing.Manager().Event()
        self.length = length

    def get_client_config(self, cid: int) -> int:
        """A client's number."""
        return cid

    def prepare_uplink_package_buffer(self) -> Package:
        """Memory for what a client sends."""
        return Package(0, torch.empty(self.length))

    @staticmethod
    def worker(
        config: int | Path,
        payload: Package | Path,
        device: str,
        stop_event: threading.Event,
        *,
        shm_buffer: Package | None = None,
    ) -> Package:
        """Trains a client."""
        assert isinstance(config, int)
        assert isinstance(payload, Package)
        assert shm_buffer is not None
        shm_buffer.round, shm_buffer.client = payload.round, config
        shm_buffer.parameters.copy_(CLIENTS.train(config, payload))
        return process_tensors_in_object(shm_buffer, mode="replace")

    uplink_package = Threads.uplink_package


def main(argv: Sequence[str] | None = None) -> None:
    global CLIENTS
    given, work = arguments(argv, "--processes", "--threads")
    torch.set_num_threads(1)
    CLIENTS = Clients(work, load(given.data, work))
    names, initial = CLIENTS.trainer.names, CLIENTS.data.initial
    shapes = [initial[name].shape for name in names]
    parameters = torch.cat([torch.from_numpy(initial[name]).flatten() for name in names])
    clients = (
        Processes(int(given.processes), len(parameters))
        if given.processes
        else Threads(int(given.threads or 1))
    )
    watch = Stopwatch(given.rounds)
    watch.mark()
    for server_round in range(1, WARM_UP + given.rounds + 1):
        clients.local_process(Package(server_round, parameters), work.cohort_of(server_round))
        packages = sorted(clients.uplink_package(), key=lambda package: package.client)
        parameters = FedAvgBaseServerHandler.aggregate(
            [package.parameters for package in packages],
            [int(work.sizes[package.client]) for package in packages],
        )
        watch.mark()
    pieces = parameters.split([int(torch.Size(shape).numel()) for shape in shapes])
    model = {
        name: piece.view(shape).numpy()
        for name, piece, shape in zip(names, pieces, shapes, strict=True)
    }
    report(given, watch, model)


if __name__ == "__main__":
    # Through the module's own name, by which forked processes find `CLIENTS`.
    from benchmarks.runners import blazefl

    blazefl.main()
