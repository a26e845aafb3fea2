from __future__ import annotations

import pytest

from bts_tune.text import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (KeyError("no such key"), "no such key."),
        (ValueError("first\nsecond"), "first."),
        (FileNotFoundError(2, "Not there"), "[Errno 2] Not there."),
        (RuntimeError(), "RuntimeError."),
        (RuntimeError("Ends."), "Ends."),
    ],
)
def test_first_line(error: Exception, line: str) -> None:
    assert first_line(error) == line
