"""Mistakes of the rules on networks and batches, and of what refuses wrong networks and updates."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

ANATOMY = "fedlab/models/anatomy/anatomy.py"
BUFFERS = "fedlab/models/anatomy/buffers.py"
OBSERVED = "fedlab/models/anatomy/observed.py"
PLACES = "fedlab/models/anatomy/places.py"
TRIAL = "fedlab/engine/step_trial.py"
CHECK = "fedlab/engine/step_check.py"
PASSES = "fedlab/engine/execution/passes.py"
SCREENING = "fedlab/federation/screening.py"

ODD = "tests/test_odd_networks.py"
MISTAKES = "tests/test_own_mistakes.py"
ROUNDS = (f"{ODD}::test_a_round_is_that_of_plain_pytorch",)
ROLES = (f"{ODD}::test_a_module_says_what_its_buffers_are",)
HEADS = (
    f"{ODD}::test_the_head_makes_the_outputs",
    f"{ODD}::test_a_dense_layer_that_makes_no_outputs_is_no_head",
)
BATCHES = ("tests/test_local_round.py",)

FINITE = (
    f"{MISTAKES}::test_a_round_that_is_not_finite_is_reported_and_changes_nothing",
    f"{MISTAKES}::test_one_client_that_leaves_the_numbers_costs_itself_the_round_alone",
)

MUTANTS = (
    Mutant(
        "frozen-parameters-learn",
        ANATOMY,
        "learning=tuple(name for name, does in learns.items() if does)",
        "learning=tuple(learns)",
        (f"{ODD}::test_what_is_frozen_never_moves",),
    ),
    Mutant(
        "frozen-parameters-travel",
        ANATOMY,
        "moving = {*self.learning, *kept}",
        "moving = {*self.learning, *self.frozen, *kept}",
        (f"{ODD}::test_what_is_frozen_does_not_travel",),
    ),
    Mutant(
        "tied-weights-are-one-in-one-place-alone",
        PLACES,
        "for own, key in slots[name]:",
        "for own, key in slots[name][:1]:",
        ROUNDS,
    ),
    Mutant(
        "tied-weights-have-one-name-in-a-state-dict",
        ANATOMY,
        "first = self.aliases.get(name, name)\n            if",
        "first = name\n            if",
        ROUNDS,
    ),
    Mutant(
        "buffers-that-are-not-persistent-travel",
        BUFFERS,
        "elif (fixed or moving is None) and (name not in persistent or not _has_mean(tensor)):",
        "elif False:",
        (f"{ODD}::test_roles",),
    ),
    Mutant(
        "codebooks-of-the-last-client-are-averaged",
        ANATOMY,
        "return self._with(Role.LAST, Role.DERIVED)",
        "return self._with(Role.DERIVED)",
        ROLES,
    ),
    Mutant(
        "local-buffers-leave-their-client",
        ANATOMY,
        "return self._with(Role.LOCAL)",
        "return frozenset()",
        ROLES,
    ),
    Mutant(
        "buffers-of-no-role-are-kept",
        ANATOMY,
        "if role is not Role.NONE",
        "if True",
        ROLES,
    ),
    Mutant(
        "counters-are-averaged",
        BUFFERS,
        "roles[name] = Role.LARGEST",
        "roles[name] = Role.MEAN",
        (f"{ODD}::test_roles",),
    ),
    Mutant(
        "singular-vectors-do-not-fit-the-mean-of-weights",
        "fedlab/models/anatomy/derived.py",
        "new |= fitting_vectors(filled, each, new)",
        "pass",
        (f"{ODD}::test_singular_vectors_fit_the_mean_of_weights",),
    ),
    Mutant(
        "any-dense-layer-may-be-the-head",
        "fedlab/models/anatomy/outputs.py",
        "heads.pop() if len(heads) == 1 and not others else None",
        "heads.pop() if heads else None",
        HEADS,
    ),
    Mutant(
        "the-head-is-the-dense-layer-that-is-called-first",
        "fedlab/models/anatomy/outputs.py",
        "self.dense[outputs.grad_fn] = path",
        "self.dense.setdefault(outputs.grad_fn, next(iter(self.dense.values()), path))",
        HEADS,
    ),
    Mutant(
        "test-batches-cross-clients",
        "fedlab/engine/execution/runtime.py",
        "if self.mixes_tests:",
        "if False:",
        (f"{ODD}::test_test_batches_do_not_cross_clients",),
    ),
    Mutant(
        "a-wrong-step-is-no-reason-to-refuse-a-network",
        CHECK,
        "return None if difference is None or difference.is_rounding else str(difference)",
        "return None",
        (f"{ODD}::test_what_would_go_wrong_in_training_is_refused_before",),
    ),
    Mutant(
        "a-wrong-step-of-a-stack-is-not-looked-for",
        CHECK,
        "wrong = _wrong(trial, trial.stacked)",
        "wrong = None",
        (f"{ODD}::test_what_cannot_be_stacked_is_found_out_once",),
    ),
    Mutant(
        "remainder-keep-drops",
        PASSES,
        'elif remainder == "keep" and rest >= smallest:',
        "elif False:",
        BATCHES,
    ),
    Mutant(
        "remainder-drop-keeps",
        PASSES,
        'elif remainder == "keep" and rest',
        "elif rest",
        BATCHES,
    ),
    Mutant(
        "remainder-merge-drops",
        PASSES,
        "sizes[-1] += rest",
        "pass",
        BATCHES,
    ),
    Mutant(
        "a-remainder-that-is-too-small-is-a-batch",
        PASSES,
        " and rest >= smallest",
        "",
        BATCHES,
    ),
    Mutant(
        "updates-that-are-not-finite-enter-the-mean",
        SCREENING,
        "and not _is_finite(values)",
        "and False",
        FINITE,
    ),
    Mutant(
        "sums-that-are-not-finite-enter-the-mean",
        SCREENING,
        "if math.isfinite(sum(each.item() for each in sums)):",
        "if True:",
        FINITE,
    ),
    Mutant(
        "the-length-of-an-update-is-that-of-the-model",
        SCREENING,
        "if name in down:",
        "if False:",
        (f"{MISTAKES}::test_how_far_an_update_goes_is_counted_from_what_was_sent",),
    ),
)
