"""Refuses scenarios whose differential privacy would not hold, before anything is trained."""

from __future__ import annotations

import logging
import math
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, cast

from torch import nn

from fedlab.errors import InputError
from fedlab.models.anatomy import anatomy_of
from fedlab.privacy.accounting import epsilon_after
from fedlab.strategies.base import Strategy

if TYPE_CHECKING:
    from fedlab.data.samples import FederatedData
    from fedlab.privacy.spec import PrivacySpec
    from fedlab.scenario import Scenario

SUITABLE = "fedavg, fedprox, fedavgm, fedadam, or fedbn with its local normalisation layers"

log = logging.getLogger("fedlab")


def check_privacy(
    scenario: Scenario,
    strategy: type[Strategy],
    model: nn.Module,
    data: FederatedData,
    clients: int,
) -> None:
    """Refuses a scenario in which more leaves the server than noisy means, and logs ε.

    Args:
        scenario: The experiment; nothing is done if it asks for no privacy.
        strategy: The method's strategy.
        model: The network.
        data: What it is trained on.
        clients: Clients that train, after the method has regrouped them.

    Raises:
        InputError: With the reason and the remedy.
    """
    spec = scenario.privacy
    if spec is None:
        return
    _refuse_method(scenario, strategy, clients)
    _refuse_model(scenario, strategy, model)
    _refuse_data(scenario, data)
    _refuse_devices(scenario)
    if spec.delta >= 1 / clients:
        raise InputError(
            f"privacy.delta {spec.delta:g} lets each of {clients} clients be given away; "
            f"use less than {1 / clients:.2g}, such as 1e-5"
        )
    spent = epsilon_after(spec, scenario.rounds, clients, scenario.cohort_size)
    if spec.max_epsilon is not None and spent > spec.max_epsilon:
        raise InputError(
            f"privacy.max_epsilon: {scenario.rounds} rounds spend ε = {spent:.3g} and "
            f"{spec.max_epsilon:g} is allowed; {_remedy(spec, scenario, clients)}"
        )
    log.info(
        "privacy: ε = %.3g at δ = %g after %d rounds, for the models that go down; "
        "measures and what stays with a client are not covered",
        spent,
        spec.delta,
        scenario.rounds,
    )


def refuse_known_noise(scenario: Scenario) -> None:
    """Refuses noise that devices could subtract, as its seed is known.

    Raises:
        InputError: If the noise of a scenario that goes to devices follows from its seed.
    """
    if scenario.privacy is not None and scenario.privacy.noise == "seeded":
        raise InputError(
            "privacy.noise: 'seeded' noise follows from the scenario's seed, which every device "
            "gets with the scenario; set privacy.noise=secret"
        )


def _refuse_method(scenario: Scenario, strategy: type[Strategy], clients: int) -> None:
    name = scenario.strategy.name
    if clients < 2:
        raise InputError(
            f"strategy.name: {name} has one client, whose update no other hides; leave privacy out"
        )
    if not strategy.dp_compatible:
        raise InputError(
            f"strategy.name: {name} makes its next state of something else than one mean of the "
            f"clients' models, which privacy does not cover; choose {SUITABLE}"
        )
    if scenario.strategy.weighting != "uniform":
        raise InputError(
            "strategy.weighting: where clients count by their examples, these numbers would be "
            "given away, and a large client needs more noise; set strategy.weighting=uniform"
        )


def _refuse_model(scenario: Scenario, strategy: type[Strategy], model: nn.Module) -> None:
    shared, _ = scenario.strategy.divide(model, strategy.norm_policy)
    if not shared:
        raise InputError(
            f"strategy.name: {scenario.strategy.name} sends no model, so that there is nothing to "
            "protect; leave privacy out"
        )
    leaking = [name for name in shared if name in anatomy_of(model).buffers]
    if leaking:
        raise InputError(
            f"model: {len(leaking)} running statistics ({leaking[0]} for one) would travel, and "
            "noise makes them worthless; use model.norm=group, or strategy.name=fedbn, which keeps "
            "them with the clients"
        )


def _refuse_data(scenario: Scenario, data: FederatedData) -> None:
    if scenario.data.features.name == "warm_up":
        raise InputError(
            "data.features: 'warm_up' trains on all clients without noise before the first round; "
            "use the features of a network that was trained elsewhere"
        )
    if scenario.data.normalisation == "auto" and data.is_measured:
        raise InputError(
            "data.normalisation: 'auto' is the mean and deviation of all clients' features, "
            "without noise; give numbers, such as {mean: 0, std: 1}"
        )


def _refuse_devices(scenario: Scenario) -> None:
    """Refuses cohorts that are not drawn from all clients, for which ε is not valid."""
    devices = scenario.devices
    if devices.over_selection > 1:
        raise InputError(
            f"devices.over_selection: {devices.over_selection:g} takes the first replies, so that "
            "one client decides whether another counts, and privacy holds for clients that do not; "
            "leave it out"
        )
    for index, profile in enumerate(devices.profiles):
        if profile.availability < 1:
            raise InputError(
                f"devices.profiles.{index}.availability: {profile.availability:g} draws cohorts "
                "from few clients, and privacy is counted for cohorts drawn from all; leave it out"
            )


def _remedy(spec: PrivacySpec, scenario: Scenario, clients: int) -> str:
    """The noise that the rounds need, and the rounds for which the noise is enough."""
    most = cast(float, spec.max_epsilon)

    def spent(rounds: int, step: int = 0) -> float:
        noise = spec.noise_multiplier * 1.01**step
        changed = spec.model_copy(update={"noise_multiplier": noise})
        return epsilon_after(changed, rounds, clients, scenario.cohort_size)

    step = bisect_left(range(1000), -most, key=lambda step: -spent(scenario.rounds, step))
    noise = math.ceil(100 * spec.noise_multiplier * 1.01**step) / 100
    rounds = bisect_right(range(1, scenario.rounds + 1), most, key=spent)
    return f"use privacy.noise_multiplier={noise:g}" + f", or rounds={rounds}" * bool(rounds)
