"""What commands print: warnings, and the ranking, as wide as the terminal or as plain text."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bts_tune.cli.output import print_ranking, warn
from bts_tune.testing.runs import make_baselines
from tests.test_console import ODD


def test_a_warning_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    warn(ODD)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == ODD + "\n"


def test_a_pipe_gets_the_ranking_as_plain_text() -> None:
    pipe = io.StringIO()
    print_ranking(make_baselines(epochs=3), Console(file=pipe, width=20))
    text = pipe.getvalue()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) > 20
    assert [line.split()[:2] for line in text.splitlines()][1] == ["1", "unetplusplus-b5"]


@pytest.mark.parametrize("width", [60, 120])
def test_a_terminal_gets_a_table_of_its_width(width: int) -> None:
    terminal = io.StringIO()
    print_ranking(make_baselines(epochs=3), Console(file=terminal, force_terminal=True, width=width, no_color=True))
    lines = terminal.getvalue().splitlines()
    assert "\x1b" in terminal.getvalue()  # the best is bold, colours or none
    assert any("unet" in line for line in lines)
    plain = io.StringIO()
    print_ranking(
        make_baselines(epochs=3),
        Console(file=plain, force_terminal=True, width=width, color_system=None, legacy_windows=False),
    )
    assert max(map(len, plain.getvalue().splitlines())) <= width
