"""Arguments of the public functions: every one of a declared type is held to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bts_tune as bt
from bts_tune.api.arguments import checked
from bts_tune.errors import ConfigError

PUBLIC: dict[str, Callable[..., Any]] = {
    f"{getattr(owner, '__name__', '')}.{name}": found
    for owner, names in ((bt, bt.__all__), (bt.Run, vars(bt.Run)))
    for name in names
    if inspect.isfunction(found := getattr(owner, name)) and not name.startswith("_")
}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_is_held_to_its_types(name: str) -> None:
    declared = {one.annotation for one in inspect.signature(PUBLIC[name]).parameters.values()}
    plain = {f"{one}{end}" for one in ("str", "bool", "int", "float") for end in ("", " | None")}
    assert hasattr(PUBLIC[name], "__wrapped__") or not declared & plain


@checked
def example(
    number: int, share: float = 0.5, *, text: str | None = None, switch: bool = False, **more: Any
) -> list[Any]:
    return [number, share, text, switch, more]


def test_what_is_declared_is_taken_and_numbers_of_numpy_are_python_s() -> None:
    found = example(np.int64(3), np.float32(0.5), text="a", switch=np.bool_(True), other="b")  # type: ignore[arg-type]
    assert found == [3, 0.5, "a", True, {"other": "b"}]
    assert [type(one) for one in found] == [int, float, str, bool, dict]
    assert example(3, 1) == [3, 1, None, False, {}]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"number": 2.5}, "number: must be a whole number, got 2.5."),
        ({"number": True}, "number: must be a whole number, got True."),
        ({"number": 1, "share": "half"}, "share: must be a number, got 'half'."),
        ({"number": 1, "text": 5}, "text: must be a text or None, got 5."),
        ({"number": 1, "switch": "no"}, "switch: must be True or False, got 'no'."),
    ],
)
def test_what_is_not_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as refused:
        example(**given)
    assert str(refused.value) == sentence
