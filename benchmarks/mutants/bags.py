"""Mistakes of label proportions: bags, their loss, and labels by belief propagation."""

from __future__ import annotations

from benchmarks.mutants.mutant import Mutant

BAGS = ("tests/test_label_proportions.py",)
BP = ("tests/test_llp_bp.py",)
FINDING = "fedlab/models/belief_propagation.py"

MUTANTS = (
    Mutant(
        "bags-leave-labels-where-they-were",
        "fedlab/partition/label_proportions.py",
        "(counts / counts.sum(axis=1, keepdims=True))[bags[known]]",
        "np.eye(classes)[labels[known]]",
        BAGS,
    ),
    Mutant(
        "bags-of-several-clients",
        "fedlab/partition/label_proportions.py",
        "shuffled_groups(owners[rows], rng)",
        "shuffled_groups(0 * owners[rows], rng)",
        BAGS,
    ),
    Mutant(
        "bags-samples-that-fill-none-count-as-labelled",
        "fedlab/partition/label_proportions.py",
        "return Bags(shares, known, bags)",
        "return Bags(shares, labelled, bags)",
        BAGS,
    ),
    Mutant(
        "bags-batches-are-of-single-samples",
        "fedlab/engine/execution/passes.py",
        "torch.randperm(rows // self.unit, generator=generator)\n            if self.unit > 1:",
        "torch.randperm(rows, generator=generator)\n            if False:",
        BAGS,
    ),
    Mutant(
        "bags-rows-are-not-in-the-order-of-bags",
        "fedlab/data/client_data.py",
        "order = self.bags.argsort(stable=True)",
        "order = torch.arange(len(self.bags))",
        BAGS,
    ),
    Mutant(
        "bags-the-mean-of-logarithms",
        "fedlab/targets/proportions.py",
        "chances.view(bags, size, classes).logsumexp(dim=1) - sizes.log()",
        "chances.view(bags, size, classes).clamp(min=-1e9).sum(dim=1) / sizes",
        BAGS,
    ),
    Mutant(
        "bags-a-cut-bag-counts-as-a-whole-one",
        "fedlab/targets/proportions.py",
        "sizes[-1] = samples - (bags - 1) * size",
        "pass",
        BAGS,
    ),
    Mutant(
        "bags-the-loss-is-of-single-samples",
        "fedlab/losses/proportion_loss.py",
        "self._bag_size or len(outputs)",
        "1",
        BAGS,
    ),
    Mutant(
        "bags-overlap-is-a-product",
        "fedlab/targets/proportions.py",
        "torch.minimum(mean_log_chances(outputs, size).exp(), labels[::size])",
        "(mean_log_chances(outputs, size).exp() * labels[::size])",
        BAGS,
    ),
    Mutant(
        "llp-bp-bags-without-their-size",
        FINDING,
        "(1 - 2 * size * shares.double())",
        "(1 - 2 * shares.double())",
        BP,
    ),
    Mutant(
        "llp-bp-members-of-a-bag-attract",
        FINDING,
        "torch.full(first.shape, -weight, ",
        "torch.full(first.shape, weight, ",
        BP,
    ),
    Mutant(
        "llp-bp-a-message-echoes",
        FINDING,
        "beliefs[sender] - messages.roll(len(pairs.first), dims=0)",
        "beliefs[sender]",
        BP,
    ),
    Mutant(
        "llp-bp-neighbours-by-distance-from-the-origin",
        FINDING,
        "directions = normalize(points, dim=1)",
        "directions = points",
        BP,
    ),
    Mutant(
        "llp-bp-a-sample-is-its-own-neighbour",
        FINDING,
        "near[torch.arange(len(rows)), rows] = -torch.inf",
        "pass",
        BP,
    ),
    Mutant(
        "llp-bp-pairs-count-twice",
        FINDING,
        ".sort(dim=0).values.unique(dim=1)",
        "",
        BP,
    ),
    Mutant(
        "llp-bp-labels-are-never-found-again",
        "fedlab/clients/llp_bp.py",
        'int(kept["stage"]) != stage',
        "False",
        BP,
    ),
    Mutant(
        "llp-bp-always-from-samples",
        "fedlab/clients/llp_bp.py",
        'and not int(found["stage"])',
        "",
        BP,
    ),
    Mutant(
        "llp-bp-labels-in-the-order-of-batches",
        "fedlab/clients/llp_bp.py",
        "bags[order].flatten()",
        "torch.arange(len(labels))",
        BP,
    ),
    Mutant(
        "llp-bp-no-loss-of-bags",
        "fedlab/clients/llp_bp.py",
        "self.own.bag_term * of_bags",
        "0 * of_bags",
        BP,
    ),
)
