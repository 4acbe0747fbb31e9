"""Different networks for different clients: ``model: {per_client: [small_cnn, mlp]}``."""

from __future__ import annotations

from typing import Literal, NoReturn

from pydantic import Field, NonNegativeInt, model_validator

from fedlab.config.component import Chosen
from fedlab.errors import InputError
from fedlab.models.spec import ModelSpec


class PerClient(ModelSpec):
    """Several networks, each of which some of the clients have.

    For methods that send no model (`StrategyParameters.check_networks`). What else can be said of a
    network is said of each of them.

    Attributes:
        per_client: The networks.
        clients: Which of them each client has, by its place from 0; by default clients have them in
            turn.
    """

    name: Literal["per_client"] = "per_client"
    per_client: tuple[Chosen[ModelSpec], ...] = Field(min_length=2)
    clients: tuple[NonNegativeInt, ...] | None = None

    @model_validator(mode="after")
    def _says_all_of_each_network(self) -> PerClient:
        for key in ModelSpec.model_fields.keys() - {"name"}:
            if getattr(self, key) != ModelSpec.model_fields[key].default:
                raise ValueError(f"{key} is said of each network; write it within per_client")
        if any(isinstance(network, PerClient) for network in self.per_client):
            raise ValueError("per_client stands within per_client; write all networks in one list")
        places = set(range(len(self.per_client)))
        if self.clients is not None and set(self.clients) != places:
            odd = sorted(set(self.clients) ^ places)[0]
            raise ValueError(
                f"clients name networks by their places, 0 to {len(places) - 1}, and each at least "
                f"once; {odd} is "
                + ("named by no client" if odd in places else "the place of no network")
            )
        return self

    def place_of(self, client: int) -> int:
        """The place of a client's network among `per_client`."""
        return client % len(self.per_client) if self.clients is None else self.clients[client]

    def check(self, clients: int) -> None:
        """Refuses a number of clients that the networks do not go with.

        Raises:
            InputError: With the remedy.
        """
        if self.clients is not None and len(self.clients) != clients:
            raise InputError(
                f"model.clients: names the networks of {len(self.clients)} clients, and there are "
                f"{clients}; name one for each, or leave it out to give networks in turn"
            )
        if clients < len(self.per_client):
            raise InputError(
                f"model.per_client: {len(self.per_client)} networks for {clients} clients, so that "
                "some would have no client; name fewer, or use more clients"
            )

    def network(self, input_shape: tuple[int, ...], classes: int) -> NoReturn:
        """Always raises: there is more than one network.

        Raises:
            InputError: With the reason.
        """
        raise InputError(
            f"model.per_client: clients have {len(self.per_client)} different networks, and one is "
            "wanted here; use a scenario, or a run, with one network"
        )
