"""The section that shows slices with their masks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from bts_tune.report.blocks import Paragraph, Picture
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.masks import Masks
from bts_tune.testing.runs import make_run, write_run
from bts_tune.testing.sections import SectionContract


class TestMasks(SectionContract):
    name = "masks"


def test_the_sheet_of_the_run_is_shown_and_nothing_else(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [], make_run())
    context = ReportContext.of(folder, folder.read_run(), [])
    assert list(Masks().blocks(context)) == []
    png = cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1].tobytes()
    folder.sheet_file.write_bytes(png)
    said, shown = Masks().blocks(context)
    assert isinstance(said, Paragraph)
    assert isinstance(shown, Picture)
    assert (shown.path, shown.png, shown.photo) == ("figures/masks.png", png, True)
    for content in (b"no picture", png + b"0" * 2**23):
        folder.sheet_file.write_bytes(content)
        assert list(Masks().blocks(context)) == []
