"""A client's work in a round: logged when a run starts, and stored in the run's folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from torch import nn

from fedlab.federation.callbacks import RoundReport
from fedlab.files import write_whole
from fedlab.models.layers import learning
from fedlab.records import tensor_bytes
from fedlab.report.units import size
from fedlab.runs.run_folder import RunFolder
from fedlab.runs.run_record import DIFFER

if TYPE_CHECKING:
    from fedlab.federation.round_strategy import RoundStrategy

log = logging.getLogger("fedlab")


class WorkloadWriter:
    """Observer that logs a client's parameters and traffic, and writes ``workload.json``.

    Args:
        folder: The run's folder.
        model: The network, adapted to the method; None where clients have different ones.
        passes: Samples that go forward and backward through it, and labelled ones of a step, by
            name; empty where that is not known.
        counted: Natural clients that the data make; empty where the scenario has their number.
    """

    def __init__(
        self,
        folder: RunFolder,
        model: nn.Module | None,
        passes: Mapping[str, float] = MappingProxyType({}),
        counted: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self.model = model
        self.passes = passes
        self.counted = counted

    def on_start(self, strategy: RoundStrategy, first_round: int, rounds: int) -> None:
        """Counts parameters and bytes."""
        method = strategy.parameters
        if self.model is None:
            parameters, trains = DIFFER, "a client trains one of several networks"
        else:
            network, beside = learning(self.model), method.trained_beside(self.model)
            parameters = network + beside
            more = f" and {beside:,} of {method.name}'s own" * bool(beside)
            trains = f"a client trains {network:,} parameters{more}"
        content = {"parameters": parameters, **self.passes, **self.counted}
        write_whole(self.folder.workload_file, json.dumps(content) + "\n")
        if first_round > 1:
            return
        sent = strategy.broadcast(first_round) | strategy.sent_to(0)
        down = sum(map(tensor_bytes, sent.values()))
        up = strategy.upload_bytes(down)
        log.info("%s; in a round %s go down to it and %s come up", trains, size(down), size(up))

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Does nothing."""

    def on_end(self, strategy: RoundStrategy) -> None:
        """Does nothing."""
