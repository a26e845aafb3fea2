"""Text is printed as it is, whoever made the console."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from bts_tune.console import make_console, say

ODD = "[bold]no markup[/bold] a:x:b 'x' 12.5 " + "a word and " * 30 + "results/[run]/a.csv"


def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    say(make_console(), ODD)
    say(make_console(stderr=True), "to standard error")
    say(make_console(quiet=True), "to nobody")
    captured = capsys.readouterr()
    assert captured.out == ODD + "\n"
    assert captured.err == "to standard error\n"


def test_a_terminal_gets_no_colours_in_it_either() -> None:
    terminal = io.StringIO()
    say(Console(file=terminal, force_terminal=True, width=40), ODD)
    assert terminal.getvalue() == ODD + "\n"


def test_what_a_terminal_would_carry_out_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say(make_console(), "a\x1b[2Jb\rc\x9bd\nf\xa0g")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\rc\\x9bd\nf\xa0g\n"


def test_a_style_is_laid_over_the_whole_text() -> None:
    terminal = io.StringIO()
    say(Console(file=terminal, force_terminal=True, color_system="standard"), ODD, style="bold")
    assert terminal.getvalue() == f"\x1b[1m{ODD}\x1b[0m\n"


def test_tables_hold_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("[b]:x:")
    table.add_row("[i]a:x:b")
    make_console().print(table)
    printed = capsys.readouterr().out
    assert "[b]:x:" in printed
    assert "[i]a:x:b" in printed
