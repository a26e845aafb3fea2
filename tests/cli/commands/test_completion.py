"""Completion in a real shell."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from bts_tune.cli.commands.completion import bash
from bts_tune.cli.main import all_parsers, main


@pytest.fixture(scope="module")
def script() -> str:
    return bash(all_parsers())


def completed(script: str, typed: str, folder: Path) -> set[str]:
    """Return what bash offers for a line, whose last word is being typed."""
    words = [*shlex.split(typed), *([""] if typed.endswith(" ") else [])]
    typing = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}"
    line = typing + "; _bts_tune; printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{line}"], capture_output=True, text=True, check=True, cwd=folder, timeout=30
    )
    assert not done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("bts-tune rep", {"report"}),
        ("bts-tune data ch", {"check"}),
        ("bts-tune --space ", {"baseline", "extended"}),
        ("bts-tune --space baseline --dev", {"--device"}),
        ("bts-tune --space baseline --device c", {"cpu", "cuda"}),
        ("bts-tune --space baseline --dry-run --no-d", {"--no-dashboard"}),
        ("bts-tune --resume ", {"first", "second"}),
        ("bts-tune report f", {"first"}),
        ("bts-tune report first --js", {"--json"}),
        ("bts-tune export first --to o", {"onnx", "optuna"}),
        ("bts-tune data check slices --reader nn", {"nnunet"}),
        ("bts-tune completion ", {"bash", "zsh"} | {"--help"}),
        ("bts-tune --data ", set()),  # names of files are the shell's own
        ("bts-tune --space baseline --weights-dir w", set()),
    ],
)
def test_what_is_offered(script: str, tmp_path: Path, typed: str, offered: set[str]) -> None:
    for run in ("first", "second"):
        (tmp_path / "results" / run).mkdir(parents=True)
    assert completed(script, typed, tmp_path) == offered


def test_an_empty_folder_offers_no_runs(script: str, tmp_path: Path) -> None:
    assert "--results" in completed(script, "bts-tune report ", tmp_path)


def test_no_run_is_offered_where_there_is_none(script: str, tmp_path: Path) -> None:
    assert completed(script, "bts-tune --resume ", tmp_path) == set()


def test_names_of_runs_are_never_run(script: str, tmp_path: Path) -> None:
    for name in ("$(touch${IFS}made)", "`touch made`", "two words", "plain"):
        (tmp_path / "results" / name).mkdir(parents=True)
    words = ("bts-tune", "report", "")
    line = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD=2; _bts_tune; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{line}"], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=30
    )
    offered = [shlex.split(one)[0] for one in done.stdout.splitlines() if not one.startswith("-")]
    assert set(offered) >= {"$(touch${IFS}made)", "`touch made`", "two words", "plain"}, "quoted, to be pasted"
    assert not (tmp_path / "made").exists()


def test_every_command_is_offered(script: str, tmp_path: Path) -> None:
    words = completed(script, "bts-tune ", tmp_path)
    assert {name.removeprefix("bts-tune ") for name in all_parsers() if name.count(" ") == 1} <= words


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_is_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("#compdef bts-tune" if shell == "zsh" else "# Completes bts-tune")
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=printed, text=True, check=True, timeout=30)
