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

if TYPE_CHECKING:
    from fedlab.federation.round_strategy import RoundStrategy

log = logging.getLogger("fedlab")


class WorkloadWriter:
    """Observer that logs a client's parameters and traffic, and writes ``workload.json``.

    Args:
        folder: The run's folder.
        model: The network, adapted to the method.
        passes: Samples that go forward and backward through it, and labelled ones of a step, by
            name; empty where that is not known.
        counted: Natural clients that the data make; empty where the scenario has their number.
    """

    def __init__(
        self,
        folder: RunFolder,
        model: nn.Module,
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
        network, beside = learning(self.model), method.trained_beside(self.model)
        told = {"parameters": network + beside, **self.passes, **self.counted}
        write_whole(self.folder.workload_file, json.dumps(told) + "\n")
        if first_round > 1:
            return
        down = sum(map(tensor_bytes, strategy.broadcast(first_round).values()))
        more = f" and {beside:,} of {method.name}'s own" * bool(beside)
        up = strategy.upload_bytes(down)
        log.info(
            "a client trains %s parameters%s; in a round %s go down to it and %s come up",
            f"{network:,}",
            more,
            size(down),
            size(up),
        )

    def on_round(self, strategy: RoundStrategy, report: RoundReport) -> None:
        """Does nothing."""

    def on_end(self, strategy: RoundStrategy) -> None:
        """Does nothing."""
