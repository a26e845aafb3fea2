"""Text for people."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bts_tune.text import shortened


@given(st.text(max_size=80), st.integers(4, 40))
def test_shortened_fits_and_keeps_both_ends(text: str, length: int) -> None:
    short = shortened(text, length)
    assert len(short) <= length
    flat = " ".join(text.split())
    assert short == flat or (short[0] == flat[0] and short[-1] == flat[-1] and "…" in short)
