"""The head of a network: the dense layer that computes its outputs; the layers before are the body.

Features are the inputs of the head. They are recorded by a forward hook, which works for any
network, also under `torch.func.functional_call` and `torch.func.vmap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import linear

from fedlab.models.anatomy import anatomy_of
from fedlab.models.anatomy.outputs import OWN
from fedlab.models.captured import captured_inputs
from fedlab.records import Tensors


@dataclass(frozen=True)
class Head:
    """The dense layer that computes a network's outputs.

    Attributes:
        path: Its name within the network; empty if it is the network.
        layer: The layer.
    """

    path: str
    layer: nn.Linear

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its parameters within the network's state dict."""
        prefix = f"{self.path}." if self.path else ""
        return tuple(prefix + name for name, _ in self.layer.named_parameters())

    @property
    def features(self) -> int:
        """Number of its inputs."""
        return self.layer.in_features

    def outputs(self, parameters: Tensors, features: torch.Tensor) -> torch.Tensor:
        """Its outputs, shape (batch, classes), computed with `parameters` of the network.

        Parameters that are missing there (frozen ones) are taken from the layer.
        """
        names = self.names
        if type(self.layer) is nn.Linear and all(name in parameters for name in names):
            return linear(features, *(parameters[name] for name in names))
        prefix = len(self.path) + 1 if self.path else 0
        own = {name[prefix:]: parameters[name] for name in names if name in parameters}
        return functional_call(self.layer, own, (features,))

    def listen(self) -> AbstractContextManager[list[torch.Tensor]]:
        """Records the features of every forward pass within the context."""
        return captured_inputs(self.layer, lambda features: features)


def find_head(model: nn.Module) -> Head | None:
    """The dense layer that computes a network's outputs, or None (`why_no_head` says why).

    Found by running the network, or given in the scenario (``model.head``). For a network that was
    not run, the dense layer that was registered last. A layer that no forward pass calls is none:
    what it reads is not known.
    """
    anatomy = anatomy_of(model)
    layers = _dense_layers(model)
    if not anatomy.was_run and anatomy.stated_head is None:
        return Head(*list(layers.items())[-1]) if layers else None
    path = anatomy.head
    if path is None or path not in layers or not anatomy.calls(path):
        return None
    return Head(path, layers[path])


def why_no_head(model: nn.Module) -> str:
    """Why `find_head` finds none, and the remedy, in words that follow "the model 'x'"."""
    anatomy = anatomy_of(model)
    layers = _dense_layers(model)
    stated = anatomy.stated_head
    if stated is not None:
        return (
            f"has the head '{stated}' (model.head), and does not call this layer in every forward "
            f"pass; {CALL_ONE}"
        )
    if not layers:
        return f"has no dense layer (torch.nn.Linear); {CALL_ONE}"
    seen = anatomy.observed
    named = "" if seen and set(seen.ends) & set(seen.read) else "name one as model.head, or "
    return f"{why_unclear(model) or NOT_DENSE}; {named}{CALL_ONE}"


def why_unclear(model: nn.Module) -> str | None:
    """Why it is not clear which layer computes a network's outputs, or None if it is one part.

    The words follow "the model 'x'". None also where the scenario says it (``model.head``), or
    where the network was not run.
    """
    anatomy = anatomy_of(model)
    seen = anatomy.observed
    if seen is None or not anatomy.was_run or anatomy.stated_head is not None:
        return None
    if uncalled := [part for part in seen.ends if part in seen.read]:
        return f"reads the weights of its layer '{uncalled[0]}' without calling the layer"
    if OWN in seen.ends:
        return "computes its outputs with parameters of its own, outside of its layers"
    if len(seen.ends) > 1:
        return (
            f"has outputs that come from several layers ({_listed(seen.ends)}), in training or in "
            "evaluation mode"
        )
    return None if seen.ends else "has outputs that come from none of its layers"


def head_names(model: nn.Module) -> tuple[str, ...]:
    """Names of the head's parameters, also of one that is stated and not called; empty for none."""
    path, layers = anatomy_of(model).stated_head, _dense_layers(model)
    head = Head(path, layers[path]) if path is not None and path in layers else find_head(model)
    return head.names if head else ()


CALL_ONE = "let its outputs be those of one torch.nn.Linear that it calls"
"""What any network can do to have a head."""

NOT_DENSE = "has no single dense layer that its outputs come from"


def _dense_layers(model: nn.Module) -> dict[str, nn.Linear]:
    return {p: m for p, m in model.named_modules() if isinstance(m, nn.Linear)}


def _listed(names: Sequence[str], most: int = 4) -> str:
    more = ", ..." if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more
