"""Blocks of a scenario, and components: blocks whose class is chosen by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fedlab.config import registry
from fedlab.config.misspelt import refuse_misspelt_hooks
from fedlab.config.plain_values import refuse_unmeant
from fedlab.config.signatures import refuse_other_signatures
from fedlab.errors import InputError, format_error


class ConfigBlock(BaseModel):
    """A block of the scenario: immutable; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
    unbounded: ClassVar[frozenset[str]] = frozenset()
    """Keys that may be infinite or NaN."""
    renamed: ClassVar[Mapping[str, str]] = {}
    """Old name of a key, which is still accepted -> its current name."""
    respelt: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """Key -> accepted other spelling of a value -> its current spelling."""

    either: ClassVar[tuple[str, ...]] = ()
    """Keys of which only one may be given: an override of one replaces the others."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, without the cached properties of the original's."""
        copied = super().model_copy(update=update, deep=deep)
        for name in vars(copied).keys() - type(self).model_fields.keys():
            del vars(copied)[name]
        return copied

    @model_validator(mode="before")
    @classmethod
    def _reads_old_names(cls, values: Any) -> Any:
        """Moves values of old names to the new ones."""
        old = [name for name in cls.renamed if isinstance(values, dict) and name in values]
        for name in old:
            if cls.renamed[name] in values:
                raise ValueError(
                    f"has both {name} and {cls.renamed[name]}, which is its name now; leave "
                    f"{name} out"
                )
        return {cls.renamed.get(k, k): v for k, v in values.items()} if old else values

    @field_validator("*", mode="before")
    @classmethod
    def _is_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses values that pydantic would convert to a number by mistake."""
        field = cls.model_fields[info.field_name or ""]
        spellings = cls.respelt.get(info.field_name or "", {})
        value = spellings.get(value, value) if isinstance(value, str) else value
        if info.field_name in cls.unbounded and isinstance(value, float):
            return value
        return refuse_unmeant(value, field.annotation)


class Component(ConfigBlock):
    """A block whose class is chosen by its ``name`` from a registry group.

    ``labels: {name: dirichlet, alpha: 0.1}`` becomes the `Component` registered as ``dirichlet``
    under the group of the annotated base class; ``labels: iid`` is short for ``{name: iid}``.
    """

    group: ClassVar[str]
    if TYPE_CHECKING:
        name: Any  # a subclass narrows it to its own literal, which a type of `str` would forbid
    else:
        name: str

    @classmethod
    def choose(cls, value: Any) -> Any:
        """Turns ``name`` or ``{name: ..., **parameters}`` into an instance of the named class.

        In Python, the class (or function) itself may be given instead of its name.

        Raises:
            ValueError: If the name is missing or unknown, or a parameter is refused.
        """
        if isinstance(value, Component):
            return value
        if isinstance(value, str) or _is_defined(value):
            value = {"name": value}
        if isinstance(value, dict) and isinstance(name := value.get("name"), str):
            value = {**value, "name": registry.OTHER_SPELLINGS.get(name, name)}
        if isinstance(value, dict) and _is_defined(value.get("name")):
            value = {**value, "name": registry.name_of(cls.group, value["name"])}
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            choices = ", ".join(registry.names(cls.group))
            raise ValueError(f"needs a name: one of {choices}")
        try:
            target = registry.resolve(cls.group, value["name"])
        except InputError as error:
            raise ValueError(str(error)) from error
        block = cls.block_of(target)
        if not (isinstance(block, type) and issubclass(block, cls)):
            raise ValueError(
                f"'{value['name']}' cannot stand here; it must be a complete subclass of "
                f"{cls.__module__}.{cls.__name__}, or have one as its Parameters"
            )
        if inspect.isabstract(block):
            lacks = ", ".join(sorted(getattr(block, "__abstractmethods__", ())))
            raise ValueError(
                f"'{value['name']}' lacks {lacks}, which every subclass of "
                f"{cls.__module__}.{cls.__name__} has to define"
            )
        try:
            refuse_other_signatures(block, f"'{value['name']}'")
            refuse_misspelt_hooks(block, f"'{value['name']}'")
            return block.model_validate(value)
        except InputError as error:
            raise ValueError(str(error)) from error
        except TypeError as error:  # a user's class may define its own constructor
            raise ValueError(
                f"'{value['name']}' cannot be made of its keys: {format_error(error)}; leave the "
                "constructor to fedlab, and write parameters as typed fields"
            ) from error

    @classmethod
    def block_of(cls, target: Any) -> Any:
        """The class that reads the block of a named target."""
        return getattr(target, "Parameters", target)


def _is_defined(value: Any) -> bool:
    """Whether a value is a class or a function."""
    return isinstance(value, type) or inspect.isfunction(value)


if TYPE_CHECKING:
    T = TypeVar("T", bound=Component)
    Chosen = Annotated[T, "chosen by name"]
else:

    class Chosen:
        """``Chosen[Base]``: a field that holds any registered subclass of ``Base``."""

        def __class_getitem__(cls, base: type[Component]) -> Any:
            """The annotation for pydantic."""
            return Annotated[SerializeAsAny[base], BeforeValidator(base.choose)]
