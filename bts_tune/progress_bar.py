"""A progress bar for work on many files: a bar in a terminal, one line at the end where output is piped."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bts_tune.console import say


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a progress callback that shows a bar in a terminal, and one line at the end where output is piped."""
    if not console.is_terminal:
        total_done = 0

        def count(done: int, total: int) -> None:
            nonlocal total_done
            total_done = total

        began = time.monotonic()
        yield count
        if total_done:
            say(console, f"{what}: {total_done} in {time.monotonic() - began:.1f} s")
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield advance
