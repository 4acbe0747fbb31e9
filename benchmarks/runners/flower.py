"""Flower's own simulator, `flwr.simulation.run_simulation`, with a client that wastes nothing.

Every client has one CPU (and, with ``--gpus``, a share of the GPU), as in Flower's examples; the
samples and the network are built once in every Ray actor, which Flower's examples do not do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from benchmarks.harness import WARM_UP, Stopwatch, arguments, report
from benchmarks.runners.lean import Trainer
from benchmarks.works import Work, load


@cache
def trainer_for(work: str, data: str) -> Trainer:
    """The samples and the network, once in every process."""
    torch.set_num_threads(1)
    parsed = Work.parse(work)
    arrays = load(data, parsed)
    return Trainer(parsed, arrays.inputs, arrays.labels)


def train(message: Message, context: Context) -> Message:
    """A client's local round."""
    config = message.content.config_records["config"]
    work = Work.parse(str(config["work"]))
    client = int(context.node_config["partition-id"])
    state = message.content.array_records["arrays"].to_torch_state_dict()
    if not work.idle:
        trainer = trainer_for(str(config["work"]), str(config["data"]))
        start = [state[name].to(trainer.device) for name in trainer.names]
        trainer.train(client, int(str(config["server-round"])), start)
        state = dict(zip(trainer.names, trainer.tensors, strict=True))
    metrics = MetricRecord({"num-examples": int(work.sizes[client])})
    content = RecordDict({"arrays": ArrayRecord(state), "metrics": metrics})
    return Message(content, reply_to=message)


class Timed(FedAvg):
    """FedAvg that notes when its rounds begin, and the last model it was given."""

    watch: Stopwatch
    model: ArrayRecord

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """See `FedAvg.configure_train`."""
        self.watch.mark()
        self.model = arrays
        return list(super().configure_train(server_round, arrays, config, grid))


def main(argv: Sequence[str] | None = None) -> None:
    given, work = arguments(argv, "--actors", "--gpus")
    data = load(given.data, work)
    strategy = Timed(
        fraction_train=work.cohort / work.clients,
        fraction_evaluate=0.0,
        min_available_nodes=work.clients,
        min_train_nodes=work.cohort,
    )
    strategy.watch = Stopwatch(given.rounds)
    server_app, client_app = ServerApp(), ClientApp()
    client_app.train()(train)

    @server_app.main()
    def start(grid: Grid, context: Context) -> None:
        names = [name for name in data.initial if "num_batches_tracked" not in name]
        initial = {name: torch.from_numpy(data.initial[name]) for name in names}
        strategy.start(
            grid,
            ArrayRecord(initial),
            num_rounds=WARM_UP + given.rounds + 1,  # a round ends when the next one begins
            train_config=ConfigRecord({"work": given.work, "data": os.path.abspath(given.data)}),
        )

    cpus = int(given.actors or len(os.sched_getaffinity(0)))
    resources = {"num_cpus": 1, "num_gpus": float(given.gpus or 0)}
    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=work.clients,
        backend_config={
            "client_resources": resources,
            "init_args": {"num_cpus": cpus, "log_to_driver": False},
        },
    )
    model = {name: array.numpy() for name, array in strategy.model.items()}
    report(given, strategy.watch, model)


if __name__ == "__main__":
    # Through the module's own name, by which Ray's actors find `train` and keep its cache.
    from benchmarks.runners import flower

    flower.main()
