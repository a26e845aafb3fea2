"""Reports as Markdown, taken apart, and the pixels of figures."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.image import imread

from bts_tune.report.document import document
from bts_tune.report.render.markdown import to_markdown
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.testing.runs import make_run
from bts_tune.testing.sections import context_of


def page(trials: Sequence[TrialRecord], **run: Any) -> str:
    return page_of(make_run(**run), trials)


def page_of(run: Mapping[str, Any], trials: Sequence[TrialRecord]) -> str:
    context = context_of(trials, run)
    text = to_markdown(document(context))
    assert context.failures.found == []
    return text


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def sections(text: str) -> list[str]:
    return re.findall(r"^## (.*)$", text, flags=re.MULTILINE)


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    return np.asarray(imread(io.BytesIO(png)))


def size(png: bytes | None) -> tuple[int, int]:
    height, width = pixels(png).shape[:2]
    return width, height
