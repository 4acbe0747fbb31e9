"""The ``privacy`` block of a scenario."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat

from fedlab.config.component import ConfigBlock


class PrivacySpec(ConfigBlock):
    """Central differential privacy: the server clips every update and adds noise to their sum.

    What is protected is a client's whole data; the server itself is trusted. The guarantee is for
    the models that go down, not for the measures of the history, nor for layers that stay with a
    client.

    Attributes:
        noise_multiplier: Standard deviation of the noise, in units of `clipping_norm`.
        clipping_norm: Largest Euclidean norm of a client's update, over all its tensors together.
        delta: δ, the probability that ε does not hold; well below one over the number of clients.
        max_epsilon: The run is refused if its rounds spend more than this ε.
        noise: Where the noise comes from. ``seeded``: the scenario's seed, so that the run can be
            repeated, for simulations: with the seed, the noise can be subtracted again.
            ``secret``: the operating system, anew in every round, for devices.
    """

    noise_multiplier: PositiveFloat
    clipping_norm: PositiveFloat
    delta: float = Field(default=1e-5, gt=0, lt=1)
    max_epsilon: PositiveFloat | None = None
    noise: Literal["seeded", "secret"] = "seeded"
