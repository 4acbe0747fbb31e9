"""The mistakes that the tests of the methods have to notice, by family.

A method that is added brings its own: a `Mutant` for each part of its idea, wrong in a way in
which it could have been written. Not one that changes nothing: the synthetic loss of FRAug needs no
``detach``, for example, as what it reads was made without gradients.
"""

from __future__ import annotations

from benchmarks.mutants import (
    adapters,
    aftermath,
    bags,
    baselines,
    captures,
    control_variates,
    domains,
    erasers,
    fairness,
    features,
    few_labels,
    forgetting,
    heads,
    latent,
    losses,
    measuring,
    mixed,
    networks,
    normalisation,
    objectives,
    personal,
    prototypes,
    regularised,
    server_optimisers,
    skews,
    styles,
    targets,
)
from benchmarks.mutants.mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

MUTANTS: tuple[Mutant, ...] = (
    *baselines.MUTANTS,
    *control_variates.MUTANTS,
    *server_optimisers.MUTANTS,
    *regularised.MUTANTS,
    *normalisation.MUTANTS,
    *personal.MUTANTS,
    *heads.MUTANTS,
    *fairness.MUTANTS,
    *domains.MUTANTS,
    *erasers.MUTANTS,
    *prototypes.MUTANTS,
    *features.MUTANTS,
    *few_labels.MUTANTS,
    *bags.MUTANTS,
    *latent.MUTANTS,
    *losses.MUTANTS,
    *measuring.MUTANTS,
    *mixed.MUTANTS,
    *networks.MUTANTS,
    *objectives.MUTANTS,
    *skews.MUTANTS,
    *styles.MUTANTS,
    *targets.MUTANTS,
    *aftermath.MUTANTS,
    *adapters.MUTANTS,
    *forgetting.MUTANTS,
    *captures.MUTANTS,
)
