"""Text for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.text import first_line, last_line, shortened, without_values


@given(st.text(max_size=80), st.integers(4, 40))
def test_shortened_fits_and_keeps_both_ends(text: str, length: int) -> None:
    short = shortened(text, length)
    assert len(short) <= length
    flat = " ".join(text.split())
    assert short == flat or (short[0] == flat[0] and short[-1] == flat[-1] and "…" in short)


def test_messages_of_one_cause_are_alike_without_their_values() -> None:
    one, other = "image_id 'a b' is 3.5 of 12 pixels, got [1]", "image_id 'c' is -1e-3 of 7 pixels, got None"
    assert without_values(one) == without_values(other) == "image_id … is … of … pixels"


@pytest.mark.parametrize(
    ("error", "first", "last"),
    [
        (ValueError("no such plane."), "no such plane.", "no such plane."),
        (
            RuntimeError("Traceback:\n  in f\nDataError: a.png: is broken\n"),
            "Traceback:.",
            "DataError: a.png: is broken.",
        ),
        (KeyError("size"), "size.", "size."),
        (MemoryError(), "MemoryError.", "MemoryError."),
        (OSError("\n"), "OSError.", "OSError."),
    ],
)
def test_a_line_of_an_error(error: Exception, first: str, last: str) -> None:
    assert (first_line(error), last_line(error)) == (first, last)
