"""A loop written by hand for this very work: what PyTorch gives where no platform is in the way.

Samples stay in memory as tensors, network and optimiser are never built again, SGD is one fused
call, and updates are summed where they are made. ``--processes 2`` divides a round's clients
between two processes that share the global model in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as processes
from torch import nn

from benchmarks.harness import WARM_UP, Stopwatch, arguments, report
from benchmarks.networks import build, to_inputs
from benchmarks.works import Work, load


class Trainer:
    """Trains clients one after the other with one network.

    Args:
        work: The work.
        inputs: Samples of each client, shape (samples, ...).
        labels: Their labels.
    """

    def __init__(
        self, work: Work, inputs: Sequence[np.ndarray], labels: Sequence[np.ndarray]
    ) -> None:
        self.work = work
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.device = device
        self.inputs = [torch.from_numpy(each).to(device) for each in inputs]
        self.labels = [torch.from_numpy(each).to(device) for each in labels]
        self.network = build(work).to(device).train()
        if work.images:
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.parameters = list(self.network.parameters())
        state = self.network.state_dict()
        self.tensors = [tensor for tensor in state.values() if tensor.is_floating_point()]
        self.names = [name for name, tensor in state.items() if tensor.is_floating_point()]

    def train(self, client: int, server_round: int, start: list[torch.Tensor]) -> None:
        """One epoch of a client, from `start`; the result is in `tensors`."""
        torch._foreach_copy_(self.tensors, start)
        inputs, labels = self.inputs[client], self.labels[client]
        order = np.random.default_rng([server_round, client]).permutation(len(inputs))
        rows = torch.from_numpy(order).to(self.device)
        for batch in rows.split(self.work.batch):
            outputs = self.network(to_inputs(self.work, inputs[batch]))
            loss = nn.functional.cross_entropy(outputs, labels[batch])
            gradients = torch.autograd.grad(loss, self.parameters)
            with torch.no_grad():
                torch._foreach_add_(self.parameters, gradients, alpha=-self.work.lr)

    def sum_of(
        self, clients: list[int], server_round: int, start: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        """The sum of what some clients learn, each as often as it has samples."""
        total = [torch.zeros_like(tensor) for tensor in start]
        with torch.no_grad():
            for client in clients:
                with torch.enable_grad():
                    self.train(client, server_round, start)
                torch._foreach_add_(total, self.tensors, alpha=len(self.inputs[client]))
        return total


def run(
    rank: int,
    count: int,
    threads: int,
    watch: Stopwatch,
    trainer: Trainer,
    shared: list[torch.Tensor],
    sums: list[list[torch.Tensor]],
    barrier: Any,
) -> None:
    """Trains every `count`-th client of every round; the first process takes the time."""
    torch.set_num_threads(threads)
    if rank == 0:
        watch.mark()
    for server_round in range(1, WARM_UP + watch.rounds + 1):
        clients = trainer.work.cohort_of(server_round)[rank::count]
        total = trainer.sum_of(clients, server_round, shared)
        if count > 1:
            torch._foreach_copy_(sums[rank], total)
            barrier.wait()
            total = [torch.stack(parts).sum(0) for parts in zip(*sums, strict=True)]
            barrier.wait()  # no process may write into `sums` or `shared` while another reads
        if rank == 0:
            cohort = trainer.work.cohort_of(server_round)
            torch._foreach_div_(total, sum(len(trainer.inputs[client]) for client in cohort))
            torch._foreach_copy_(shared, total)
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
            watch.mark()
        if count > 1:
            barrier.wait()


def main(argv: Sequence[str] | None = None) -> None:
    given, work = arguments(argv, "--processes", "--threads")
    count, threads = int(given.processes or 1), int(given.threads or 1)
    torch.set_num_threads(1)  # a forked process cannot use the threads of its parent
    data = load(given.data, work)
    trainer = Trainer(work, data.inputs, data.labels)
    device = trainer.device
    shared = [torch.from_numpy(data.initial[name]).to(device) for name in trainer.names]
    sums = [[torch.zeros_like(tensor) for tensor in shared] for _ in range(count)]
    context = processes.get_context("fork")
    barrier = context.Barrier(count)
    watch = Stopwatch(given.rounds)
    if count > 1:
        for tensor in [*shared, *(tensor for total in sums for tensor in total)]:
            tensor.share_memory_()
    rest = (count, threads, watch, trainer, shared, sums, barrier)
    helpers = [context.Process(target=run, args=(rank, *rest)) for rank in range(1, count)]
    for helper in helpers:
        helper.start()
    run(0, *rest)
    for helper in helpers:
        helper.join()
    model = {name: tensor.cpu().numpy() for name, tensor in zip(trainer.names, shared, strict=True)}
    notes = {}
    if device.type == "cuda":
        notes["gpu_mb"] = str(round(torch.cuda.max_memory_allocated() / 2**20))
    report(given, watch, model, **notes)


if __name__ == "__main__":
    main()
