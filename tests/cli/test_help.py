"""Help that can be read on any terminal, with examples that are true."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bts_tune.cli.help import fitted
from bts_tune.cli.main import all_parsers, parse

PARSERS = all_parsers()


def examples(command: str) -> list[list[str]]:
    """Return the words of each example of a command's help, without what is behind a pipe or an arrow."""
    text = PARSERS[command].format_help()
    lines = [line.strip().partition("  ")[0] for line in text.splitlines() if line.startswith("  bts-tune ")]
    return [shlex.split(line.partition(" | ")[0].partition(" > ")[0]) for line in lines]


@pytest.mark.parametrize("command", [command for command in PARSERS if command != "bts-tune completion"])
def test_every_command_has_two_examples_that_can_be_read(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    found = [words for words in examples(command) if shlex.join(words).startswith(command)]
    assert len(found) >= 2
    for words in found:
        if words[1:] not in [[name.partition(" ")[2]] for name in PARSERS]:  # the list of commands has no arguments
            parse(["3" if word == "N" else word for word in words[1:]])


def test_every_argument_has_a_line_of_help() -> None:
    for command, parser in PARSERS.items():
        missing = [action.dest for action in parser._actions if not action.help and action.metavar != "COMMAND"]
        assert not missing, command


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for command, parser in all_parsers().items():
        for line in parser.format_help().splitlines():
            words = line.split()
            assert len(line) <= columns or len(max(words, key=len)) > columns // 2, f"{command}: {line}"


def test_a_line_that_does_not_fit_goes_on_below() -> None:
    line = "  bts-tune report RUN  also while the run goes on"
    assert fitted(line, 80) == [line]
    assert fitted(line, 30) == ["  bts-tune report RUN", "      also while the run goes", "      on"]
    assert fitted("a word and another one", 10) == ["a word and", "another", "one"]


def test_help_has_no_colours_of_a_terminal() -> None:
    """`NO_COLOR` is asked for nowhere, because there is none."""
    done = subprocess.run(
        [sys.executable, "-m", "bts_tune", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "\x1b" not in done.stdout
