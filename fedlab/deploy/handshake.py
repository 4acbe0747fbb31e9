"""Messages between server and device besides those of the method.

server -> device   query.invite     what is to be learnt; the device looks at its data
device -> server                    who it is and what it has, or why it cannot take part
server -> device   train, evaluate  the method's, with a ``seat``: which client the device is
server -> device   query.farewell   the run is over, or there is no seat for the device
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar, get_type_hints

from flwr.app import ConfigRecord, RecordDict
from pydantic import NonNegativeInt, TypeAdapter

from fedlab.errors import InputError

INVITE = "query.invite"
FAREWELL = "query.farewell"
SEAT = "seat"

T = TypeVar("T", bound="WireRecord")


@dataclass(frozen=True)
class WireRecord:
    """Plain values in one record of a message."""

    def to_content(self) -> RecordDict:
        """The content of a message."""
        values = {name: _plain(value) for name, value in asdict(self).items()}
        return RecordDict({"terms": ConfigRecord(values)})

    @classmethod
    def of(cls: type[T], content: RecordDict) -> T:
        """Reads the content of a message.

        Raises:
            InputError: If it is of another version's form.
        """
        record: Mapping[str, Any] = content.get("terms") or {}  # type: ignore[assignment]
        kinds = get_type_hints(cls, include_extras=True)
        try:
            if record.keys() != kinds.keys():
                raise ValueError("there are other fields")
            return cls(
                **{
                    name: TypeAdapter(kind).validate_python(_kept(record[name]), strict=True)
                    for name, kind in kinds.items()
                }
            )
        except ValueError as error:
            raise InputError(
                "server and device speak different versions of fedlab; install the same version "
                "on both"
            ) from error


@dataclass(frozen=True)
class Invitation(WireRecord):
    """A server's invitation to a run.

    Attributes:
        run: The run's id, which is kept over restarts of the server.
        version: The server's version of fedlab.
        scenario: The scenario as YAML.
        classes: Names of the classes, in the order of their indices.
        shape: Shape of one sample: (channels, height, width) or (features,).
        own_tensors: Names and forms of the network's tensors that are not in messages.
        own_sums: Norm and weighted sum of each (see `fedlab.deploy.device.own_tensors`), one after
            the other.
        features: Names of a table's features, in the order in which the network gets them; empty
            where they have none.
    """

    run: str
    version: str
    scenario: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    own_tensors: tuple[str, ...] = ()
    own_sums: tuple[float, ...] = ()
    features: tuple[str, ...] = ()

    @property
    def sketch(self) -> dict[str, tuple[float, float]]:
        """The server's checksums of the tensors that are not in messages."""
        pairs = zip(self.own_sums[::2], self.own_sums[1::2], strict=False)
        return dict(zip(self.own_tensors, pairs, strict=False))


@dataclass(frozen=True)
class DeviceInfo(WireRecord):
    """A device's reply to an invitation.

    Attributes:
        name: The device's name; with a key, the server uses the key's name instead.
        domain: Name of its samples' domain.
        train: Number of training samples.
        test: Number of test samples.
        refused: Why it cannot take part; empty if it can.
    """

    name: str
    domain: str = ""
    train: NonNegativeInt = 0
    test: NonNegativeInt = 0
    refused: str = ""


@dataclass(frozen=True)
class Farewell(WireRecord):
    """The server's last message to a device.

    Attributes:
        finished: Whether the run has ended.
        reason: Why the device is dismissed, if not.
    """

    finished: bool
    reason: str = ""


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _kept(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
