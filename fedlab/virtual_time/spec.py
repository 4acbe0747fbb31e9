"""The ``devices`` block of a scenario: the clients' devices, and how long replies are awaited.

The rules are those of synchronous federated learning in production (Towards Federated Learning at
Scale: System Design, Bonawitz et al., MLSys 2019, arXiv 1902.01046): more clients are asked than
are needed, a round takes the first replies, and no reply is waited for beyond a deadline.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, PositiveFloat, model_validator

from fedlab.config.component import ConfigBlock


class DeviceProfile(ConfigBlock):
    """One kind of device.

    Attributes:
        name: What it is called.
        share: Its part of the clients, relative to the shares of other profiles.
        domains: Domains whose clients have this device, or another that names the domain. A profile
            without domains is for all clients whose domain no profile names.
        samples_per_second: Training samples that it goes through in a second.
        download_mbps: Megabits (of 1,000,000 bits) that it receives in a second.
        upload_mbps: Megabits that it sends in a second.
        availability: Share of the time in which it can be asked to train.
        sigma: How far devices of this kind differ: the standard deviation of the logarithm of its
            three rates, which are drawn once for each client.
    """

    unbounded: ClassVar[frozenset[str]] = frozenset(
        {"samples_per_second", "download_mbps", "upload_mbps"}
    )
    name: str = "device"
    share: PositiveFloat = 1.0
    domains: tuple[str, ...] = ()
    samples_per_second: PositiveFloat
    download_mbps: PositiveFloat
    upload_mbps: PositiveFloat
    availability: float = Field(default=1.0, gt=0, le=1)
    sigma: float = Field(default=0.0, ge=0, le=10)


class DevicesSpec(ConfigBlock):
    """What clients run on. Without profiles there is no virtual clock, and nothing changes.

    Attributes:
        profiles: The kinds of devices.
        deadline: Virtual seconds after which a round goes on without the missing replies.
        over_selection: Clients that are asked for every reply that the round waits for: the first
            replies are taken, and the others come too late.
        dropout: Probability that a client that was asked never replies.
        period: Virtual seconds for which a client stays available, or not, before that is drawn
            anew.
    """

    profiles: tuple[DeviceProfile, ...] = ()
    deadline: PositiveFloat | None = None
    over_selection: float = Field(default=1.0, ge=1, allow_inf_nan=False)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    period: PositiveFloat = Field(default=600.0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _there_are_devices(self) -> DevicesSpec:
        fields = type(self).model_fields
        changed = [key for key in fields if getattr(self, key) != fields[key].default]
        if changed and not self.profiles:
            raise ValueError(
                f"{', '.join(changed)} without profiles changes nothing; say what the devices are, "
                "such as devices.profiles=[{samples_per_second: 100, download_mbps: 20, "
                "upload_mbps: 5}]"
            )
        always = all(profile.availability == 1 for profile in self.profiles)
        if self.profiles and always and "period" in changed:
            raise ValueError(
                f"period {self.period:g} would have no effect: every profile is available at all "
                "times; leave it out, or set the availability of a profile"
            )
        names = [profile.name for profile in self.profiles]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two profiles have the name '{twice[0]}'; give each its own name")
        return self
