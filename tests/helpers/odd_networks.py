"""Networks that say something of themselves: frozen, tied, checkpointed, and more."""

from __future__ import annotations

import math
from typing import Any, Self

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint, checkpoint_sequential


class Plain(nn.Module):
    """Two dense layers."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.a = nn.Linear(math.prod(input_shape), 12)
        self.m = nn.Linear(12, 12)
        self.b = nn.Linear(12, num_classes)
        self.change()

    def change(self) -> None:
        """What makes the network odd."""

    def middle(self, hidden: Tensor) -> Tensor:
        return F.relu(self.m(hidden))

    def body(self, x: Tensor) -> Tensor:
        return self.middle(F.relu(self.a(x.flatten(1))))

    def forward(self, x: Tensor) -> Any:
        return self.b(self.body(x))


class Frozen(Plain):
    """The first layer does not learn."""

    def change(self) -> None:
        self.a.requires_grad_(False)


class FrozenInTrain(Plain):
    """The first layer stops learning when training begins."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.a.requires_grad_(False)
        return self


class FrozenWhileTraining(Plain):
    """The first layer has gradients in tests alone."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.a.requires_grad_(not mode)
        return self


class Thawing(Plain):
    """All learns once training begins, whatever was frozen before."""

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.requires_grad_(True)
        return self


class FrozenHead(Plain):
    """The head does not learn."""

    def change(self) -> None:
        self.b.requires_grad_(False)


class Tied(Plain):
    """Two names for one weight."""

    def change(self) -> None:
        self.d = nn.Linear(12, 12)
        self.d.weight = self.m.weight

    def middle(self, hidden: Tensor) -> Tensor:
        return F.relu(self.d(super().middle(hidden)))


class TiedHead(Plain):
    """A head of the weights of another layer."""

    def change(self) -> None:
        self.spare = nn.Linear(12, self.b.out_features, bias=False)
        self.b = nn.Linear(12, self.spare.out_features, bias=False)
        self.b.weight = self.spare.weight

    def middle(self, hidden: Tensor) -> Tensor:
        return F.relu(self.m(hidden) + self.spare(hidden).mean(1, keepdim=True))


class SharedModule(Plain):
    """One module, with batch normalisation, in two places."""

    def change(self) -> None:
        self.first = self.second = nn.Sequential(nn.Linear(12, 12), nn.BatchNorm1d(12))

    def middle(self, hidden: Tensor) -> Tensor:
        return self.second(F.relu(self.first(hidden)))


class NonPersistent(Plain):
    """A table that is no part of the state dict."""

    scale: Tensor

    def change(self) -> None:
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 12), persistent=False)

    def middle(self, hidden: Tensor) -> Tensor:
        return super().middle(hidden) * self.scale


class SpectralNorm(Plain):
    """No layer but the last stretches its input."""

    old = False

    def change(self) -> None:
        wrap = nn.utils.spectral_norm if self.old else parametrizations.spectral_norm
        wrap(self.a)
        wrap(self.m)


class OldSpectralNorm(SpectralNorm):
    """The same by PyTorch's older function."""

    old = True


class OldWeightNorm(Plain):
    """A weight that is made anew in every forward pass."""

    def change(self) -> None:
        nn.utils.weight_norm(self.m)


class WeightNorm(Plain):
    """The same by PyTorch's newer function, of the head, too."""

    def change(self) -> None:
        parametrizations.weight_norm(self.m)
        parametrizations.weight_norm(self.b)


class Empty(Plain):
    """A parameter of no numbers."""

    def change(self) -> None:
        self.unused = nn.Parameter(torch.empty(0))


class Checkpointed(Plain):
    """The middle is computed again in the backward pass."""

    def forward(self, x: Tensor) -> Any:
        hidden = F.relu(self.a(x.flatten(1)))
        return self.b(checkpoint(self.middle, hidden, use_reentrant=False))


class Reentrant(Plain):
    """The same, of PyTorch's older kind."""

    def forward(self, x: Tensor) -> Any:
        hidden = F.relu(self.a(x.flatten(1)))
        return self.b(checkpoint(self.middle, hidden, use_reentrant=True))


class Segments(Plain):
    """A sequence in two segments, of which the first is computed again."""

    def change(self) -> None:
        self.net = nn.Sequential(self.a, nn.ReLU(), self.m, nn.ReLU())

    def body(self, x: Tensor) -> Tensor:
        return checkpoint_sequential(self.net, 2, x.flatten(1), use_reentrant=False)


