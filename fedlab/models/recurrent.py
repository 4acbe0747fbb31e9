"""Recurrent networks for ids and series.

LSTM: Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, with the
forget gate of Gers, Schmidhuber and Cummins, 2000. GRU: Cho et al., "Learning Phrase
Representations using RNN Encoder-Decoder for Statistical Machine Translation", EMNLP 2014, arXiv
1406.1078. Equations and initial values are those of `torch.nn.LSTM` and `torch.nn.GRU`, which
`torch.func.vmap` cannot stack; here a step is two dense layers, so that many clients train as one,
and files for devices hold plain operators.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from math import sqrt
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from fedlab.models.sequence_stem import stem
from fedlab.models.spec import ModelSpec

State = tuple[Tensor, ...]
"""What a layer hands from step to step, each of shape (batch, width); the first is its output."""


class RecurrentLayer(nn.Module):
    """One layer of a recurrent network.

    Args:
        size: Numbers of an input.
        width: Numbers of an output.
    """

    gates: ClassVar[int]
    states: ClassVar[int]

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.inputs = nn.Linear(size, self.gates * width)
        self.hidden = nn.Linear(width, self.gates * width)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / sqrt(width), 1 / sqrt(width))

    def forward(self, vectors: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Reads sequences from their beginnings; padding steps keep the state.

        Args:
            vectors: Shape (batch, length, size).
            there: 1, and 0 where a step only fills up; shape (batch, length).

        Returns:
            The outputs of all steps, shape (batch, length, width), and that of the last one, shape
            (batch, width).
        """
        entered = self.inputs(vectors)
        begin = torch.zeros_like(entered[:, 0, : self.width])
        state = (begin,) * self.states
        outputs = []
        for step in range(vectors.shape[1]):
            new = self.step(entered[:, step], self.hidden(state[0]), state)
            counts = there[:, step, None] > 0
            state = tuple(
                torch.where(counts, each, old) for each, old in zip(new, state, strict=True)
            )
            outputs.append(state[0])
        return torch.stack(outputs, dim=1), state[0]

    @abstractmethod
    def step(self, entered: Tensor, hidden: Tensor, state: State) -> State:
        """The next state.

        Args:
            entered: What the input adds to the gates, shape (batch, gates x width).
            hidden: What the last output adds, of the same shape.
            state: The last state.
        """


class GRULayer(RecurrentLayer):
    """r = σ(i_r + h_r), z = σ(i_z + h_z), n = tanh(i_n + r h_n); h' = (1 - z) n + z h."""

    gates: ClassVar[int] = 3
    states: ClassVar[int] = 1

    def step(self, entered: Tensor, hidden: Tensor, state: State) -> State:
        """See `RecurrentLayer.step`."""
        (i_r, i_z, i_n), (h_r, h_z, h_n) = entered.chunk(3, dim=1), hidden.chunk(3, dim=1)
        keep = torch.sigmoid(i_z + h_z)
        new = torch.tanh(i_n + torch.sigmoid(i_r + h_r) * h_n)
        return (new + keep * (state[0] - new),)


class LSTMLayer(RecurrentLayer):
    """c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'), with each gate a sum of both layers."""

    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2

    def step(self, entered: Tensor, hidden: Tensor, state: State) -> State:
        """See `RecurrentLayer.step`."""
        i, f, g, o = (entered + hidden).chunk(4, dim=1)
        cell = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell


class RecurrentNetwork(nn.Module):
    """Stacked recurrent layers, and a dense layer on the last output.

    Args:
        begin: Gives vectors of the samples (see `fedlab.models.sequence_stem`).
        layers: The recurrent layers.
        head: The dense layer.
    """

    def __init__(self, begin: nn.Module, layers: list[nn.Module], head: nn.Linear) -> None:
        super().__init__()
        self.begin, self.layers, self.head = begin, nn.ModuleList(layers), head

    def forward(self, inputs: Tensor) -> Tensor:
        """Samples -> outputs of shape (batch, classes)."""
        vectors, there = self.begin(inputs)
        last = vectors[:, 0]
        for layer in self.layers:
            vectors, last = layer(vectors, there)
        return self.head(last)


class _Recurrent(ModelSpec):
    """The base of GRU and LSTM.

    Attributes:
        width: Numbers of a state.
        layers: Layers one upon the other.
        embedding: Numbers of an id's vector; series enter as they are.
    """

    layer: ClassVar[Callable[[int, int], nn.Module]]
    width: PositiveInt = 64
    layers: PositiveInt = 1
    embedding: PositiveInt = 32

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network.

        Raises:
            InputError: If samples are neither ids nor series (channels, length).
        """
        begin, size, _ = stem(self.name, input_shape, self.embedding, projects=False)
        sizes = [size, *[self.width] * (self.layers - 1)]
        layers = [type(self).layer(size, self.width) for size in sizes]
        return RecurrentNetwork(begin, layers, nn.Linear(self.width, classes))


class GRU(_Recurrent):
    """Gated recurrent units over ids or a series, and a dense layer on the last state.

    Ids that only fill up are skipped, wherever they stand. The network of LEAF's next-character
    task has an LSTM of two layers in this place.

    Attributes:
        width: Numbers of a state.
        layers: Layers one upon the other.
        embedding: Numbers of an id's vector; series enter as they are.
    """

    name: Literal["gru"] = "gru"
    layer: ClassVar[Callable[[int, int], nn.Module]] = GRULayer


class LSTM(_Recurrent):
    """Long short-term memory over ids or a series, and a dense layer on the last state.

    Ids that only fill up are skipped, wherever they stand. LEAF's next-character task (Caldas et
    al., 2018, arXiv 1812.01097) takes ``embedding: 8``, ``layers: 2`` and ``width: 256``.

    Attributes:
        width: Numbers of a state.
        layers: Layers one upon the other.
        embedding: Numbers of an id's vector; series enter as they are.
    """

    name: Literal["lstm"] = "lstm"
    layer: ClassVar[Callable[[int, int], nn.Module]] = LSTMLayer
