"""What the steps of a round read, laid out before the first one and sent to the device in one copy.

Rows of samples, and all that is random about their images, are known on the host when a round
begins. An accelerator would wait for the host in every step that sends it something.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from fedlab.data.preprocess import Preprocess
from fedlab.device_copies import to_device

if TYPE_CHECKING:
    from fedlab.data.randaugment import StrongPlan


class Feed(NamedTuple):
    """What one step reads, for one client or for several.

    Attributes:
        rows: Indices into the samples, int64 of shape (..., batch).
        draws: What is random about the images, shape (..., batch, `fedlab.data.augment.DRAWS`);
            None where nothing is changed.
        strong: The plan of strong views of the last images of each client; None without.
        views: Number of these images of each client.
        noise: What the method draws beside (`ClientTrainer.draw`); None without.
    """

    rows: torch.Tensor
    draws: torch.Tensor | None = None
    strong: StrongPlan | None = None
    views: int = 0
    noise: torch.Tensor | None = None

    @classmethod
    def drawn(
        cls,
        rows: torch.Tensor,
        preprocess: Preprocess,
        generators: Sequence[torch.Generator],
        views: int | None,
        noise: torch.Tensor | None = None,
    ) -> Feed:
        """Draws what is random about a step, for each client from its own generator.

        Args:
            rows: int64 of shape (clients, batch), or (batch,) for one client.
            preprocess: Knows how images are changed.
            generators: One for each client; they are advanced.
            views: Number of strong views of each client; None for a step without.
            noise: What the method draws beside, for each client; None without.
        """
        draws, strong = preprocess.draw(rows.shape[-1], generators), None
        if views is not None:
            strong = preprocess.plan_strong(views, generators)
        alone = rows.dim() == 1 and draws is not None
        changes = draws[0] if alone and draws is not None else draws
        return cls(rows, changes, strong, views or 0, noise)


def send(feeds: Sequence[Feed], device: torch.device) -> list[Feed]:
    """The feeds on a device, in one copy."""
    if device.type == "cpu":
        return list(feeds)
    moved = iter(to_device([tensor for feed in feeds for tensor in _tensors(feed)], device))
    sent: list[Feed] = []
    for feed in feeds:
        rows = next(moved)
        draws = None if feed.draws is None else next(moved)
        strong = feed.strong
        if strong is not None:
            strong = strong._replace(crops=next(moved), back=next(moved), kinds=next(moved))
        noise = None if feed.noise is None else next(moved)
        sent.append(Feed(rows, draws, strong, feed.views, noise))
    return sent


def _tensors(feed: Feed) -> list[torch.Tensor]:
    plan = () if feed.strong is None else feed.strong[:3]
    return [each for each in (feed.rows, feed.draws, *plan, feed.noise) if each is not None]
