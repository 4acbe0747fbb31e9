"""The ``model`` block of a scenario: fedlab's networks, and custom ones.

A custom network is a `torch.nn.Module` class, or a function that returns a module.
``model: {name: "nets:Net", width: 64}`` calls ``nets.Net(width=64)``. The arguments of the call are
the keys of the block: types, ranges, defaults, ``fedlab show`` and error messages follow from the
signature. Arguments of `GIVEN`, which the data determine, are passed by fedlab if the signature has
them.
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
"""Keys of every network that an argument of the same name may replace."""

GIVEN = ("input_shape", "classes", "num_classes")
"""Arguments that are not keys: the shape of a sample, and the number of classes by two names."""


class ModelSpec(Component):
    """A network's name and its parameters; `fedlab.models.build.build_model` builds the module.

    Attributes:
        norm: Replacement of each batch normalisation: ``batch`` keeps it, ``group`` and ``layer``
            use group or layer normalisation, ``none`` removes it.
        head: Path of the dense layer that computes the outputs, for methods that treat the head
            separately; by default it is found by running the network.
    """

    group: ClassVar[str] = "models"
    norm: Literal["batch", "group", "layer", "none"] = "batch"
    head: str | None = None
    taken: ClassVar[frozenset[str]] = frozenset()
    """Keys of `ALLOWED` that a custom network uses as its own arguments."""

    @classmethod
    def block_of(cls, target: Any) -> Any:
        """The class that reads a model's block; for a plain module, created from its signature."""
        return plain_network(target) if makes_modules(target) else super().block_of(target)

    @abstractmethod
    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """The network as in its paper, with its batch normalisation, if any.

        Args:
            input_shape: (channels, height, width), (features,), or any other shape; where samples
                are ids, ``input_shape.ids`` has the vocabulary and what fills up.
            classes: Number of outputs.

        Raises:
            InputError: If the network cannot take inputs of that shape.
        """


class PlainNetwork(ModelSpec):
    """A custom network; its keys are the arguments of the class or function that creates it."""

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())
    maker: ClassVar[Callable[..., Any]]
    given: ClassVar[tuple[str, ...]]

    def network(self, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Calls the class or function."""
        known = {"input_shape": input_shape, "classes": classes, "num_classes": classes}
        own = {key: getattr(self, key) for key in type(self).model_fields}
        ours = ModelSpec.model_fields.keys() - type(self).taken
        own = {key: value for key, value in own.items() if key not in ours}
        return type(self).maker(**{key: known[key] for key in self.given}, **own)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the class or function; the block's class is created again when unpickled."""
        return _again, (type(self).maker, self.model_dump())


@cache
def plain_network(maker: Callable[..., Any]) -> type[PlainNetwork]:
    """The block's class for a class or function that creates a module.

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
        given.append("num_classes")  # an argument of the functions of torchvision.models
    block = create_model(
        maker.__name__, __base__=PlainNetwork, __module__=maker.__module__, **fields
    )
    block.__doc__ = inspect.getdoc(maker)
    block.taken = frozenset(fields.keys() & ModelSpec.model_fields.keys())
    block.maker, block.given = staticmethod(maker), tuple(given)
    return block


def makes_modules(target: Any) -> bool:
    """Whether a value is a class of modules, or a function, which may create one."""
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
