"""Parts of a scenario that are chosen by name and bring their own typed parameters."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, SerializeAsAny

from fedlab import registry
from fedlab.errors import InputError


class Section(BaseModel):
    """A block of the scenario: immutable, and without room for keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Component(Section):
    """A block whose class is chosen by its ``name`` from a registry group.

    ``labels: {name: dirichlet, alpha: 0.1}`` becomes the `Component` registered as ``dirichlet``
    under the group of the annotated base class; ``labels: iid`` is short for ``{name: iid}``.
    """

    group: ClassVar[str]
    if TYPE_CHECKING:
        name: Any  # a subclass narrows it to its own literal, which `str` would not allow
    else:
        name: str

    @classmethod
    def choose(cls, value: Any) -> Any:
        """Turns ``name`` or ``{name: ..., **parameters}`` into an instance of the named class.

        In Python, the class itself may stand in the place of its name.

        Raises:
            ValueError: If the name is missing or unknown, or a parameter is refused.
        """
        if isinstance(value, Component):
            return value
        if isinstance(value, str | type):
            value = {"name": value}
        if isinstance(value, dict) and isinstance(value.get("name"), type):
            value = {**value, "name": registry.name_of(cls.group, value["name"])}
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            choices = ", ".join(registry.names(cls.group))
            raise ValueError(f"needs a name: one of {choices}")
        try:
            target = registry.resolve(cls.group, value["name"])
        except InputError as error:
            raise ValueError(str(error)) from error
        block = getattr(target, "Parameters", target)
        if not (isinstance(block, type) and issubclass(block, cls)) or inspect.isabstract(block):
            raise ValueError(
                f"'{value['name']}' cannot stand here; it must be a complete subclass of "
                f"{cls.__module__}.{cls.__name__}, or have one as its Parameters"
            )
        return block.model_validate(value)


if TYPE_CHECKING:
    T = TypeVar("T", bound=Component)
    Chosen = Annotated[T, "chosen by name"]
else:

    class Chosen:
        """``Chosen[Base]``: a field that holds any registered subclass of ``Base``."""

        def __class_getitem__(cls, base: type[Component]) -> Any:
            """The annotation pydantic understands."""
            return Annotated[SerializeAsAny[base], BeforeValidator(base.choose)]
