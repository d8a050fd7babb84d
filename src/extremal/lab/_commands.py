"""What makes a function a verb: the shell reads its options from one frozen dataclass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from ._tables import Table

F = TypeVar("F", bound=Callable[..., Any])
_ATTRIBUTE = "__extremal_command__"


@dataclass(frozen=True, slots=True)
class Command:
    """How the shell calls a verb.

    Attributes:
        options: The frozen dataclass whose fields are its options.
        inputs: Names of its positional arguments; a name that ends in `?` may be left out.
        flags: Which of `out`, `resume`, `force` it takes.
    """

    options: type
    inputs: tuple[str, ...] = ()
    flags: tuple[str, ...] = ("out", "resume", "force")


@runtime_checkable
class Answer(Protocol):
    """What a verb returns, as far as the shell is concerned."""

    def table(self) -> Table:
        """Return what a person wants to see first."""
        ...

    def as_json(self) -> Any:
        """Return the same as plain values, for a machine."""
        ...


def command(
    options: type,
    inputs: tuple[str, ...] = (),
    flags: tuple[str, ...] = ("out", "resume", "force"),
) -> Callable[[F], F]:
    """Mark a function as a verb: called as `verb(*inputs, config=options, out=…, …)`.

    Its result is an `Answer`; a result with an `exit_code` sets the shell's.
    """

    def mark(function: F) -> F:
        setattr(function, _ATTRIBUTE, Command(options, inputs, flags))
        return function

    return mark


def command_of(function: Callable[..., Any]) -> Command:
    """Return how the shell calls a verb.

    Raises:
        TypeError: The function was not marked with `command`.
    """
    found = getattr(function, _ATTRIBUTE, None)
    if found is None:
        raise TypeError(f"{function!r} is not a verb; mark it with lab.command.")
    return cast("Command", found)
