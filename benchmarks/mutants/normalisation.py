"""Mistakes of methods about normalisation: FedBN, SiloBN, FixBN, FedWon."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

SURGERY = ("tests/test_weight_standardisation.py",)
FEDWON = ("tests/test_fedwon.py", "tests/test_weight_standardisation.py")
FEDBN = ("tests/test_strategies.py::test_fedbn_counts_clients_the_same_and_sends_no_norm",)
OWN = (
    "tests/test_personal_methods.py::"
    "test_three_rounds_with_normalisation_of_ones_own_are_those_written_out",
)
FIXED = ("tests/test_regularised_methods.py::test_the_round_from_which_statistics_are_fixed",)

MUTANTS = (
    Mutant(
        "fixbn-forgets-momentum",
        "fedlab/clients/fixbn.py",
        '**carry.optimizer, "momentum": momentum',
        "**carry.optimizer",
        ("tests/test_regularised_methods.py",),
    ),
    Mutant(
        "fedwon-sends-raw-weights-always",
        "fedlab/clients/fedwon.py",
        'if self.parameters.transmit == "standardised":',
        "if False:",
        ("tests/test_fedwon.py",),
    ),
    Mutant(
        "fedwon-takes-the-threshold-of-the-largest-batch",
        "fedlab/strategies/fedwon.py",
        "if size <= batch]",
        "if size]",
        ("tests/test_fedwon.py",),
    ),
    Mutant(
        "fedbn-client-shares-scale-and-shift",
        "fedlab/clients/fedbn.py",
        "NormPolicy.LOCAL_ALL",
        "NormPolicy.SHARE_AFFINE",
        ("tests/test_engine.py::test_fedbn_sends_no_normalisation_tensor_on_resnet18",),
    ),
    Mutant(
        "silobn-keeps-what-fedbn-keeps",
        "fedlab/models/norms.py",
        "if policy is NormPolicy.LOCAL_ALL:",
        "if True:",
        ("tests/test_norms.py",),
    ),
    Mutant(
        "fixbn-freezes-scale-and-shift-instead-of-statistics",
        "fedlab/clients/fixbn.py",
        "module.eval()",
        "module.requires_grad_(False)",
        ("tests/test_regularised_methods.py",),
    ),
    Mutant(
        "fedwon-variance-of-kernels-is-unbiased",
        "fedlab/models/weight_standardisation.py",
        "correction=0",
        "correction=1",
        SURGERY,
    ),
    Mutant(
        "fedwon-gain-is-that-of-the-activation-behind-a-convolution",
        "fedlab/models/activations.py",
        "deque(convolution.all_input_nodes)",
        "deque(convolution.users)",
        SURGERY,
    ),
    Mutant(
        "fedwon-ignores-gamma",
        "fedlab/strategies/fedwon.py",
        "without_normalisation(model, self.gamma,",
        'without_normalisation(model, "auto",',
        FEDWON,
    ),
    Mutant(
        "fedwon-never-clips",
        "fedlab/clients/fedwon.py",
        "if clipping is not None:",
        "if False:",
        FEDWON,
    ),
    Mutant(
        "fedwon-clips-the-head-too",
        "fedlab/clients/fedwon.py",
        "skip=self.unclipped",
        "skip=()",
        FEDWON,
    ),
    Mutant(
        "fedwon-ignores-nf-residual",
        "fedlab/strategies/fedwon.py",
        "self.nf_residual",
        "False",
        FEDWON,
    ),
    Mutant(
        "nf-residual-shortcut-reads-what-was-not-activated",
        "fedlab/models/nf_residual.py",
        "activated if self.projects else hidden",
        "hidden",
        SURGERY,
    ),
    Mutant(
        "nf-residual-leaves-out-alpha",
        "fedlab/models/nf_residual.py",
        "ALPHA * self.skip_gain",
        "self.skip_gain",
        SURGERY,
    ),
    Mutant(
        "fedbn-server-averages-scale-and-shift",
        "fedlab/strategies/fedbn.py",
        "norm_policy = NormPolicy.LOCAL_ALL",
        "norm_policy = NormPolicy.SHARE_AFFINE",
        FEDBN,
    ),
    Mutant(
        "fedbn-clients-count-by-examples",
        "fedlab/strategies/fedbn.py",
        '] = "uniform"',
        '] = "examples"',
        FEDBN,
    ),
    Mutant(
        "fedbn-clients-go-on-from-initial-layers",
        "fedlab/clients/base.py",
        "{**initial, **kept, **received.model}",
        "{**kept, **initial, **received.model}",
        OWN,
    ),
    Mutant(
        "silobn-server-averages-statistics",
        "fedlab/strategies/silobn.py",
        "norm_policy = NormPolicy.SHARE_AFFINE",
        "norm_policy = NormPolicy.SHARE_ALL",
        OWN,
    ),
    Mutant(
        "silobn-client-sends-statistics",
        "fedlab/clients/silobn.py",
        "NormPolicy.SHARE_AFFINE",
        "NormPolicy.SHARE_ALL",
        OWN,
    ),
    Mutant(
        "silobn-takes-networks-without-statistics",
        "fedlab/strategies/silobn.py",
        "model, NormPolicy.SHARE_AFFINE,",
        "model, NormPolicy.LOCAL_ALL,",
        (
            "tests/test_strategies.py::"
            "test_groups_have_scales_that_fedbn_keeps_and_no_statistics_that_silobn_could",
        ),
    ),
    Mutant(
        "fixbn-fixes-the-first-rounds",
        "fedlab/strategies/fixbn.py",
        "server_round > self.share",
        "server_round <= self.share",
        FIXED,
    ),
    Mutant(
        "fixbn-ignores-its-share",
        "fedlab/strategies/fixbn.py",
        "self.share * rounds\n",
        "0.5 * rounds\n",
        FIXED,
    ),
    Mutant(
        "fixbn-keeps-momentum-unasked",
        "fedlab/clients/fixbn.py",
        "if not self.parameters.keep_momentum:",
        'if "momentum" not in carry.optimizer:',
        (
            "tests/test_regularised_methods.py::"
            "test_fixbn_starts_each_round_without_momentum_unless_it_is_kept",
        ),
    ),
)
