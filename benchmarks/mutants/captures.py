"""Mistakes of steps that are captured once and replayed."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

TESTS = "tests/test_captured_steps.py"
OPTIMISERS = (f"{TESTS}::test_replays_give_every_optimisers_very_numbers",)
ANEW = (f"{TESTS}::test_tensors_that_a_step_makes_anew_and_swaps_are_put_back",)
LOOP = "fedlab/engine/execution/captured/captured_loop.py"
STEP = "fedlab/engine/execution/captured/static_step.py"

MUTANTS = (
    Mutant(
        "captures-the-learning-rate-of-the-first-round",
        LOOP,
        "trained, lr, modes, own",
        "trained, modes, own",
        OPTIMISERS,
    ),
    Mutant(
        "captures-the-modes-of-the-first-round",
        LOOP,
        "trained, lr, modes, own",
        "trained, lr, own",
        (f"{TESTS}::test_graphs_of_a_device_have_its_numbers",),
    ),
    Mutant(
        "captures-a-clients-metrics-go-on-with-the-next",
        LOOP,
        "            total.zero_()",
        "            pass",
        OPTIMISERS,
    ),
    Mutant(
        "captures-updates-are-what-the-next-client-writes-to",
        LOOP,
        "return state.copy()",
        "return state.carry",
        (f"{TESTS}::test_what_a_client_sends_and_keeps_is_its_own",),
    ),
    Mutant(
        "captures-the-warm-up-counts-as-steps",
        LOOP,
        "overwrite(list(before.values()), list(saved.values()))",
        "pass",
        OPTIMISERS,
    ),
    Mutant(
        "captures-numbers-of-the-host-are-those-of-the-first-step",
        LOOP,
        "if _host_generators() != drawn:",
        "if not drawn:",
        (f"{TESTS}::test_a_step_that_no_replay_can_repeat_is_not_captured",),
    ),
    Mutant(
        "captures-what-a-step-makes-anew-is-lost",
        STEP,
        "            before[place].copy_(value)",
        "            pass",
        ANEW,
    ),
    Mutant(
        "captures-a-swap-copies-one-over-the-other",
        STEP,
        "new.clone() if id(now[place]) in fixed else new",
        "new",
        ANEW,
    ),
)
