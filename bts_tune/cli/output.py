"""What commands print on a terminal: text as it is, warnings, and the ranking of a run's trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bts_tune.console import make_console, say

if TYPE_CHECKING:
    from rich.console import Console


def warn(text: str) -> None:
    """Print a warning on standard error, as it is."""
    say(make_console(stderr=True), text)


def print_ranking(trials: Sequence[Any], console: Console) -> None:
    """Print the trials from the best on: a table as wide as the terminal, or plain text where there is none."""
    from bts_tune.report.render.terminal import ranking_table, ranking_text

    if console.is_terminal:
        console.print(ranking_table(trials, width=console.width))
    else:
        say(console, ranking_text(trials))