class Masked(Plain):
    """Half of the middle's weights are pruned, and a hook keeps them so."""

    def change(self) -> None:
        keep = (torch.arange(144).view(12, 12) % 2).float()
        self.m.weight.data *= keep
        self.m.weight.register_hook(lambda gradient: gradient * keep)


class Reversed(Plain):
    """The gradient turns round behind the middle."""

    def change(self) -> None:
        self.m.register_full_backward_hook(lambda _, into, __: tuple(-g for g in into))


class Halves(Plain):
    """Two weights are the halves of one tensor."""

    def change(self) -> None:
        self.d, whole = nn.Linear(12, 12), torch.randn(24, 12) / 4
        self.m.weight, self.d.weight = (nn.Parameter(half) for half in whole.split(12))

    def middle(self, hidden: Tensor) -> Tensor:
        return F.relu(self.d(super().middle(hidden)))


class Overlapping(Halves):
    """Two weights are the same numbers, and two parameters."""

    def change(self) -> None:
        super().change()
        self.d.weight = nn.Parameter(self.m.weight.data)


class Renamed(Plain):
    """A state dict of other names."""

    def change(self) -> None:
        self._register_state_dict_hook(lambda m, s, p, _: {f"net.{k}": v for k, v in s.items()})


class Dropping(Plain):
    """A state dict without the middle."""

    def change(self) -> None:
        self.register_state_dict_post_hook(lambda m, s, p, _: s.__delitem__("m.weight"))


class Rounding(Plain):
    """A state dict of other values."""

    def change(self) -> None:
        self.register_state_dict_post_hook(
            lambda m, s, p, _: s.update({"m.weight": s["m.weight"].round()})
        )


class Extra(Plain):
    """A version number in the state dict."""

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: Any) -> None:
        pass


class ExtraInside(Plain):
    """The same in a layer."""

    def change(self) -> None:
        self.inner = Extra((4,), 3)


class Accumulating(Plain):
    """A hook that runs once a gradient is in its place."""

    def change(self) -> None:
        self.m.weight.register_post_accumulate_grad_hook(lambda parameter: None)


class Adversarial(Plain):
    """A cache of what the last pass computed, read by the next."""

    def change(self) -> None:
        self.seen = [self.m.weight]

    def middle(self, hidden: Tensor) -> Tensor:
        return F.relu(F.linear(hidden, self.seen[0]))


class Dropped(Plain):
    """Dropout as a function."""

    def middle(self, hidden: Tensor) -> Tensor:
        return F.dropout(super().middle(hidden), 0.5, self.training)


class Branching(Plain):
    """What it does depends on a value."""

    def middle(self, hidden: Tensor) -> Tensor:
        return super().middle(hidden) if float(hidden.detach().sum()) > -1e9 else hidden


class Routing(Plain):
    """A whole batch takes one of two ways, by its mean."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.detach().mean()) > 0 else x * 0.5)


class Warming(Plain):
    """Counts its steps in an attribute, by which it weighs what it does."""

    def change(self) -> None:
        self.steps = 0

    def middle(self, hidden: Tensor) -> Tensor:
        self.steps += self.training
        return super().middle(hidden) * min(1.0, self.steps / 10)


class LateWarming(Warming):
    """Counts its steps, and does something else after the thousandth."""

    def middle(self, hidden: Tensor) -> Tensor:
        self.steps += self.training
        return Plain.middle(self, hidden) * (1.0 if self.steps < 1000 else 0.5)


class Caching(Plain):
    """Keeps what depends on shapes alone, what it last saw, and who asked first."""

    def change(self) -> None:
        self.asked = False
        self.tables: dict[int, Tensor] = {}

    def middle(self, hidden: Tensor) -> Tensor:
        self.asked = True
        self.last = hidden.detach()
        width = hidden.shape[1]
        if width not in self.tables:
            self.tables[width] = torch.linspace(0.5, 1.5, width)
        return super().middle(hidden) * self.tables[width]


class Remembering(Plain):
    """Keeps the means of the last batches in a list."""

    def change(self) -> None:
        self.bank: list[Tensor] = []

    def middle(self, hidden: Tensor) -> Tensor:
        if self.training:
            self.bank = [*self.bank[-4:], hidden.detach().mean(0)]
        return super().middle(hidden) - (sum(self.bank) / len(self.bank) if self.bank else 0)


class Counting(Plain):
    """Counts its steps in a buffer that it makes anew."""

    def change(self) -> None:
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def middle(self, hidden: Tensor) -> Tensor:
        if self.training:
            self.steps = self.steps + 1
        return super().middle(hidden)


class Codebook(Plain):
    """A moving vector of unknown meaning."""

    code: Tensor

    def change(self) -> None:
        self.register_buffer("code", torch.zeros(12))

    def middle(self, hidden: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.code.mul_(0.5).add_(hidden.mean(dim=0).detach(), alpha=0.5)
        return super().middle(hidden)


class LastCodebook(Codebook):
    """Of which one client's is taken."""

    fedlab_buffers = {"code": "last"}  # noqa: RUF012


