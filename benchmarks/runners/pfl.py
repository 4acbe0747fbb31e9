"""Apple's pfl-research, in an environment of its own; ``--processes 2`` starts two workers.

The workers are pfl's own (torch.distributed over gloo). Metrics are evaluated in no round that is
timed. pfl averages parameters only: running statistics of batch normalisation stay the worker's.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam.base import NNEvalHyperParams, NNTrainHyperParams
from pfl.internal.ops import pytorch_ops
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel

from benchmarks.harness import WARM_UP, Stopwatch, arguments, report
from benchmarks.networks import build, to_inputs
from benchmarks.works import Work, load


class Network(torch.nn.Module):
    """The work's network with the two methods that pfl asks for."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work
        self.layers = build(work)

    def loss(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of a batch."""
        self.train()
        outputs = self.layers(to_inputs(self.work, inputs))
        return torch.nn.functional.cross_entropy(outputs, labels)

    @torch.no_grad()
    def metrics(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, Weighted]:
        """The loss, which pfl evaluates in the first round."""
        return {"loss": Weighted(float(self.loss(inputs, labels)) * len(labels), len(labels))}


class Timer(TrainingProcessCallback):
    """Notes when rounds end."""

    def __init__(self, rounds: int) -> None:
        self.watch = Stopwatch(rounds)

    def on_train_begin(self, *, model: PyTorchModel) -> Metrics:
        """The first round begins."""
        self.watch.mark()
        return Metrics()

    def after_central_iteration(
        self, aggregate_metrics: Metrics, model: PyTorchModel, *, central_iteration: int
    ) -> tuple[bool, Metrics]:
        """A round has ended."""
        self.watch.mark()
        return False, Metrics()


def cohorts(work: Work) -> Iterator[int]:
    """The clients of one round after another."""
    server_round = 0
    while True:
        server_round += 1
        yield from work.cohort_of(server_round)


def main(argv: Sequence[str] | None = None) -> None:
    given, work = arguments(argv, "--processes", "--threads")
    if int(given.processes or 1) > 1 and "PFL_WORKER_RANK" not in os.environ:
        sys.exit(spawn(int(given.processes)))
    torch.set_num_threads(int(given.threads or 1))
    data = load(given.data, work)
    datasets = [
        Dataset((torch.from_numpy(inputs), torch.from_numpy(labels)), user_id=str(client))
        for client, (inputs, labels) in enumerate(zip(data.inputs, data.labels, strict=True))
    ]
    network = Network(work)
    initial = {f"layers.{name}": torch.from_numpy(array) for name, array in data.initial.items()}
    network.load_state_dict(initial)
    if work.images:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    draws = cohorts(work)
    clients = FederatedDataset(lambda client: datasets[client], lambda: next(draws))
    model = PyTorchModel(
        network,
        local_optimizer_create=torch.optim.SGD,
        central_optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
    )
    timer, rounds = Timer(given.rounds), WARM_UP + given.rounds
    FederatedAveraging().run(
        NNAlgorithmParams(
            central_num_iterations=rounds,
            evaluation_frequency=10**6,  # the first round, which warms up, is evaluated anyway
            train_cohort_size=work.cohort,
            val_cohort_size=None,
        ),
        SimulatedBackend(clients, clients, postprocessors=[WeightByDatapoints()]),
        model,
        NNTrainHyperParams(
            local_num_epochs=1, local_learning_rate=work.lr, local_batch_size=work.batch
        ),
        NNEvalHyperParams(local_batch_size=None),
        callbacks=[timer],
        send_metrics_to_platform=False,
    )
    if pytorch_ops.distributed.global_rank == 0:
        state = {
            name.removeprefix("layers."): tensor.numpy()
            for name, tensor in network.state_dict().items()
            if tensor.is_floating_point()
        }
        report(given, timer.watch, state)


def spawn(count: int) -> int:
    """Starts pfl's workers, of which the first one answers; returns the worst exit status."""
    ports = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = ",".join(f"localhost:{port.getsockname()[1]}" for port in ports)
    for port in ports:
        port.close()
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.runners.pfl", *sys.argv[1:]],
            env=os.environ | {"PFL_WORKER_ADDRESSES": addresses, "PFL_WORKER_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    return max(worker.wait() for worker in workers)


if __name__ == "__main__":
    main()
