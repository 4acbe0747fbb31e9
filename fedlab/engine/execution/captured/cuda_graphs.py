"""Steps as CUDA graphs: the host launches one graph instead of every kernel of a step.

Written after PyTorch's notes on CUDA graphs (pytorch.org/docs, "CUDA semantics"): kernels are
recorded on a stream of their own, after runs on that very stream that let libraries allocate what
they need; everything that a step allocates, gradients among it, comes from the graph's own pool of
memory and has the same addresses in every replay; nothing in a step may wait for the device or copy
from the host. Dropout draws from the device's default generator, whose seed and offset a replay
reads anew. ROCm goes by the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fedlab.engine.execution.captured.capture import Capture, Replay, Step

WARM_UP = 3
"""Runs of a step before its capture, as many as PyTorch's own `torch.cuda.make_graphed_callables`
takes."""


class CUDAGraphs(Capture):
    """Captures steps on one CUDA device; their graphs share one pool of memory.

    Graphs may share memory because they are replayed one after the other on one stream, and none
    reads what another has left in the pool: what outlives a step lies in tensors outside of it.
    """

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream()

    @cached_property
    def _pool(self) -> Any:
        return torch.cuda.graph_pool_handle()

    def capture(self, step: Step, tensors: Sequence[Tensor]) -> Replay:
        """See `Capture.capture`."""
        with torch.cuda.device(tensors[0].device):
            stream = self._stream
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):
                    step(tensors)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # The other threads of this process may go on with what they do on other streams.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"
            ):
                step(tensors)
        return graph.replay
