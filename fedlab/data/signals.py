"""Generated windows of sensor signals: waveforms, and sensors that measure differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt

from fedlab import rng
from fedlab.data.samples import Domain
from fedlab.data.source import LoadContext, Source

SENSORS = ("wrist", "ankle", "hip", "chest", "pocket", "head")
WAVEFORMS = ("sine", "square", "sawtooth", "pulses")


class Signals(Source):
    """Windows of several channels; the class is the waveform, the domain the sensor.

    Frequency (2 to 5 periods a window), phase and strength are drawn for each window; channels
    follow one another by an eighth of a period. A sensor has its own gain and offset for each
    channel, and its own noise, which grows from the first sensor to the last. Classes are balanced.

    Attributes:
        sensors: Number of sensors, each of which is a domain.
        channels: Channels of a window.
        points: Points in time of a window.
        train_per_domain: Training windows of each sensor.
        test_per_domain: Test windows of each sensor.
        noise: Standard deviation of the last sensor's noise, as a share of the largest wave's
            height.
    """

    name: Literal["signals"] = "signals"
    sensors: int = Field(default=4, ge=1, le=len(SENSORS))
    channels: PositiveInt = 3
    points: int = Field(default=64, ge=8)
    train_per_domain: PositiveInt = 400
    test_per_domain: PositiveInt = 200
    noise: NonNegativeFloat = 0.6

    def names(self, context: LoadContext) -> Sequence[str]:
        """See `Source.names`."""
        return SENSORS[: self.sensors]

    def load(self, context: LoadContext) -> Sequence[Domain]:
        """Makes all windows, float32 of shape (n, channels, points)."""
        shape = (self.train_per_domain + self.test_per_domain, self.channels, self.points)
        context.limits.check_array(shape, 8, f"{context.key}: the windows of a sensor")
        return [self._sensor(place, context) for place in range(self.sensors)]

    def _sensor(self, place: int, context: LoadContext) -> Domain:
        name = SENSORS[place]
        own = rng.generator(context.seed, "signals", name, "sensor")
        gain = own.uniform(0.3, 3.0, (self.channels, 1))
        offset = own.normal(0, 1, (self.channels, 1))
        noise = self.noise * (place + 1) / self.sensors

        def windows(split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
            draws = rng.generator(context.seed, "signals", name, split)
            labels = draws.permutation(np.arange(count) % len(WAVEFORMS))
            waves = _waves(labels, self.channels, self.points, draws)
            noisy = waves + noise * draws.standard_normal(waves.shape)
            return (gain * noisy + offset).astype(np.float32), labels.astype(np.int64)

        train = windows("train", self.train_per_domain)
        return Domain(name, *train, *windows("test", self.test_per_domain), WAVEFORMS)


def _waves(
    labels: np.ndarray, channels: int, points: int, draws: np.random.Generator
) -> np.ndarray:
    """Waves between -1 and 1, shape (n, channels, points)."""
    n = len(labels)
    periods, begin, strength = (
        draws.uniform(low, high, (n, 1, 1)) for low, high in ((2, 5), (0, 1), (0.6, 1))
    )
    time = np.arange(points) / points + np.zeros((n, channels, 1))
    phase = (periods * time + begin + np.arange(channels)[:, None] / 8) % 1
    shapes = [
        np.sin(2 * np.pi * phase),
        np.where(phase < 0.5, 1.0, -1.0),
        2 * phase - 1,
        np.where(phase < 0.2, 1.0, -0.25),
    ]
    return strength * np.choose(labels[:, None, None], shapes)
