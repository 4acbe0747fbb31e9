"""The ``model`` block of a scenario: fedlab's networks, and custom ones.

A custom network is a `torch.nn.Module` class, or a function that returns a module.
``model: {name: "nets:Net", width: 64}`` calls ``nets.Net(width=64)``. The arguments of the call are
the keys of the block: types, ranges, defaults, ``fedlab show`` and error messages follow from the
signature. Arguments of `GIVEN`, which the data determine, are passed by fedlab if the signature has
them; an argument whose default is a class, a function or a module keeps it.
"""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, ClassVar, Literal, Self, get_args

from pydantic import (
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticSerializationError, to_jsonable_python
from torch import Tensor, nn

from fedlab.config.component import Chosen, Component
from fedlab.errors import InputError
from fedlab.models.adapters.base import Adapter, NoAdapter
from fedlab.models.pretrained.spec import Freeze, Weights, read_freeze, read_weights

ALLOWED = ("head", "weights", "freeze", "adapt")
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
        weights: What it starts from: ``none`` (random values), ``pretrained`` (published weights,
            of networks that have some), or a file or run's folder (see `WeightsFile`).
        freeze: What does not learn: ``none``, ``backbone`` (all but the head), or patterns of
            parameters' names.
        adapt: Adapters that learn in place of the layers, such as ``lora``.
    """

    group: ClassVar[str] = "models"
    norm: Literal["batch", "group", "layer", "none"] = "batch"
    head: str | None = None
    weights: Weights = "none"
    freeze: Freeze = "none"
    adapt: Chosen[Adapter] = NoAdapter()
    taken: ClassVar[frozenset[str]] = frozenset()
    """Keys of `ALLOWED` that a custom network uses as its own arguments."""
    trained_on: ClassVar[tuple[float, float] | None] = None
    """Mean and std that `pretrained_weights` were trained with, of images scaled to [0, 1]."""

    @field_validator("weights", "freeze", mode="before")
    @classmethod
    def _reads_short_forms(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name in cls.taken:
            return value
        return read_weights(value) if info.field_name == "weights" else read_freeze(value)

    @model_validator(mode="after")
    def _freezes_once(self) -> ModelSpec:
        if not isinstance(self.said("adapt"), NoAdapter) and self.said("freeze") != "none":
            raise ValueError(
                "adapt freezes all but the adapters and the head already; leave freeze out"
            )
        return self

    def said(self, key: str) -> Any:
        """The value of a key of `ALLOWED`; its default where it is the network's own argument."""
        return ModelSpec.model_fields[key].default if key in self.taken else getattr(self, key)

    def untrained(self) -> Self:
        """The same network from random values, for callers that fill in all its tensors."""
        return self if "weights" in self.taken else self.model_copy(update={"weights": "none"})

    def pretrained_weights(self) -> Mapping[str, Tensor]:
        """The network's published weights by name, for ``weights: pretrained``.

        Raises:
            InputError: If it has none, or they are not installed.
        """
        raise InputError(
            f"model.weights: there are no pretrained weights of model '{self.name}'; name a file "
            "of weights, or a model that has some, such as efficientnet_lite0"
        )

    @classmethod
    def choose(cls, value: Any) -> Any:
        """Also reads ``{per_client: [...]}``, which has no name."""
        if isinstance(value, dict) and "per_client" in value:
            value = {"name": "per_client", **value}
        return super().choose(value)

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
        elif key == "weights" and _of_enum(argument.annotation):
            pass  # torchvision's weights, which no file can say; the key is fedlab's
        elif not _is_value(argument.default):
            pass  # a class, a function or a module: no file can say one, so the default holds
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


def _of_enum(annotation: Any) -> bool:
    kinds = (annotation, *get_args(annotation))
    return any(isinstance(kind, type) and issubclass(kind, Enum) for kind in kinds)


def _is_value(default: Any) -> bool:
    """Whether a file can hold an argument's default; an argument without one has to be given."""
    if default is inspect.Parameter.empty:
        return True
    try:
        to_jsonable_python(default)
    except PydanticSerializationError:
        return False
    return True


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
