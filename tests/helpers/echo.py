"""A strategy without clients: a grid that answers with numbers one knows."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from flwr.app import Message, MetricRecord, RecordDict
from torch import nn

from fedlab import flower_compat
from fedlab.records import Tensors, arrays_of, from_record, to_record
from fedlab.strategies.base import Strategy


class Echo:
    """A grid whose clients add their own number to everything they get."""

    def __init__(self, moves: list[float], examples: list[int]) -> None:
        flower_compat.assume_identity()
        self.moves, self.examples = moves, examples

    def get_node_ids(self) -> Iterable[int]:
        return range(len(self.moves))

    def get_nodes(self) -> Iterable[flower_compat.NodeInfo]:
        return [flower_compat.NodeInfo(node_id=node) for node in self.get_node_ids()]

    def send_and_receive(self, messages: Iterable[Message], *, timeout=None) -> list[Message]:
        replies = []
        for message in reversed(list(messages)):  # out of order on purpose
            node = message.metadata.dst_node_id
            arrays = {
                name: to_record({n: (t + self.moves[node]).to(t.dtype) for n, t in tensors.items()})
                for name, tensors in arrays_of(message.content).items()
            }
            metrics = MetricRecord({"num-examples": self.examples[node], "loss": 1.0})
            content = RecordDict({**arrays, "metrics": metrics})
            replies.append(Message(content, reply_to=message))
        return replies


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(1, 1)
        self.norm = nn.BatchNorm1d(1)


def run(strategy: Strategy, grid: Echo, rounds: int) -> Tensors:
    start = {n: torch.zeros_like(t) for n, t in Net().state_dict().items()}
    result = strategy.start(grid, to_record(start), num_rounds=rounds)  # type: ignore[arg-type]
    return from_record(result.arrays)
