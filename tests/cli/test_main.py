"""The parser as a whole: which command is meant, help, exit codes, and what is imported for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bts_tune import __version__
from bts_tune.cli.main import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM, EXIT_USAGE, main
from bts_tune.errors import BrokenDatasetError, BtsTuneError, RunStoppedError

pytestmark = pytest.mark.usefixtures("empty_folder")

COMMANDS = (
    *("list", "watch", "report", "compare", "benchmark", "predict", "export", "push", "pull", "final", "data"),
    *("spaces", "completion"),
)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "nothing to do"),
        (["repot", "x"], "Did you mean 'report'"),
        (
            ["nonsense"],
            f"Commands: {', '.join(COMMANDS)};",
        ),
        (["--space", "baseline", "--epoch", "3"], "Did you mean '--epochs'"),
        (["--space", "baseline", "--resme", "x"], "Did you mean '--resume'"),
        (["report", "x", "--reslts", "y"], "unrecognized arguments: --reslts y. Did you mean '--results'"),
        (["export", "x", "--out", "y"], "See 'bts-tune export --help'."),
        (["data", "check", "x", "--jsn"], "Did you mean '--json'"),
        (["report"], "the following arguments are required: run"),
    ],
)
def test_a_mistake_gets_one_sentence(refused: Callable[..., str], arguments: list[str], sentence: str) -> None:
    assert sentence in refused(*arguments)


def test_what_was_typed_is_repeated_shortened(refused: Callable[..., str]) -> None:
    assert len(refused("report", "baseline", "x" * 15_000)) < 1200


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == EXIT_OK
    text = capsys.readouterr().out
    assert all(re.search(rf"bts-tune {command}\s", text) for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == EXIT_OK
    assert f"usage: bts-tune {command}" in capsys.readouterr().out


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == EXIT_OK
    assert capsys.readouterr().out == f"bts-tune {__version__}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BtsTuneError("It is wrong."), EXIT_USAGE),
        (BrokenDatasetError("It is wrong."), EXIT_PROBLEM),
        (RunStoppedError("It is wrong."), EXIT_PROBLEM),
        (PermissionError(13, "It is wrong", "a\nfile"), EXIT_USAGE),
        (KeyboardInterrupt(), EXIT_INTERRUPTED),
    ],
)
def test_the_exit_code_says_what_went_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("bts_tune.space.list_spaces", fails)
    assert main(["spaces"]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("bts-tune: ")
    assert "It is wrong." in said or isinstance(error, KeyboardInterrupt)


def test_an_error_of_our_own_is_no_mistake_of_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("bts_tune.space.list_spaces", fails)
    with pytest.raises(ZeroDivisionError):
        main(["spaces"])


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bts_tune.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'cv2', 'pandas', 'numpy', 'optuna', 'matplotlib', 'pydantic', 'rich'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout


@pytest.mark.parametrize("given", [None, "active"])
def test_threads_sleep_while_they_wait_unless_the_user_says_otherwise(given: str | None) -> None:
    code = (
        "import os, sys; from bts_tune.cli.main import main\n"
        "sys.argv = ['bts-tune', 'spaces']\n"
        "main()\n"
        "print('WAIT', os.environ['OMP_WAIT_POLICY'])"
    )
    variables = {name: content for name, content in os.environ.items() if name != "OMP_WAIT_POLICY"}
    variables |= {} if given is None else {"OMP_WAIT_POLICY": given}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables)
    assert done.stdout.splitlines()[-1] == f"WAIT {given or 'passive'}"


def test_a_reader_who_leaves_early_causes_no_traceback() -> None:
    command = f"{sys.executable} -m bts_tune spaces show extended | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.stdout
    assert "Traceback" not in done.stderr
