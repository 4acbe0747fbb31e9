"""Mistakes of methods whose clients keep models or layers of their own."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = ("tests/test_personal_methods.py",)
BYTES = ("tests/test_personal_methods.py::test_bytes",)
ROUNDS = ("tests/test_personal_methods.py::test_three_rounds_are_those_written_out",)
REFUSED = ("tests/test_personal_methods.py::test_networks_that_are_not_divided_are_refused",)

MUTANTS = (
    Mutant(
        "fedper-always-keeps-one-layer",
        "fedlab/strategies/families/local_head.py",
        "*last_parts(model, self.layers)",
        "*last_parts(model, 1)",
        TESTS,
    ),
    Mutant(
        "lg-fedavg-shares-the-first-layers",
        "fedlab/strategies/lg_fedavg.py",
        "if name not in travels",
        "if name in travels",
        TESTS,
    ),
    Mutant(
        "ditto-is-anchored-at-the-trained-global-model",
        "fedlab/clients/ditto.py",
        'extra |= {"trained": ',
        'extra |= {"anchor": carry.parameters, "trained": ',
        TESTS,
    ),
    Mutant(
        "ditto-personal-model-goes-on-with-the-optimiser",
        "fedlab/clients/ditto.py",
        "self.task.optimizer.start(own)",
        "carry.optimizer",
        TESTS,
    ),
    Mutant(
        "fedrep-head-learns-with-the-body",
        "fedlab/clients/fedrep.py",
        "trained=self.shared",
        "trained=None",
        TESTS,
    ),
    Mutant(
        "fedproto-prototypes-are-made-in-training-mode",
        "fedlab/clients/fedproto.py",
        "self.task.model.eval()",
        "self.task.model.train()",
        ("tests/test_fedproto.py",),
    ),
    Mutant(
        "fedproto-nearest-prototype-is-half-as-near",
        "fedlab/clients/fedproto.py",
        "2 * centres",
        "centres",
        ("tests/test_fedproto.py::test_the_nearest_prototype_by_hand",),
    ),
    Mutant(
        "fedproto-longest-prototype-is-nearest",
        "fedlab/clients/fedproto.py",
        "= -centres.square()",
        "= centres.square()",
        ("tests/test_fedproto.py::test_the_nearest_prototype_by_hand",),
    ),
    Mutant(
        "ditto-personal-model-is-trained-as-long-as-the-global-one",
        "fedlab/clients/ditto.py",
        "if epochs or steps else usual",
        "if False else usual",
        ("tests/test_personal_methods.py::test_ditto_is_fedavg_and_a_penalised_model_beside_it",),
    ),
    Mutant(
        "fedper-normalisation-is-a-layer-of-its-own",
        "fedlab/models/anatomy/division.py",
        "found[-1].append(place)",
        "found.append([place])",
        BYTES,
    ),
    Mutant(
        "fedper-a-network-may-share-nothing",
        "fedlab/strategies/families/local_head.py",
        "if layers < found:",
        "if layers <= found:",
        REFUSED,
    ),
    Mutant(
        "fedper-clients-are-tested-with-initial-layers",
        "fedlab/clients/base.py",
        "return self.personal_model(received, client_state)",
        "return self.personal_model(received, {})",
        ("tests/test_personal_methods.py::test_clients_are_tested_with_the_models_they_keep",),
    ),
    Mutant(
        "fedrep-body-learns-with-the-head",
        "fedlab/clients/fedrep.py",
        "trained=self.local)",
        "trained=None)",
        ROUNDS,
    ),
    Mutant(
        "fedrep-body-learns-before-the-head",
        "fedlab/clients/fedrep.py",
        "return [head, replace(usual, trained=self.shared, enter=self.turn_to_body)]",
        "return [replace(usual, trained=self.shared), head]",
        ROUNDS,
    ),
    Mutant(
        "fedrep-clients-count-by-examples",
        "fedlab/strategies/fedrep.py",
        '] = "uniform"',
        '] = "examples"',
        (
            "tests/test_personal_methods.py::"
            "test_bodies_count_the_same_in_fedrep_and_by_examples_in_fedper",
        ),
    ),
    Mutant(
        "lg-fedavg-always-shares-one-layer",
        "fedlab/strategies/lg_fedavg.py",
        "last_parts(model, self.layers)",
        "last_parts(model, 1)",
        BYTES,
    ),
    Mutant(
        "lg-fedavg-a-network-may-keep-nothing",
        "fedlab/strategies/lg_fedavg.py",
        "refuse_few_layers(scenario, model, self.layers,",
        "refuse_few_layers(scenario, model, 1,",
        REFUSED,
    ),
    Mutant(
        "lg-fedavg-a-clients-model-is-the-servers-alone",
        "fedlab/strategies/parameters.py",
        'return dict(kept.get("model", {}))',
        "return {}",
        ROUNDS,
    ),
)
