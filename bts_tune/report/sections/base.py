"""What a section of a report is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from bts_tune.registry import SECTIONS
from bts_tune.report.blocks import Block
from bts_tune.report.context import ReportContext

__all__ = ["SECTIONS", "Block", "ReportContext", "Section"]


class Section(ABC):
    """One section of a report.

    It only shows: what is decided (what is ranked first, what was compared) comes from `bts_tune.results`. It reads the
    run from the context, changes nothing of it, and yields the same blocks for the same run. It must cope with every
    run: one that has only begun, whose trials failed, of an earlier version that recorded less.

    A figure is a block of the section that owns it: `context.picture` gives it. The report writes its file.

    A section that yields nothing is left out. One that raises costs itself alone: what it had yielded stays, a sentence
    stands in place of what is missing, and the report names it at its top.

    Attributes:
        name: the name that it is registered under; set by the registry.
        title: its heading.
        after: the registered name of the section that it follows; None for the beginning of the report. A section of a
            plugin stands before one of our own that follows the same.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    after: ClassVar[str | None]

    @abstractmethod
    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield what the section says."""
