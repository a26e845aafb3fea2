"""Text on a terminal as it is: names, paths and what users wrote hold brackets and colons, which are no markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return what writes to the terminal, or to standard error, or nowhere."""
    from rich.console import Console

    # In a notebook, rich would want a package of widgets; plain lines need none.
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, force_jupyter=False)


def say(console: Console, text: str, style: str = "") -> None:
    """Print a text as it is, whoever made the console: no markup, no emoji, no colours in it, no line broken."""
    console.print(text, style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)
