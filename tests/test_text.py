"""Text for people."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bts_tune.text import shortened, without_values


@given(st.text(max_size=80), st.integers(4, 40))
def test_shortened_fits_and_keeps_both_ends(text: str, length: int) -> None:
    short = shortened(text, length)
    assert len(short) <= length
    flat = " ".join(text.split())
    assert short == flat or (short[0] == flat[0] and short[-1] == flat[-1] and "…" in short)


def test_messages_of_one_cause_are_alike_without_their_values() -> None:
    one, other = "image_id 'a b' is 3.5 of 12 pixels, got [1]", "image_id 'c' is -1e-3 of 7 pixels, got None"
    assert without_values(one) == without_values(other) == "image_id … is … of … pixels"
