"""The app of `benchmarks.loopback` for stock Flower: fedlab's own ServerApp and ClientApp.

``LOOPBACK`` in the environment is the folder with the scenario.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import torch
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from fedlab.client_app import build_client_app
from fedlab.engine.execution.runtime import Runtime
from fedlab.engine.start import make_runtime
from fedlab.preparation import Prepared, prepare
from fedlab.runs.history import HistoryWriter
from fedlab.scenario_file import load_scenario
from fedlab.server_app import build_server_app

FOLDER = Path(os.environ.get("LOOPBACK", "."))
STOCK = FOLDER / "stock"


@cache
def prepared() -> Prepared:
    torch.set_num_threads(1)
    return prepare(load_scenario(FOLDER / "loopback.yaml"))


@cache
def runtime() -> Runtime:
    work = prepared()
    return make_runtime(work.scenario, "cpu", 1, work.data, work.partition)


def as_flower_sends(content: RecordDict) -> RecordDict:
    """The same records with arrays of Flower's own class, which alone it serialises."""
    return RecordDict(
        {
            name: ArrayRecord({key: Array(array.numpy()) for key, array in record.items()})
            if isinstance(record, ArrayRecord)
            else record
            for name, record in content.items()
        }
    )


class OnTheWire(ClientApp):
    """fedlab's ClientApp, with replies in the form that Flower sends."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = build_client_app(lambda context: runtime())

    def __call__(self, message: Message, context: Context) -> Message:
        """The reply to a message."""
        reply = self.inner(message, context)
        return Message(as_flower_sends(reply.content), reply_to=message)


client_app = OnTheWire()
server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    work = prepared()
    push = grid.push_messages

    def push_on_the_wire(messages: Iterable[Message]) -> Iterable[str]:
        forms: dict[int, RecordDict] = {}
        messages = list(messages)
        for message in messages:
            content = message.content
            if id(content) not in forms:
                forms[id(content)] = as_flower_sends(content)
            message.content = forms[id(content)]
        return push(messages)

    grid.push_messages = push_on_the_wire  # type: ignore[method-assign]
    while len(list(grid.get_node_ids())) < work.scenario.partition.number_of_clients:
        time.sleep(0.5)
    STOCK.mkdir(exist_ok=True)
    build_server_app(work.scenario, work.model, callbacks=[HistoryWriter(STOCK)])(grid, context)
    (STOCK / "done").touch()
