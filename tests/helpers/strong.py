"""Strong views of a batch, in one call."""

from torch import Tensor

from fedlab.data.randaugment import apply, plan


def strong_view(pixels: Tensor, draws: Tensor, *, mirrors: bool) -> Tensor:
    """The views that draws ask for."""
    return apply(pixels, plan(draws, *pixels.shape[2:], mirrors=mirrors))
