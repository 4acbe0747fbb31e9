"""The server's side of `updates`, for any strategy: decompression and aggregation rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import torch

from fedlab.errors import RunError
from fedlab.federation.client_updates import ClientUpdate
from fedlab.federation.record_layout import Form, Layout
from fedlab.records import Tensors
from fedlab.strategies.base import Strategy
from fedlab.updates.client_side import restored
from fedlab.updates.packing import ENCODED, learnt, packed_layout, unpack
from fedlab.updates.spec import UpdatesSpec


class WithUpdates(Strategy):
    """Decompresses updates and passes them to the method, with its mean replaced by the rule.

    Updates are sent one by one, as compressed ones cannot be summed, and rules need each update.
    """

    needs_only_mean = False
    dp_compatible = True

    @cached_property
    def learnt(self) -> dict[str, torch.Tensor]:
        """The parameters that learn, by name."""
        return learnt(self.model)

    @cached_property
    def learning(self) -> dict[str, torch.Size]:
        """Their shapes."""
        return {name: tensor.shape for name, tensor in self.learnt.items()}

    @property
    def updates(self) -> UpdatesSpec:
        """The scenario's ``updates`` block."""
        assert self.settings.updates is not None
        return self.settings.updates

    def broadcast(self, server_round: int) -> dict[str, Tensors]:
        """The method's tensors; stored, as changes are added to them."""
        self.down = super().broadcast(server_round)
        return self.down

    def sent_up(self, down: Layout, question: str = "") -> Layout:
        """The method's layout, with trainable tensors compressed."""
        plain = super().sent_up(down, question)
        if question or self.updates.compression.name == "none":
            return plain
        return packed_layout(self.updates.compression, plain, self.learning)

    def upload_bytes(self, down: int) -> int:
        """The method's bytes, less those saved by compression."""
        plain = super().upload_bytes(down)
        if self.updates.compression.name == "none":
            return plain
        layout = {
            record: {name: Form.of(tensor) for name, tensor in tensors.items()}
            for record, tensors in super().broadcast(1).items()
        }
        sent = super().sent_up(layout)
        packed = packed_layout(self.updates.compression, sent, self.learning)
        return plain - _bytes(sent) + _bytes(packed)

    def aggregate(self, server_round: int, updates: Sequence[ClientUpdate]) -> None:
        """The method's `aggregate` with decompressed updates and the rule in place of the mean.

        Raises:
            RunError: If there are too few clients for the rule, or the method computes no mean.
        """
        rule, self.mean_taken = self.updates.rule, False
        counting = sum(self.weight(update) > 0 for update in updates)
        if too_few := rule.least(counting):
            raise RunError(f"round {server_round}: updates.rule: {rule.name}: {too_few}")
        super().aggregate(server_round, [self._plain(update) for update in updates])
        if rule.name != "mean" and not self.mean_taken:
            raise RunError(
                f"updates.rule: {rule.name} has no effect on {self.parameters.name}, whose "
                "aggregate asks for no weighted_mean; leave updates.rule out"
            )

    def weighted_mean(self, updates: Sequence[ClientUpdate], record: str) -> Tensors:
        """The rule's aggregate; integers and tensors that are never averaged, as without a rule."""
        self.mean_taken = True
        mean = super().weighted_mean(updates, record)
        rule = self.updates.rule
        if rule.name == "mean":
            return mean
        counting = [update for update in updates if self.weight(update) > 0]
        weights = [self.weight(update) for update in counting]
        for name, tensor in mean.items():
            if tensor.is_floating_point() and name not in self.anatomy.kept_whole:
                values = torch.stack([u.arrays[record][name].double() for u in counting])
                mean[name] = rule.combine(values, weights).to(tensor.dtype)
        return mean

    def _plain(self, update: ClientUpdate) -> ClientUpdate:
        """The decompressed update."""
        compression, parameters = self.updates.compression, self.learning
        if compression.name == "none":
            return update
        down = self.down | self.sent_to(update.client)
        arrays: dict[str, Tensors] = {}
        for record in dict.fromkeys(name.removesuffix(ENCODED) for name in update.arrays):
            base = down.get(record, {})
            changes = unpack(compression, update.arrays, record, parameters)
            whole = {n: restored(t, base.get(n), self.learnt[n].dtype) for n, t in changes.items()}
            rest = dict(update.arrays[record]) if record in update.arrays else {}
            arrays[record] = in_order({**rest, **whole}, base)
        return replace(update, arrays=arrays)


def in_order(tensors: Tensors, like: Mapping[str, object]) -> Tensors:
    """Tensors in the order of `like`; those that it lacks come last."""
    first = {name: tensors[name] for name in like if name in tensors}
    return {**first, **tensors}


def _bytes(layout: Layout) -> int:
    return sum(form.largest for forms in layout.values() for form in forms.values())
