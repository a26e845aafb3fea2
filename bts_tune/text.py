"""Text for people: values as they are quoted, escaped, counted and shortened."""

from __future__ import annotations

import re
from typing import Any


def plural(number: int, noun: str) -> str:
    """Return `1 trial`, `2 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def percent(content: float, decimals: int = 0) -> str:
    """Return a share in per cent, `86%`, `< 1%` or `> 99%`: never rounded to all or nothing where it is not."""
    step = 10.0 ** -(decimals + 2)
    if 0 < content < step:
        return f"< {step:.{decimals}%}"
    if 1 - step < content < 1:
        return f"> {1 - step:.{decimals}%}"
    return f"{content:.{decimals}%}"


def shortened(text: str, length: int) -> str:
    """Return `text` on one line in at most `length` characters: the middle gives way, as names differ at the ends."""
    flat = " ".join(text.split())
    if len(flat) <= length:
        return flat
    tail = (length - 1) // 3
    return f"{flat[: length - 1 - tail]}…{flat[len(flat) - tail :]}"


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """Return ' Did you mean …?' for the known words closest to `word`, or an empty string."""
    import difflib

    if len(word) > _LONGEST_TYPED:  # nobody's slip of the finger, and comparing takes the square of its length
        return ""

    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(name) for name in close)}?" if close else ""


_LONGEST_TYPED = 100


def quoted(value: object, limit: int = 80) -> str:
    """Return `repr(value)`, cut short: what stands in a file may be of any size."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"a huge {type(value).__name__}"
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= limit else f"{text[:limit]} …"


def scalar(text: str) -> int | float | str:
    """Return the number that a text is, or the text."""
    try:
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    except ValueError:
        return text


def texts(value: Any) -> Any:
    """Return what options take as texts: one value alone as a list, numbers as text; what is neither, as it is."""
    if value is None:
        return None
    several = value if isinstance(value, list | tuple) else [value]
    return [str(one) if isinstance(one, int | float) and not isinstance(one, bool) else one for one in several]


def without_values(text: str) -> str:
    """Return a text without its numbers and quoted values: messages of one cause are then alike."""
    return re.sub(r"'[^']*'|[-+]?[0-9][0-9.e+-]*", "…", text.partition(", got ")[0])


def printable(text: str) -> str:
    """Return `text` with line breaks, terminal commands and bytes that are no UTF-8 escaped, as in `\\n`."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's kind where it has none; it ends in one full stop."""
    return _line(error, 0)


def last_line(error: BaseException) -> str:
    """Return the last line in the same way: what happened, where the message is a traceback."""
    return _line(error, -1)


def _line(error: BaseException, place: int) -> str:
    message = str(error.args[0] if isinstance(error, KeyError) and error.args else error)  # else in quotes
    return (message.strip() or type(error).__name__).splitlines()[place].strip()[:300].rstrip(".") + "."
