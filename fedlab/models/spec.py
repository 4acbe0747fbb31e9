"""The model block of a scenario: fedlab's own networks, and those that anybody writes.

A network of one's own is a `torch.nn.Module` class, or a function that makes a module.
``model: {name: "nets:Net", width: 64}`` calls ``nets.Net(width=64)``. The arguments of the call are
the keys of the block, so that ranges of types, defaults, ``fedlab show`` and error messages come by
themselves; what the data decide (`GIVEN`) fedlab passes wherever the arguments ask for it.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, create_model
from torch import nn

from fedlab.config.component import Component

ALLOWED = ("head",)
"""Keys of every network that an argument of the same name may take over."""

GIVEN = ("input_shape", "classes", "num_classes")
"""Arguments that are no keys: the shape of a sample, and the number of classes by two names."""


class ModelSpec(Component):
    """A network's name and its parameters; `fedlab.models.build.build_model` makes the module.

    Attributes:
        norm: What takes the place of each batch normalisation: ``batch`` keeps it, ``group`` and
            ``layer`` put group or layer normalisation there, ``none`` nothing.
        head: Path of the dense layer that makes the outputs, for methods that treat it by itself;
            by default it is found by running the network.
    """

    group: ClassVar[str] = "models"
    norm: Literal["batch", "group", "layer", "none"] = "batch"
    head: str | None = None
    taken: ClassVar[frozenset[str]] = frozenset()
    """Keys of these that a network of somebody's own has taken for an argument of its own."""

    @classmethod
    def block_of(cls, target: Any) -> Any:
        """The class that reads a model's block; that of a plain module is made of its arguments."""
        return plain_network(target) if makes_modules(target) else super().block_of(target)

    @abstractmethod
    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network as its paper draws it (with batch normalisation, where it has any).

        Args:
            input_shape: (channels, height, width) or (features,).
            classes: Number of outputs.

        Raises:
            InputError: If the network cannot take inputs of that shape.
        """


class PlainNetwork(ModelSpec):
    """A network of somebody's own; its keys are those of the call that makes it."""

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())
    maker: ClassVar[Callable[..., Any]]
    given: ClassVar[tuple[str, ...]]

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Calls the class or the function."""
        known = {"input_shape": input_shape, "classes": classes, "num_classes": classes}
        own = {key: getattr(self, key) for key in type(self).model_fields}
        ours = ModelSpec.model_fields.keys() - type(self).taken
        own = {key: value for key, value in own.items() if key not in ours}
        return type(self).maker(**{key: known[key] for key in self.given}, **own)

    def __reduce__(self) -> tuple[Any, ...]:
        """Goes to another process with its maker: the class of its block is made there anew."""
        return _again, (type(self).maker, self.model_dump())


@cache
def plain_network(maker: Callable[..., Any]) -> type[PlainNetwork]:
    """The block of a class or function that makes a module.

    Raises:
        ValueError: If its arguments cannot be the keys of a block.
    """
    fields: dict[str, Any] = {}
    given, open_ended = [], False
    for key, argument in _arguments(maker).items():
        if argument.kind is argument.VAR_POSITIONAL:
            continue
        if argument.kind is argument.VAR_KEYWORD:
            open_ended = True
        elif key in GIVEN:
            given.append(key)
        elif (key in PlainNetwork.model_fields and key not in ALLOWED) or hasattr(
            PlainNetwork, key
        ):
            raise ValueError(
                f"'{maker.__module__}:{maker.__qualname__}' has the argument '{key}', which cannot "
                "be a key of the model's block; give it another name"
            )
        else:
            kind = Any if argument.annotation is argument.empty else argument.annotation
            default = ... if argument.default is argument.empty else argument.default
            fields[key] = (kind, Field(default=default, validate_default=False))
    if open_ended and not {"classes", "num_classes"} & set(given):
        given.append("num_classes")  # as the functions of torchvision.models take it
    block = create_model(
        maker.__name__, __base__=PlainNetwork, __module__=maker.__module__, **fields
    )
    block.__doc__ = inspect.getdoc(maker)
    block.taken = frozenset(fields.keys() & ModelSpec.model_fields.keys())
    block.maker, block.given = staticmethod(maker), tuple(given)
    return block


def makes_modules(target: Any) -> bool:
    """Whether something is a class of modules, or a function, which may make one."""
    return inspect.isfunction(target) or (
        isinstance(target, type) and issubclass(target, nn.Module)
    )


def _arguments(maker: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        signature = inspect.signature(maker, eval_str=True)
    except NameError:  # an annotation that only a type checker understands
        signature = inspect.signature(maker)
        return {
            key: argument.replace(annotation=argument.empty)
            for key, argument in signature.parameters.items()
        }
    return dict(signature.parameters)


def _again(maker: Callable[..., Any], values: dict[str, Any]) -> PlainNetwork:
    return plain_network(maker).model_validate(values)
