from __future__ import annotations

import io

from rich.console import Console

from bts_tune.progress_bar import progress_bar


def shown(*, terminal: bool, steps: int, what: str = "checking") -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    with progress_bar(console, what) as progress:
        for step in range(steps):
            progress(step + 1, steps)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_where_output_is_piped_one_line_is_left() -> None:
    for what in ("checking", "preparing 64 px, equalisation histogram, 25% of the training images, and more"):
        text = shown(terminal=False, steps=3, what=what)
        assert text.startswith(f"{what}: 3 in ")
        assert text.count("\n") == 1


def test_where_there_was_nothing_to_do_nothing_is_said() -> None:
    assert shown(terminal=False, steps=0) == ""


def test_a_terminal_has_a_bar_that_is_gone_in_the_end() -> None:
    text = shown(terminal=True, steps=3, what="checking [b]a:x:b")
    assert "checking [b]a:x:b" in text
    assert "3/3" in text
    assert text.rstrip("\r").endswith("\x1b[2K"), "the last line is erased"
