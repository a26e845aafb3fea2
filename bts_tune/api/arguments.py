"""Arguments of the public functions: of the type that is declared, or refused before anything is done."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable
from types import NoneType
from typing import Any, ParamSpec, TypeVar

from bts_tune.api.plain import plain
from bts_tune.errors import ConfigError
from bts_tune.text import quoted, texts

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Other types are left to what reads them: paths to `user_path`, configurations and options to their own readers.
_WORDS = {str: "a text", bool: "True or False", int: "a whole number", float: "a number", NoneType: "None"}
_DECLARED: dict[str, tuple[type, ...]] = {
    " | ".join("None" if one is NoneType else one.__name__ for one in types): types
    for first in (str, bool, int, float)
    for types in ((first,), (first, NoneType))
}


def checked(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Refuse arguments that the function does not take, or of another type than it declares.

    NumPy's numbers are taken as Python's.

    Raises:
        ConfigError: there is such an argument, or one lacks; the sentence names it.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ConfigError(f"{function.__name__}: {error}; {_how_called(signature)}.") from None
        for name, value in given.arguments.items():
            allowed = _DECLARED.get(signature.parameters[name].annotation)
            if allowed is not None:
                given.arguments[name] = _of_type(plain(value), allowed, name)
        return function(*given.args, **given.kwargs)

    return call


def _how_called(signature: inspect.Signature) -> str:
    """Return which arguments are taken without their names."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    unnamed = [one.name for one in signature.parameters.values() if one.kind in kinds and one.name != "self"]
    if not unnamed:
        return "every argument is given with its name, as in name='x'"
    return f"arguments without a name are {', '.join(unnamed)}, in this order, and all others have theirs"


def name_or_path(value: object, name: str) -> str:
    """Return an argument that is a name or a path, as text.

    Raises:
        ConfigError: it is neither.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise ConfigError(f"{name}: must be a text or a pathlib.Path, got {quoted(value)}.")
    return text


def one_or_several(value: object, name: str) -> list[Any]:
    """Return an argument that takes a text, a path, or several of them, as a list.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(value, str | os.PathLike):
        return [value]
    if not isinstance(value, Iterable):
        raise ConfigError(f"{name}: must be a text, a pathlib.Path or several of them, got {quoted(value)}.")
    return list(value)


def texts_or_none(value: object, name: str) -> list[str] | None:
    """Return an argument that takes texts or numbers, or one alone, as texts; None where it is None.

    Raises:
        ConfigError: it is neither.
    """
    listed: list[str] | None = texts(plain(value))
    if listed is not None and not all(isinstance(one, str) for one in listed):
        raise ConfigError(f"{name}: must be a text, a number or several of them, got {quoted(value)}.")
    return listed


def _of_type(value: object, allowed: tuple[type, ...], name: str) -> object:
    taken = (*allowed, int) if float in allowed else allowed
    if isinstance(value, taken) and (bool in allowed or not isinstance(value, bool)):
        return value
    words = " or ".join(_WORDS[one] for one in allowed)
    raise ConfigError(f"{name}: must be {words}, got {quoted(value)}.")
