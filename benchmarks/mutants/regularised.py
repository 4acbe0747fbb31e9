"""Mistakes of methods with a term or a step of their own: FedProx, MOON, FedNTD, FedSAM."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_regularised_methods.py",)
MOON = ("tests/test_moon.py",)
PROX = ("tests/test_local_round.py::test_fedprox_pulls_towards_what_came_down",)
TERM = (f"{MOON[0]}::test_the_term_by_hand",)
DISTILLED = (f"{TESTS[0]}::test_fedntd_is_that_of_plain_pytorch",)
UPHILL = (f"{TESTS[0]}::test_the_point_uphill_by_hand",)

MUTANTS = (
    Mutant(
        "fedprox-penalty-is-not-halved",
        "fedlab/training/pull.py",
        "self.weight / 2 *",
        "self.weight *",
        ("tests/test_local_round.py",),
    ),
    Mutant(
        "moon-compares-with-the-received-model-twice",
        "fedlab/clients/moon.py",
        'carry.extra["previous"]',
        'carry.extra["global"]',
        MOON,
    ),
    Mutant(
        "moon-others-are-in-training-mode",
        "fedlab/clients/moon.py",
        "with evaluation_mode(self.task.model):",
        "if True:",
        MOON,
    ),
    Mutant(
        "fedntd-teacher-is-in-training-mode",
        "fedlab/clients/fedntd.py",
        "with evaluation_mode(self.task.model):",
        "if True:",
        TESTS,
    ),
    Mutant(
        "fedntd-leaves-out-the-squared-temperature",
        "fedlab/clients/fedntd.py",
        "return tau**2 * ",
        "return ",
        TESTS,
    ),
    Mutant(
        "fedsam-takes-the-gradient-of-where-the-client-is",
        "fedlab/clients/fedsam.py",
        "gradients(elsewhere, batch, phase)",
        "gradients(carry, batch, phase)",
        TESTS,
    ),
    Mutant(
        "mofedsam-mean-gradient-has-the-other-sign",
        "fedlab/clients/fedsam.py",
        "step / -lr",
        "step / lr",
        TESTS,
    ),
    Mutant(
        "fedprox-pushes-away-from-what-came-down",
        "fedlab/training/pull.py",
        "lists.less(at, self.centre)",
        "lists.less(self.centre, at)",
        PROX,
    ),
    Mutant(
        "fedprox-anchor-moves-with-the-client",
        "fedlab/clients/fedprox.py",
        "copied(carry.parameters)",
        "dict(carry.parameters)",
        PROX,
    ),
    Mutant(
        "fedprox-server-sends-half-of-mu",
        "fedlab/strategies/fedprox.py",
        '"proximal-mu": mu}',
        '"proximal-mu": mu / 2}',
        PROX,
    ),
    Mutant(
        "moon-cosines-have-no-temperature",
        "fedlab/clients/moon.py",
        "((away - towards) / tau)",
        "(away - towards)",
        TERM,
    ),
    Mutant(
        "moon-draws-towards-the-last-model",
        "fedlab/clients/moon.py",
        "(away - towards)",
        "(towards - away)",
        TERM,
    ),
    Mutant(
        "moon-keeps-the-received-model",
        "fedlab/clients/moon.py",
        '"previous": update.arrays["arrays"]}',
        '"previous": dict(received.model)}',
        (f"{MOON[0]}::test_only_the_model_goes_up_and_the_same_model_stays",),
    ),
    Mutant(
        "fedntd-the-true-class-counts",
        "fedlab/clients/fedntd.py",
        "(logits / tau).masked_fill(true, -torch.inf)",
        "logits / tau",
        DISTILLED,
    ),
    Mutant(
        "fedntd-divergence-is-the-other-way-round",
        "fedlab/clients/fedntd.py",
        "(theirs.exp() * (theirs - own))",
        "(own.exp() * (own - theirs))",
        DISTILLED,
    ),
    Mutant(
        "fedntd-ignores-its-weight",
        "fedlab/clients/fedntd.py",
        "self.own.beta * distance",
        "distance",
        DISTILLED,
    ),
    Mutant(
        "fedsam-goes-downhill",
        "fedlab/clients/fedsam.py",
        "added(times(grads, scale), parameters)",
        "added(times(grads, -scale), parameters)",
        UPHILL,
    ),
    Mutant(
        "fedsam-goes-as-far-as-the-gradient-is-long",
        "fedlab/clients/fedsam.py",
        "self.rho / norm(grads).clamp(min=EPS)",
        "self.rho",
        UPHILL,
    ),
    Mutant(
        "fedsam-statistics-follow-both-passes",
        "fedlab/clients/fedsam.py",
        "buffers = copied(carry.buffers)",
        "buffers = carry.buffers",
        (f"{TESTS[0]}::test_fedsam_is_that_of_plain_pytorch_and_statistics_follow_one_pass",),
    ),
    Mutant(
        "fedsam-what-a-loss-keeps-follows-both-passes",
        "fedlab/clients/fedsam.py",
        'kept = copied(carry.extra.get("loss", {}))',
        'kept = carry.extra.get("loss", {})',
        (f"{TESTS[0]}::test_fedsam_leaves_what_a_loss_keeps_to_the_first_pass",),
    ),
    Mutant(
        "mofedsam-mean-step-is-that-of-a-round",
        "fedlab/strategies/fedsam.py",
        "value / max(steps, 1.0)",
        "value",
        (f"{TESTS[0]}::test_mofedsam_is_that_of_the_formulas",),
    ),
)
