"""The privacy loss of a run, by Flower's accountant."""

from __future__ import annotations

from fedlab.errors import InputError
from fedlab.privacy.spec import PrivacySpec


def epsilon_after(spec: PrivacySpec, rounds: int, clients: int, cohort: int) -> float:
    """ε of that many rounds, by Rényi differential privacy (Mironov, CSF 2017, arXiv 1702.07476).

    Neighbours differ in whether one client's update is in the sums or is zero, so that the sum
    changes by the clipping norm at most. That only a part of the clients takes part in a round
    makes ε no smaller here: cohorts follow from the scenario's seed, which is no secret.

    Args:
        spec: The scenario's ``privacy`` block.
        rounds: How many models went down that are made of clients' updates.
        clients: How many clients there are.
        cohort: How many of them take part in a round.

    Raises:
        InputError: If the library behind the accountant is not installed.
    """
    from flwr.serverapp import (
        GaussianPrivacyEvent,
        NeighboringRelation,
        PrivacyConfig,
        RdpAccountant,
        SamplingMethod,
    )

    config = PrivacyConfig(
        target_delta=spec.delta,
        population_size=clients,
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE,
        sampling_method=SamplingMethod.NO_AMPLIFICATION,
    )
    try:
        accountant = RdpAccountant(config)
    except ImportError as error:
        raise InputError(
            "privacy: the accountant's library is not installed; "
            'run pip install "fedlab-sim[privacy]"'
        ) from error
    event = GaussianPrivacyEvent(
        noise_multiplier=spec.noise_multiplier, sample_size=cohort, population_size=clients
    )
    accountant.compose(event, rounds)
    return accountant.get_privacy_spent().epsilon
