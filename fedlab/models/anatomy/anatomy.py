"""The tensors of a network: which are trained, which are frozen, which travel and how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from fedlab.models.anatomy.buffers import Role, buffer_roles
from fedlab.models.anatomy.names import first_names
from fedlab.models.anatomy.observed import Observed, observe
from fedlab.records import Tensors

NOTE = "_fedlab_anatomy"
"""Attribute of a network that stores its `Anatomy`."""


@dataclass(frozen=True)
class Anatomy:
    """The tensors of a network by kind, under their first names.

    Attributes:
        learning: Trainable parameters (``requires_grad`` in training mode).
        frozen: Frozen parameters. They are the same everywhere, and never travel.
        buffers: The role of every other tensor.
        aliases: Further name -> first name of a tensor (tied weights, a module in two places).
        persistent: Every name in the state dict, in its order.
        unknown: Floating-point buffers that training changes and whose role is not known.
        observed: Observations from running it; None if it was not run.
        stated_head: The path of the head, if the scenario gives it.
    """

    learning: tuple[str, ...]
    frozen: tuple[str, ...]
    buffers: Mapping[str, Role]
    aliases: Mapping[str, str] = field(default_factory=dict)
    persistent: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    observed: Observed | None = None
    stated_head: str | None = None

    @classmethod
    def of(
        cls, model: nn.Module, observed: Observed | None = None, head: str | None = None
    ) -> Anatomy:
        """Analyses a network.

        Args:
            model: Any network.
            observed: Observations from running it.
            head: The path of its head, if given.

        Raises:
            InputError: If a module's ``fedlab_buffers`` is invalid.
        """
        learns = {name: tensor.requires_grad for name, tensor in model.named_parameters()}
        roles, unknown = buffer_roles(model, observed.moving if observed else None)
        parameters, buffers = first_names(model)
        every = {**parameters, **buffers}
        return cls(
            learning=tuple(name for name, does in learns.items() if does),
            frozen=tuple(name for name, does in learns.items() if not does),
            buffers=roles,
            aliases={name: first for name, first in every.items() if name != first},
            persistent=tuple(model.state_dict()),
            unknown=unknown,
            observed=observed,
            stated_head=head,
        )

    @property
    def moving(self) -> tuple[str, ...]:
        """Tensors that differ between clients or rounds.

        In the order of the state dict; tensors that are not in it come last.
        """
        kept = (name for name, role in self.buffers.items() if role is not Role.NONE)
        moving = {*self.learning, *kept}
        ordered = dict.fromkeys(self.aliases.get(name, name) for name in self.persistent)
        rest = (name for name in (*self.learning, *self.buffers) if name not in ordered)
        return tuple(name for name in (*ordered, *rest) if name in moving)

    @property
    def local(self) -> frozenset[str]:
        """Buffers that stay with their client for every method."""
        return self._with(Role.LOCAL)

    @property
    def kept_whole(self) -> frozenset[str]:
        """Buffers of which one client's is taken, as their mean is meaningless."""
        return self._with(Role.LAST, Role.DERIVED)

    @property
    def derived(self) -> frozenset[str]:
        """Buffers that are recomputed from the aggregated weights."""
        return self._with(Role.DERIVED)

    @property
    def was_run(self) -> bool:
        """Whether the network was run and its order of calls is known."""
        return self.observed is not None and bool(self.observed.order)

    @property
    def head(self) -> str | None:
        """Path of the dense layer that computes the outputs, or None."""
        if self.stated_head is not None or self.observed is None:
            return self.stated_head
        return self.observed.head

    def calls(self, path: str) -> bool:
        """Whether forward passes of both modes call a module, as far as is known."""
        seen = self.observed
        if seen is None or not seen.order:
            return True
        return path in seen.order and (seen.in_training is None or path in seen.in_training)

    def _with(self, *roles: Role) -> frozenset[str]:
        return frozenset(name for name, role in self.buffers.items() if role in roles)

    def among(self, names: Iterable[str]) -> tuple[str, ...]:
        """The moving tensors with these names or aliases, in the order of `moving`."""
        first = {self.aliases.get(name, name) for name in names}
        return tuple(name for name in self.moving if name in first)

    def pick(self, state: Mapping[str, torch.Tensor]) -> Tensors:
        """The tensors of a state dict by their first names; unknown names are left out."""
        known = (*self.learning, *self.frozen, *self.buffers)
        return {name: state[name] for name in known if name in state}

    def state_dict(self, tensors: Mapping[str, torch.Tensor]) -> Tensors:
        """The given tensors by all names that they have in the network's state dict."""
        whole = {}
        for name in self.persistent:
            first = self.aliases.get(name, name)
            if first in tensors:
                tied = first in whole or name != first
                whole[name] = tensors[first].clone() if tied else tensors[first]
        return whole


def anatomy_of(model: nn.Module) -> Anatomy:
    """The anatomy stored by `study`, or else one without observations from a run."""
    found = vars(model).get(NOTE)
    return Anatomy.of(model) if found is None else found


def study(
    model: nn.Module,
    samples: torch.Tensor | None,
    head: str | None = None,
    observed: Observed | None = None,
) -> nn.Module:
    """Runs a network and stores its anatomy in it.

    The network is put in training mode first, as clients put it: a ``train`` of its own may freeze
    parameters.

    Args:
        model: Any network; its tensors are not changed.
        samples: Two samples as in training, shape (2, ...).
        head: The path of its head, if given.
        observed: Observations from another process; the network is then not run.

    Returns:
        The network.

    Raises:
        InputError: If a module's ``fedlab_buffers`` is invalid.
    """
    model.train()
    if observed is None and samples is not None:
        observed = observe(model, samples)
    vars(model)[NOTE] = Anatomy.of(model, observed, head)
    return model


@torch.no_grad()
def fill(model: nn.Module, state: Mapping[str, torch.Tensor]) -> nn.Module:
    """Copies a state into a network, in place.

    Args:
        model: The network.
        state: Tensors by their first names; missing ones are not changed.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in state:
            if tensor.shape != state[name].shape:
                tensor.resize_(state[name].shape)
            tensor.copy_(state[name])
    return model
