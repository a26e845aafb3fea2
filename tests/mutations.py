"""Hypothesis strategies that damage documents: what fuzz tests of readers draw from."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["../x", "/x", "", "=1+1", "<b>", "\ud800", "\0", 10**400, -1, 0, 1, 2**53, 1e300, "x" * 3000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn, document: Any, values: st.SearchStrategy[Any] = junk) -> Any:
    """Draw a copy of a JSON-like document with one to three values replaced, removed, doubled or exchanged.

    Args:
        draw: Hypothesis's.
        document: what to damage; it is left as it is.
        values: what replaces a value.
    """
    whole = [copy.deepcopy(document)]
    for _ in range(draw(st.integers(1, 3))):
        place: Any = whole
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(st.integers(0, 5)):
                place = place[key]
                continue
            how = draw(st.sampled_from(["replace", "replace", "remove", "double", "exchange"]))
            other = draw(st.sampled_from(keys))
            if how == "replace" or place is whole:
                # A copy: what a strategy samples from is shared by all examples, and this one may be damaged further.
                place[key] = copy.deepcopy(draw(values))
            elif how == "remove":
                del place[key]
            elif how == "exchange":
                place[key], place[other] = place[other], place[key]
            elif isinstance(place, list):
                place.append(copy.deepcopy(place[key]))
            else:
                place[draw(st.text(max_size=6))] = copy.deepcopy(place[key])
            break
    return whole[0]