class LocalCodebook(Codebook):
    """Which stays with the client."""

    fedlab_buffers = {"code": "local"}  # noqa: RUF012


class ForgottenCodebook(Codebook):
    """Which every round begins anew."""

    fedlab_buffers = {"code": "none"}  # noqa: RUF012


class HeadFirst(Plain):
    """The head is registered before all else, and a projection that nothing passes behind it."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        nn.Module.__init__(self)
        self.b = nn.Linear(12, num_classes)
        self.a = nn.Linear(math.prod(input_shape), 12)
        self.m = nn.Linear(12, 12)
        self.projection = nn.Linear(12, 5)


class ReadHead(Plain):
    """The weights of the head are read, and the layer is never called."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.body(x), self.b.weight, self.b.bias)


class Cosine(Plain):
    """The same with lengths of one."""

    def forward(self, x: Tensor) -> Tensor:
        return 5 * F.linear(F.normalize(self.body(x)), F.normalize(self.b.weight))


class OwnWeights(Plain):
    """A matrix of the network's own makes the outputs."""

    def change(self) -> None:
        self.matrix = nn.Parameter(0.1 * torch.randn(self.b.weight.shape))
        del self.b

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) @ self.matrix.t()


class TwoHeads(Plain):
    """The mean of two dense layers."""

    def change(self) -> None:
        self.second = nn.Linear(12, self.b.out_features)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        return (self.b(hidden) + self.second(hidden)) / 2


class Branches(TwoHeads):
    """Two branches with a head each."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.a(x.flatten(1)))
        return self.b(hidden) + self.second(self.middle(hidden))


class Switching(TwoHeads):
    """One head in training, and another in tests."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.b if self.training else self.second)(self.body(x))


class ReadMiddle(Plain):
    """The weights of the middle are read, and the layer is never called."""

    def middle(self, hidden: Tensor) -> Tensor:
        return F.relu(F.linear(hidden, self.m.weight))


class ConvolutionalHead(nn.Module):
    """A dense gate, and a convolution that makes the outputs."""

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(input_shape[0], 6, 3)
        self.b = nn.Conv2d(6, num_classes, 1)
        self.gate = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.a(x))
        gate = torch.sigmoid(self.gate(hidden.mean((2, 3))))
        return self.b(hidden * gate[..., None, None]).mean((2, 3))


class LateTerm(ConvolutionalHead):
    """What is called last is no part of the outputs of a convolution."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.a(x))
        outputs = self.b(hidden).mean((2, 3))
        self.gate(hidden.mean((2, 3)))
        return outputs


class BatchStatistics(Plain):
    """Batch normalisation without running statistics."""

    def change(self) -> None:
        self.norm = nn.BatchNorm1d(12, track_running_stats=False)

    def middle(self, hidden: Tensor) -> Tensor:
        return self.norm(super().middle(hidden))


class OwnNorm(nn.Module):
    """Root mean square by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(12))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x / (x.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()


class ToldNorm(OwnNorm):
    """The same, and it says so."""

    fedlab_normalises = "samples"


class Untold(Plain):
    """A normalisation of its own, and PyTorch's."""

    norm: type[nn.Module] = OwnNorm

    def change(self) -> None:
        self.own = self.norm()
        self.known = nn.LayerNorm(12)

    def middle(self, hidden: Tensor) -> Tensor:
        return self.own(self.known(super().middle(hidden)))


class Told(Untold):
    """Whose class says so."""

    norm = ToldNorm


class Auxiliary(Plain):
    """Two outputs while it trains."""

    def forward(self, x: Tensor) -> Any:
        return (self.b(self.body(x)), self.b(self.body(x))) if self.training else super().forward(x)


class LateFailure(Plain):
    """Fails in training mode alone."""

    def middle(self, hidden: Tensor) -> Tensor:
        if self.training:
            raise ValueError("no gradient tape")
        return super().middle(hidden)


class ReadTwice(Plain):
    """A weight of a dense layer that something else multiplies with, too."""

    def middle(self, hidden: Tensor) -> Tensor:
        return F.linear(super().middle(hidden), self.m.weight.t())


class TwiceInTraining(Plain):
    """A layer that is called once more while it trains."""

    def middle(self, hidden: Tensor) -> Tensor:
        once = super().middle(hidden)
        return super().middle(once) if self.training else once


class Temperature(Plain):
    """A parameter that is a single number."""

    def change(self) -> None:
        self.temperature = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) * self.temperature


