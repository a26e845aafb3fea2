"""Text for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune.text import first_line, last_line, percent, shortened, without_values


@given(st.floats(0, 1), st.integers(0, 2))
def test_a_share_is_all_or_nothing_only_where_it_is(content: float, decimals: int) -> None:
    told = percent(content, decimals)
    nothing, everything = f"{0:.{decimals}%}", f"{1:.{decimals}%}"
    assert (told == nothing, told == everything) == (content == 0, content == 1)
    assert abs(float(told.strip("<>% ")) / 100 - content) <= 0.01 / 10**decimals


@pytest.mark.parametrize(("content", "told"), [(0.005, "< 1%"), (0.01, "1%"), (0.86, "86%"), (0.995, "> 99%")])
def test_a_share_in_per_cent(content: float, told: str) -> None:
    assert percent(content) == told


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
