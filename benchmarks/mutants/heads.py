"""Mistakes of methods with a fixed head, two heads, or a head that is mixed."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

FIXED = ("tests/test_fixed_heads.py",)
MIXED = ("tests/test_mixed_models.py",)
RESTING = (
    "tests/test_fixed_heads.py::"
    "test_all_layers_of_a_head_rest_and_their_statistics_go_with_the_body",
)

MUTANTS = (
    Mutant(
        "fedetf-vectors-learn",
        "fedlab/models/etf.py",
        "requires_grad=False",
        "requires_grad=True",
        FIXED,
    ),
    Mutant(
        "fedetf-features-keep-their-length",
        "fedlab/models/etf.py",
        "normalize(inputs, dim=-1)",
        "inputs",
        FIXED,
    ),
    Mutant(
        "fedetf-vectors-are-orthogonal",
        "fedlab/models/etf.py",
        "basis - basis.mean(dim=1, keepdim=True)",
        "basis",
        FIXED,
    ),
    Mutant(
        "fedetf-vectors-are-too-short",
        "fedlab/models/etf.py",
        "classes / (classes - 1)",
        "(classes - 1) / classes",
        FIXED,
    ),
    Mutant(
        "fedetf-loss-is-not-balanced",
        "fedlab/clients/fedetf.py",
        "self.balanced(outputs, batch, carry)",
        "super().loss(outputs, batch, carry)",
        FIXED,
    ),
    Mutant(
        "fedbabu-head-learns",
        "fedlab/clients/fedbabu.py",
        "trained=self.shared",
        "trained=None",
        FIXED,
    ),
    Mutant(
        "fedbabu-keeps-a-head-with-every-client",
        "fedlab/clients/fedbabu.py",
        "._replace(client_state={})",
        "",
        FIXED,
    ),
    Mutant(
        "fedrod-personal-head-moves-the-body",
        "fedlab/clients/fedrod.py",
        "linear(features.detach(), *own)",
        "linear(features, *own)",
        MIXED,
    ),
    Mutant(
        "fedrod-personal-loss-moves-the-generic-head",
        "fedlab/clients/fedrod.py",
        "generic.detach() + ",
        "generic + ",
        MIXED,
    ),
    Mutant(
        "fedrod-personal-loss-forgets-the-generic-prediction",
        "fedlab/clients/fedrod.py",
        "generic.detach() + ",
        "0 * generic.detach() + ",
        MIXED,
    ),
    Mutant(
        "fedrod-generic-loss-is-not-balanced",
        "fedlab/clients/fedrod.py",
        "self.balanced(generic, batch, carry)",
        "log_loss(generic, batch.labels).mean()",
        MIXED,
    ),
    Mutant(
        "fedrod-personal-head-starts-anew",
        "fedlab/clients/fedrod.py",
        'if own := client_state.get("personal"):',
        'if own := client_state.get("forgotten"):',
        MIXED,
    ),
    Mutant(
        "fedrod-clients-test-the-generic-prediction",
        "fedlab/strategies/fedrod.py",
        "server[name] + own",
        "server[name]",
        MIXED,
    ),
    Mutant(
        "fedala-weights-go-uphill",
        "fedlab/clients/fedala.py",
        '["weights"][name].sub_(step)',
        '["weights"][name].add_(step)',
        MIXED,
    ),
    Mutant(
        "fedala-weights-are-not-clipped",
        "fedlab/clients/fedala.py",
        ".clamp_(0, 1)",
        "",
        MIXED,
    ),
    Mutant(
        "fedala-weights-leave-out-the-way-to-the-average",
        "fedlab/clients/fedala.py",
        'grad * extra["towards"][name]',
        "grad",
        MIXED,
    ),
    Mutant(
        "fedala-first-mixing-is-one-pass",
        "fedlab/clients/fedala.py",
        "torch.tensor(weights is None)",
        "torch.tensor(False)",
        MIXED,
    ),
    Mutant(
        "fedala-forgets-its-weights",
        "fedlab/clients/fedala.py",
        'weights = client_state.get("weights")\n            passes',
        'weights = client_state.get("forgotten")\n            passes',
        MIXED,
    ),
    Mutant(
        "fedala-clients-test-the-average",
        "fedlab/strategies/fedala.py",
        "old[n] + (server[n] - old[n]) * weight",
        "server[n]",
        MIXED,
    ),
    Mutant(
        "fedala-reads-all-samples",
        "fedlab/clients/fedala.py",
        "share=self.parameters.share",
        "share=1.0",
        MIXED,
    ),
    Mutant(
        "fedala-learns-weights-in-training-mode",
        "fedlab/clients/fedala.py",
        "with evaluation_mode(self.task.model):",
        "if True:",
        MIXED,
    ),
    Mutant(
        "fedbabu-always-rests-one-layer",
        "fedlab/strategies/fedbabu.py",
        "last_parts(model, self.layers)",
        "last_parts(model, 1)",
        RESTING,
    ),
    Mutant(
        "fedbabu-statistics-of-the-head-stay",
        "fedlab/strategies/fedbabu.py",
        "anatomy_of(model).learning",
        "anatomy_of(model).moving",
        RESTING,
    ),
    Mutant(
        "fedbabu-has-no-global-model",
        "fedlab/strategies/fedbabu.py",
        "return True",
        "return self.whole",
        ("tests/test_fixed_heads.py::test_its_global_model_is_tested_with_that_head",),
    ),
)
