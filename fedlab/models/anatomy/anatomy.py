"""A network as a federation sees it: what learns, what stays as it is, what travels and how."""

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
"""Under which a network remembers what was found out of it."""


@dataclass(frozen=True)
class Anatomy:
    """What a network is made of. Tensors go by the first of their names.

    Attributes:
        learning: Parameters that learn (``requires_grad``).
        frozen: Parameters that do not. They are the same everywhere, and never travel.
        buffers: The role of every other tensor.
        aliases: Further names of a tensor (tied weights, a module in two places), and its first.
        persistent: Every name in the state dict, in its order.
        unknown: Buffers of floating-point numbers that training moves and nobody knows.
        observed: What was found by running it; None where it was not run.
        stated_head: The path of the head, where the scenario says it.
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
        """Reads a network.

        Args:
            model: Any network.
            observed: What was found by running it.
            head: The path of its head, if that is stated.

        Raises:
            InputError: If a module says something of a buffer that cannot be.
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
        """Tensors that differ from client to client or from round to round.

        In the order of the state dict; what is no part of that comes last.
        """
        kept = (name for name, role in self.buffers.items() if role is not Role.NONE)
        moving = {*self.learning, *kept}
        ordered = dict.fromkeys(self.aliases.get(name, name) for name in self.persistent)
        rest = (name for name in (*self.learning, *self.buffers) if name not in ordered)
        return tuple(name for name in (*ordered, *rest) if name in moving)

    @property
    def local(self) -> frozenset[str]:
        """Buffers that stay with their client whatever the method."""
        return self._with(Role.LOCAL)

    @property
    def kept_whole(self) -> frozenset[str]:
        """Buffers of which one client's is taken, since their mean means nothing."""
        return self._with(Role.LAST, Role.DERIVED)

    @property
    def derived(self) -> frozenset[str]:
        """Buffers that are made to fit the combined weights again."""
        return self._with(Role.DERIVED)

    @property
    def was_run(self) -> bool:
        """Whether running the network has told where its outputs come from."""
        return self.observed is not None and bool(self.observed.order)

    @property
    def head(self) -> str | None:
        """Path of the dense layer that makes the outputs; None where there is none."""
        if self.stated_head is not None or self.observed is None:
            return self.stated_head
        return self.observed.head

    def _with(self, *roles: Role) -> frozenset[str]:
        return frozenset(name for name, role in self.buffers.items() if role in roles)

    def among(self, names: Iterable[str]) -> tuple[str, ...]:
        """The moving tensors that some names stand for, in the order of `moving`."""
        first = {self.aliases.get(name, name) for name in names}
        return tuple(name for name in self.moving if name in first)

    def pick(self, state: Mapping[str, torch.Tensor]) -> Tensors:
        """The tensors of a state dict by their first names; other tensors are left out."""
        known = (*self.learning, *self.frozen, *self.buffers)
        return {name: state[name] for name in known if name in state}

    def state_dict(self, tensors: Mapping[str, torch.Tensor]) -> Tensors:
        """Tensors by all the names of the network's state dict, as far as there are any."""
        whole = {}
        for name in self.persistent:
            first = self.aliases.get(name, name)
            if first in tensors:
                tied = first in whole or name != first
                whole[name] = tensors[first].clone() if tied else tensors[first]
        return whole


def anatomy_of(model: nn.Module) -> Anatomy:
    """What is known of a network: what `study` found, or else what can be read without running."""
    found = vars(model).get(NOTE)
    return Anatomy.of(model) if found is None else found


def study(
    model: nn.Module,
    samples: torch.Tensor | None,
    head: str | None = None,
    observed: Observed | None = None,
) -> nn.Module:
    """Runs a network once and has it remember what was found.

    Args:
        model: Any network; its tensors stay as they are.
        samples: Two samples as training will give them, shape (2, ...).
        head: The path of its head, if that is stated.
        observed: What was found by running it elsewhere; it is then not run.

    Returns:
        The network.

    Raises:
        InputError: If a module says something of a buffer that cannot be.
    """
    if observed is None and samples is not None:
        observed = observe(model, samples)
    vars(model)[NOTE] = Anatomy.of(model, observed, head)
    return model


@torch.no_grad()
def fill(model: nn.Module, state: Mapping[str, torch.Tensor]) -> nn.Module:
    """Puts a state into a network, in place.

    Args:
        model: The network.
        state: Tensors by their first names; those that are missing stay as they are.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in state:
            if tensor.shape != state[name].shape:
                tensor.resize_(state[name].shape)
            tensor.copy_(state[name])
    return model
