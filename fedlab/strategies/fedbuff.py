"""FedBuff, strategy: asynchronous clients; the server steps after every K updates.

Federated Learning with Buffered Asynchronous Aggregation, Nguyen, Malik, Zhan, Yousefpour, Rabbat,
Malek, Huba, AISTATS 2022, arXiv 2106.06639.

Up: the whole model, of which the server takes the change since the client began. Down: the whole
model of the moment. Stays: nothing. A round is one server step, on the clock of the scenario's
``devices``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType
from flwr.serverapp import Grid
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn

from fedlab.errors import InputError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.weighted_mean import weighted_mean
from fedlab.records import Tensors, tensor_bytes
from fedlab.strategies.families.fedopt import ServerOptimizerParameters
from fedlab.strategies.families.server_update import ServerStep, plus
from fedlab.virtual_time.async_clients import AsyncClients, BufferResult, End
from fedlab.virtual_time.round_plan import RoundPlan

if TYPE_CHECKING:
    from fedlab.config.experiment import Experiment

IN_FLIGHT = "in-flight"
"""Name of the record of the clients that are training."""

VERSION = "version-{:06d}"
"""Names of the records of models that clients began with."""

EMPTY = BufferResult((), (), 0, 0, 0.0)


class FedBuffParameters(ServerOptimizerParameters):
    """FedBuff's parameters.

    Attributes:
        weighting: Every update counts the same, as in the paper.
        server_lr: η_g, the server's step along the mean change.
        buffer_size: K, updates to a server step.
        concurrency: Largest number of clients that train at the same time.
        staleness_exponent: a in the weight (1 + τ)^-a of an update whose client began τ server
            steps ago; 1/2 is the paper's, 0 weighs them all the same.
    """

    name: str = "fedbuff"
    weighting: Literal["examples", "uniform"] = "uniform"
    server_lr: PositiveFloat = 1.0
    buffer_size: PositiveInt = 10
    concurrency: PositiveInt = 20
    staleness_exponent: NonNegativeFloat = 0.5

    def check(self, scenario: Experiment, model: nn.Module) -> None:
        """Refuses scenarios without devices, and what belongs to synchronous rounds.

        Raises:
            InputError: With the reason and the remedy.
        """
        devices, clients = scenario.devices, scenario.partition.number_of_clients
        if not devices.profiles:
            raise InputError(
                "strategy.name: fedbuff takes updates in the order in which they arrive, and the "
                "scenario does not say what clients run on; write devices.profiles, such as "
                "[{samples_per_second: 100, download_mbps: 20, upload_mbps: 5}]"
            )
        for name, value in (
            ("participation.fraction", scenario.participation.fraction),
            ("devices.over_selection", devices.over_selection),
        ):
            if value != 1:
                raise InputError(
                    f"{name}: {value:g} is about the cohort of a round, and fedbuff has none; "
                    "leave it out, and say with strategy.concurrency how many clients work at the "
                    "same time"
                )
        for name in ("buffer_size", "concurrency"):
            if getattr(self, name) > clients:
                raise InputError(
                    f"strategy.{name}: {getattr(self, name)} is more than the {clients} clients "
                    f"that there are; use at most {clients}"
                )


class FedBuff(ServerStep[FedBuffParameters]):
    """w ← w + η_g Σ p_i (1 + τ_i)^-a (y_i - w_i) (Algorithm 1; p_i = 1/K if all weigh the same).

    w_i is the model that client i began with, and τ_i how many steps the server has made since.
    The state holds the model, the clients that are training, and the models they began with.
    """

    needs_only_mean = False
    takes_changed_updates = False
    ended = EMPTY
    """What happened in this round on the virtual clock."""

    @property
    def replies_needed(self) -> int:
        """A full buffer."""
        return self.parameters.buffer_size

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """The model at the beginning of that round."""
        return {"arrays": self._model(server_round - 1)}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each update that arrives until the buffer is full.

        Clients that began with the same model share one content object.
        """
        self._adopt(arrays)
        nodes = sorted(grid.get_node_ids())
        self.population = len(nodes)
        flight = self._in_flight()
        self.ended = flight.until(self.replies_needed, server_round - 1)
        self.state[IN_FLIGHT] = flight.state()
        begun: dict[int, list[int]] = {}
        for trip in self.ended.arrived:
            begun.setdefault(trip.version, []).append(nodes[trip.client])
        return [
            message
            for version, members in sorted(begun.items())
            for message in self._messages(version + 1, config, members, MessageType.TRAIN)
        ]

    def plan(self, server_round: int, messages: Sequence[Message], grid: Grid) -> RoundPlan:
        """All messages are answered; the round ends when the last reply arrives."""
        arrived, lost = self.ended.arrived, self.ended.lost
        late = [trip.client for trip in lost if trip.end is End.LATE]
        down, up = self._bytes()
        return RoundPlan(
            accepted=messages,
            asked=self.ended.started,
            replies={trip.client: trip.due - trip.began for trip in arrived},
            late=late,
            dropped=[trip.client for trip in lost if trip.end is End.DROPPED],
            unavailable=self.ended.unavailable,
            seconds=self.ended.seconds,
            down=(self.ended.started - len(arrived)) * down,
            up=len(late) * up,
            staleness={trip.client: server_round - 1 - trip.version for trip in arrived},
        )

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """Steps along the mean of the clients' changes, weighted by staleness."""
        chosen = self.parameters
        version = {trip.client: trip.version for trip in self.ended.arrived}
        ages = [server_round - 1 - version[update.client] for update in updates]
        weights = [self.weight(update) for update in updates]
        fading = [
            weight * (1 + age) ** -chosen.staleness_exponent
            for weight, age in zip(weights, ages, strict=True)
        ]
        models = [update.arrays["arrays"] for update in updates]
        begun = [self._model(version[update.client]) for update in updates]
        change = weighted_mean(
            [{n: y[n] - w[n] for n in self.trainable} for y, w in zip(models, begun, strict=True)],
            fading,
        )
        others = [name for name in self.shared if name not in self.trainable]
        average = weighted_mean(
            [{name: y[name] for name in others} for y in models], fading, self.anatomy.kept_whole
        )
        step = chosen.server_lr * sum(fading) / sum(weights)
        model = {**average, **plus(self.state["arrays"], change, step)}
        needed = sorted(set(self.state[IN_FLIGHT]["version"].tolist()))
        self.state = {
            "arrays": {name: model[name] for name in self.shared},
            IN_FLIGHT: self.state[IN_FLIGHT],
            **{VERSION.format(number): self._model(number) for number in needed},
        }

    def _model(self, version: int) -> Tensors:
        """The model after so many server steps; the newest one is the record ``arrays``."""
        return self.state.get(VERSION.format(version), self.state["arrays"])

    def _bytes(self) -> tuple[int, int]:
        """Bytes that go down to a client, and that come up from it."""
        down = tensor_bytes(self.state["arrays"])
        return down, self.upload_bytes(down)

    def _in_flight(self) -> AsyncClients:
        """The clients that were training when the last round ended."""
        if self.clock is None:
            raise InputError(
                "fedbuff takes updates in the order in which they arrive on a virtual clock; give "
                "it devices (ServerSettings.fleet)"
            )
        concurrency = self.parameters.concurrency
        flight = AsyncClients(self.clock, concurrency, self.clock.fleet.seconds(*self._bytes()))
        if IN_FLIGHT in self.state:
            flight.resume(self.state[IN_FLIGHT])
        return flight
