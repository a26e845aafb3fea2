"""The section that shows slices of the dataset with their masks, those first that look wrong."""

from __future__ import annotations

from collections.abc import Iterable

from bts_tune.report.blocks import Block, Code, Picture, paragraph
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_BYTES = 4 * 2**20


@SECTIONS.register("masks")
class Masks(Section):
    """Slices with the outlines of their masks."""

    title = "Slices with their masks"
    after = "data-check"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the sheet that the run drew when it began; nothing of runs that drew none."""
        try:
            with context.folder.sheet_file.open("rb") as file:
                png = file.read(_MOST_BYTES + 1)
        except OSError:
            return
        if not png.startswith(_SIGNATURE) or len(png) > _MOST_BYTES:
            return
        yield paragraph(
            "What the run was trained on: slices with the outlines of their masks, drawn when it began. Those come "
            "first that the data check names, tumours outside of the head or at the border of the image, the largest "
            "and the smallest ones, and slices without any; then others. Look for outlines that do not follow the "
            "tumour. ",
            Code("bts-tune data check DIR --preview masks.html"),
            " shows more.",
        )
        yield Picture("Slices of the dataset with the outlines of their masks", "figures/masks.png", png, photo=True)