class Idle(Plain):
    """A layer that learns in principle, and that nothing passes."""

    def change(self) -> None:
        self.spare = nn.Linear(12, 12)


class Alternating(Plain):
    """Every third step passes another layer instead of the middle; a buffer counts them."""

    steps: Tensor

    def change(self) -> None:
        self.other = nn.Linear(12, 12)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def middle(self, hidden: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        third = int(self.steps) % 3 == 0
        return F.relu(self.other(hidden)) if third else super().middle(hidden)


class Experts(Plain):
    """The dark and the bright samples of a batch go to an expert each, if there are any."""

    def change(self) -> None:
        self.experts = nn.ModuleList(nn.Linear(12, 12) for _ in range(3))
        self.gate = nn.Linear(12, 3)

    def middle(self, hidden: Tensor) -> Tensor:
        hidden = super().middle(hidden)
        weight, chosen = self.gate(hidden).softmax(dim=1).max(dim=1)
        mixed = torch.zeros_like(hidden)
        for number, expert in enumerate(self.experts):
            rows = (chosen == number).nonzero().flatten()
            if len(rows):
                mixed = mixed.index_add(0, rows, expert(hidden[rows]) * weight[rows, None])
        return hidden + mixed


class LargeBatches(Plain):
    """Only batches of more than twenty samples pass another layer."""

    def change(self) -> None:
        self.other = nn.Linear(12, 12)

    def middle(self, hidden: Tensor) -> Tensor:
        hidden = super().middle(hidden)
        return self.other(hidden) if len(hidden) > 20 else hidden


class SmallBatches(LargeBatches):
    """Only batches of up to twenty."""

    def middle(self, hidden: Tensor) -> Tensor:
        hidden = Plain.middle(self, hidden)
        return hidden if len(hidden) > 20 else self.other(hidden)


class Tiles(nn.Module):
    """A convolution, a normalisation and a dense layer."""

    norm: str | None = None

    def __init__(self, input_shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        kinds = {"batch": nn.BatchNorm2d(6), "group": nn.GroupNorm(2, 6)}
        self.a = nn.Conv2d(input_shape[0], 6, 3, stride=2)
        self.n = kinds.get(self.norm or "", nn.Identity())
        self.m = nn.Linear(6, 8)
        self.b = nn.Linear(8, num_classes)
        self.change()

    def change(self) -> None:
        """What makes the network odd."""

    def body(self, x: Tensor) -> Tensor:
        return F.relu(self.n(self.a(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.m(self.body(x).mean((2, 3)))))


class BatchNormed(Tiles):
    """Batch normalisation."""

    norm = "batch"


class GroupNormed(Tiles):
    """Group normalisation."""

    norm = "group"


class FrozenBody(Tiles):
    """A backbone that was trained elsewhere, and a head that learns."""

    norm = "batch"

    def change(self) -> None:
        self.a.requires_grad_(False)
        self.n.requires_grad_(False)


class HeadAlone(Tiles):
    """Nothing learns but the head."""

    norm = "batch"

    def change(self) -> None:
        for part in (self.a, self.n, self.m):
            part.requires_grad_(False)


class Residual(Tiles):
    """Two blocks around which inputs go, and which are computed again in the backward pass."""

    norm = "group"

    def change(self) -> None:
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(3, 6)) for _ in range(2)
        )

    def body(self, x: Tensor) -> Tensor:
        hidden = super().body(x)
        for block in self.blocks:
            again: Any = checkpoint(block, hidden, use_reentrant=False)
            hidden = hidden + F.relu(again)
        return hidden


def parallel(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A wrapper for several devices."""
    return nn.DataParallel(Plain(input_shape, num_classes))


def scripted(input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """A chain, compiled."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), num_classes))
    return torch.jit.script(net)
