"""A client trainer with wrapped hooks, which record calls and check return values."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from dis import get_instructions
from functools import wraps
from pathlib import Path
from typing import Any

from fedlab.clients.base import ClientTrainer, Phase
from fedlab.config.signatures import is_ours
from fedlab.engine.rehearsal.answer_checks import Elsewhere
from fedlab.errors import InputError
from fedlab.training.local_round import Objective

HOOKS = tuple(
    name
    for name, value in vars(ClientTrainer).items()
    if inspect.isfunction(value) and not name.startswith("_")
)
"""The methods of a client trainer that the engine, or other hooks, call."""

ASKS = {
    "begin": ("personal_model",),
    "objective": ("loss",),
    "gradients": ("objective", "loss"),
    "step": ("gradients", "objective", "loss"),
}
"""The hooks that a hook calls and whose results enter its own."""


class HookError(InputError):
    """An invalid return value of a hook, with file, line and remedy."""


Check = Callable[..., "str | Elsewhere"]
"""(return value, arguments) -> the error and the remedy; empty if there is none."""


class WatchedTrainer:
    """Wraps the hooks of a client trainer's instance.

    Calls through the instance are checked; calls by ``super()`` are not, so that only the final
    result of a user's method is.

    Args:
        trainer: The client trainer; its instance is changed.
        checks: The check of each hook.

    Attributes:
        trainer: The same trainer.
    """

    def __init__(self, trainer: ClientTrainer, checks: Mapping[str, Check]) -> None:
        self.trainer = trainer
        self._checks = checks
        self._own_loss = not is_ours(type(trainer.task.loss))
        self._asked = ""
        self._answered = ""
        self._phases: dict[Objective, Objective] = {}
        for name in HOOKS:
            vars(trainer)[name] = self._watched(name, getattr(trainer, name))

    def _watched(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(hook)
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._asked = name
            answer = hook(*args, **kwargs)
            if self.is_own(name):
                self._answered = name
            given = inspect.signature(hook).bind(*args, **kwargs).args if kwargs else args
            self._look(name, answer, given, self.culprit(name))
            return self._listening(answer) if name == "phases" else answer

        return watched

    def _look(
        self, name: str, answer: Any, given: tuple[Any, ...], own: Callable[..., Any] | None
    ) -> None:
        """Refuses a wrong return value, if a user's function has caused it."""
        if name not in self._checks or own is None:
            return
        wrong = self._checks[name](answer, *given)
        if isinstance(wrong, Elsewhere):
            own, wrong = self.culprit(wrong.hook) or own, wrong.wrong
        if wrong:
            raise HookError(f"{place_of(own)} {wrong}")

    def _listening(self, phases: Sequence[Phase]) -> Sequence[Phase]:
        """The phases, with their own objectives wrapped."""
        return [
            replace(phase, objective=self._objective(phase.objective)) if phase.objective else phase
            for phase in phases
        ]

    def _objective(self, function: Objective) -> Objective:
        def watched(*args: Any) -> Any:
            answer = function(*args)
            self._look("objective", answer, args, function)
            return answer

        return self._phases.setdefault(function, watched)

    def is_own(self, name: str) -> bool:
        """Whether a user's class defines a hook."""
        return not is_ours(_defined(type(self.trainer), name))

    def culprit(self, name: str) -> Callable[..., Any] | None:
        """The user's function that most likely caused a hook's return value, or None."""
        for each in (name, *ASKS.get(name, ())):
            if self.is_own(each):
                return _defined(type(self.trainer), each)
        if self._own_loss and "loss" in ASKS.get(name, ()):
            return type(self.trainer.task.loss).value
        return None

    def last_asked(self) -> Callable[..., Any] | None:
        """The user's function that most likely caused an error raised outside of user code."""
        found = self.culprit(self._asked) if self._asked else None
        if found is None and self._answered:
            found = _defined(type(self.trainer), self._answered)
        return found

    def who_sets(self, attribute: str) -> str:
        """The place where a user's class or its bases set an attribute, or else read it."""
        reads = None
        for cls in type(self.trainer).__mro__:
            for value in () if is_ours(cls) else vars(cls).values():
                code = getattr(inspect.unwrap(value), "__code__", None) if callable(value) else None
                if code is None or code.co_name == "__init__" or attribute not in code.co_names:
                    continue
                stores = ("STORE_ATTR", "DELETE_ATTR")
                if any(
                    i.opname in stores and i.argval == attribute for i in get_instructions(code)
                ):
                    return place_of(value)
                reads = reads or value
        return place_of(reads) if reads is not None else type(self.trainer).__name__


def _defined(cls: type, name: str) -> Callable[..., Any]:
    return inspect.unwrap(getattr(cls, name))


def place_of(function: Callable[..., Any]) -> str:
    """The name, file and first line of a function."""
    function = inspect.unwrap(function)
    name = function.__qualname__.rpartition("<locals>.")[2]
    code = getattr(function, "__code__", None)
    return f"{name} ({Path(code.co_filename).name}, line {code.co_firstlineno})" if code else name


def own_files(cls: type) -> frozenset[str]:
    """The files of a user's classes, including those of installed packages."""
    functions = (
        inspect.unwrap(value)
        for each in cls.__mro__
        for value in (() if is_ours(each) or each is object else vars(each).values())
        if inspect.isfunction(value)
    )
    return frozenset(each.__code__.co_filename for each in functions)
