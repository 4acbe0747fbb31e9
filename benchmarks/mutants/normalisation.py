"""Mistakes of methods about normalisation: FedBN, SiloBN, FixBN, FedWon."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

SURGERY = ("tests/test_weight_standardisation.py",)
FEDWON = ("tests/test_fedwon.py", "tests/test_weight_standardisation.py")

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
)
