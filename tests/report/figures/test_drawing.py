"""What all figures share."""

from __future__ import annotations

import matplotlib
import pytest

from bts_tune.report.figures.drawing import banner, joined, new_figure
from tests.report.pages import pixels


def draw(tags: list[str]) -> bytes:
    with new_figure((4, 2), layout="constrained") as (figure, png):
        figure.subplots().plot([1, 2], [1, 2])
        banner(figure, tags)
    return png.getvalue()


def test_a_figure_ends_as_png_of_its_size() -> None:
    assert pixels(draw([])).shape[:2] == (300, 600)


def test_the_same_drawing_gives_the_same_bytes() -> None:
    assert draw(["DEMO"]) == draw(["DEMO"])


def test_warnings_stand_above_it() -> None:
    assert draw(["DEMO"]) != draw([])
    assert joined(["DEMO: not a result", "PARTIAL"]) == "DEMO · PARTIAL"


def test_nothing_of_a_users_style_is_taken_or_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = draw([])
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30}):
        assert draw([]) == plain
        assert matplotlib.rcParams["font.size"] == 30
