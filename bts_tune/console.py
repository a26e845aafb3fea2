"""Text on a terminal as it is: names, paths and what users wrote hold brackets and colons, which are no markup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return what writes to the terminal, or to standard error, or nowhere."""
    from rich.console import Console

    # In a notebook, rich would want a package of widgets; plain lines need none.
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, force_jupyter=False)


def say(console: Console, text: str, style: str = "") -> None:
    """Print a text as it is, whoever made the console: no markup, no emoji, no colours in it, no line broken.

    Commands to the terminal, which the name of a file can hold, are escaped.
    """
    text = _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)
    console.print(text, style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)
