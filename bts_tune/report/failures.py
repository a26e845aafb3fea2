"""What failed in a report: every part is made by itself, so that one that fails costs no other.

A part is a file, a figure, a section or what several sections rest on. What stands in its place is one sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bts_tune.text import first_line, plural, printable

_T = TypeVar("_T")


@dataclass(frozen=True)
class Failed:
    """A part that could not be made; the sentence names it and the error."""

    sentence: str


class Failures:
    """The parts of one report that failed so far, in the order of trying."""

    def __init__(self) -> None:
        """Begin with none."""
        self.found: list[Failed] = []

    def attempt(self, part: str, make: Callable[[], _T]) -> _T | Failed:
        """Return what `make` returns, or what to say in its place; an interruption passes.

        Args:
            part: what is made, as the beginning of a sentence, such as `The section Ranking`.
            make: makes it.
        """
        try:
            return make()
        except Exception as error:
            kind = type(error).__name__
            reason = f"{kind}: {first_line(error)}" if str(error).strip() else f"{kind}."
            failed = Failed(printable(f"{part} failed: {reason}"))
            self.found.append(failed)
            return failed

    @property
    def sentence(self) -> str | None:
        """One sentence for all of them, for a place that nobody misses; None where nothing failed."""
        if not self.found:
            return None
        shown = [failed.sentence for failed in self.found[:_MAX_TOLD]]
        more = len(self.found) - len(shown)
        return " ".join(["INCOMPLETE REPORT:", *shown, *([f"{plural(more, 'more part')} failed."] if more else [])])


INCOMPLETE_TAG = "INCOMPLETE REPORT: parts failed"

_MAX_TOLD = 8
