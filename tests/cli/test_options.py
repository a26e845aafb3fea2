"""Every option of a run is declared once, and the command line has it: found in the help, read, handed on, refused."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bts_tune import api
from bts_tune.api import tuning
from bts_tune.cli.main import all_parsers, main
from bts_tune.cli.options import as_path, duration, given_options, names_for_resume, names_of
from bts_tune.errors import RunError
from bts_tune.experiment.planning.options import RunOptions, declarations, flag
from bts_tune.registry import METRICS
from bts_tune.testing.runs import make_baselines, make_run, write_run

pytestmark = pytest.mark.usefixtures("empty_folder")

# Of each kind: what is typed after the flag, and what the field then is.
SAMPLES: dict[str, tuple[list[str], Any]] = {
    "text": (["word"], "word"),
    "path": (["word"], "word"),
    "integer": (["3"], 3),
    "number": (["1.5"], 1.5),
    "time": (["90m"], 5400.0),
    "share": (["0.5"], 0.5),
    "texts": (["one", "two"], ["one", "two"]),
    "settings": (["epochs=3"], {"epochs": 3}),
    "switch": ([], True),
    "off-switch": ([], False),
}


def sample(name: str) -> tuple[list[str], Any]:
    """Return how an option is typed, and the value that the run must get."""
    declared = declarations()[name]
    words, value = SAMPLES[declared.kind]
    hint = get_type_hints(RunOptions)[name]
    if get_origin(hint) is Literal:
        words, value = [get_args(hint)[-1]], get_args(hint)[-1]
    if declared.kind == "texts" and declared.flag:  # given once for each value
        return [part for word in words for part in (flag(name), word)], value
    return [flag(name), *words], value


class BeginsError(RunError):
    """A run would begin, or go on, with these options."""


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a run was begun or gone on with; it goes no further than that."""
    received: dict[str, Any] = {}

    def start(options: RunOptions, **_: Any) -> NoReturn:
        received.update(options.to_dict())
        raise BeginsError("It begins.")

    def resume(_run: Any, **options: Any) -> NoReturn:
        received.update(options)
        raise BeginsError("It goes on.")

    monkeypatch.setattr(tuning, "start", start)
    monkeypatch.setattr(api, "resume", resume)
    return received


def test_there_is_a_sample_of_every_kind() -> None:
    assert {declared.kind for declared in declarations().values()} <= SAMPLES.keys()


@pytest.mark.parametrize("name", declarations())
def test_the_help_has_every_option_once(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert len(re.findall(rf"^  {re.escape(flag(name))}(?= |$)", text, flags=re.MULTILINE)) == 1
    assert "".join(declarations()[name].help.split()) in "".join(text.split())  # wherever lines are broken


@pytest.mark.parametrize("command", all_parsers())
def test_every_path_is_read_by_one_rule(command: str) -> None:
    for action in all_parsers()[command]._actions:
        declared = declarations().get(action.dest)
        names_a_path = str(action.metavar).startswith(("DIR", "FILE")) and action.dest not in ("plugins", "uri")
        assert action.type is not Path, action.dest
        if names_a_path and action.type is not as_path:
            assert declared is not None, action.dest
            assert declared.kind == "path", action.dest


@pytest.mark.parametrize("name", [name for name, declared in declarations().items() if declared.kind == "path"])
def test_a_home_folder_is_found_in_every_path_of_a_run(
    begun: dict[str, Any], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("HOME", "/home/mine")
    assert "It begins." in refused("--space", "baseline", f"{flag(name)}=~/a")
    assert begun[name] == "/home/mine/a"
    assert f"{flag(name)}: '': is empty, hence no path." in refused("--space", "baseline", f"{flag(name)}=")


def test_a_home_folder_is_found_in_the_paths_of_commands(
    capsys: pytest.CaptureFixture[str], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_run(tmp_path / "home" / "runs" / "mine", make_baselines(epochs=2), make_run())
    assert main(["list", "--results=~/runs"]) == 0
    assert "unetplusplus-b5" in capsys.readouterr().out
    for run in (["mine", "--results", "~/runs"], ["~/runs/mine"]):
        assert main(["export", *run, "--to", "optuna", "--output", f"~/{len(run)}.journal"]) == 0
        assert (tmp_path / "home" / f"{len(run)}.journal").is_file()
    assert "argument --results: '~nobody-here': there is no home folder" in refused("list", "--results", "~nobody-here")


def test_no_two_options_have_the_same_flag() -> None:
    flags = [flag(name) for name in declarations()]
    assert len(flags) == len(set(flags))
    assert set(names_of("what")) | set(names_of("how")) == set(declarations())


@pytest.mark.parametrize("name", declarations())
def test_an_option_that_is_given_reaches_the_run(
    capsys: pytest.CaptureFixture[str], begun: dict[str, Any], name: str
) -> None:
    words, value = sample(name)
    space = [] if name == "space" else ["--space", "baseline"]
    assert main([*space, *words]) == 2
    assert "It begins." in capsys.readouterr().err
    assert begun[name] == value
    others = {other: known for other, known in begun.items() if other not in (name, "space")}
    defaults = RunOptions(space="baseline").to_dict()
    assert others == {other: defaults[other] for other in others}


@pytest.mark.parametrize("how", ["--resume", "--extend"])
@pytest.mark.parametrize("name", [name for name in declarations() if name != "space"])
def test_a_run_that_goes_on_takes_what_may_be_given_anew(
    refused: Callable[..., str], begun: dict[str, Any], name: str, how: str
) -> None:
    write_run(Path("results/run"), make_baselines(epochs=2), make_run())
    words, value = sample(name)
    number = ["--num-trials", "3"] if how == "--extend" and name != "num_trials" else []
    sentence = refused(how, "run", *number, *words)
    declared = declarations()[name]
    if declared.anew or declared.group == "how" or (how == "--extend" and name == "num_trials"):
        assert "It goes on." in sentence
        assert begun[name] == value
    else:
        assert f"{flag(name)} cannot go with {how}" in sentence
        assert not begun


def test_what_is_not_given_is_not_handed_on() -> None:
    parsed = argparse.Namespace(**{**dict.fromkeys(declarations()), "device": "cpu"})
    assert given_options(parsed, declarations()) == {"device": "cpu"}
    assert set(names_of("how")) < set(names_for_resume())


@given(number=st.decimals(min_value="0.001", max_value=10_000, places=3), unit=st.sampled_from(["s", "m", "h", "d"]))
def test_a_time_is_read_in_its_unit(number: Any, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
    assert duration(f" {number}{unit} ") == pytest.approx(float(number) * seconds)


@pytest.mark.parametrize("text", ["soon", "", "12", "1.5", "-1h", "0s", "1w", "1h30m", "1e3s", "9" * 400 + "d"])
def test_what_is_no_time_is_refused(refused: Callable[..., str], text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)
    assert "no duration" in refused("--space", "baseline", f"--time-budget={text}")


def test_the_share_of_a_gpu_is_a_number_or_auto(refused: Callable[..., str], begun: dict[str, Any]) -> None:
    assert "It begins." in refused("--space", "baseline", "--gpus-per-trial", "auto")
    assert begun["gpus_per_trial"] == "auto"
    assert "--gpus-per-trial" in refused("--space", "baseline", "--gpus-per-trial", "half")
    assert "--gpus-per-trial" in refused("--space", "baseline", "--gpus-per-trial", "0")


@pytest.mark.parametrize("command", [["report", "run"], ["spaces", "show", "baseline"], ["data", "check", "data"]])
def test_a_plugin_is_loaded_before_the_command_begins(
    refused: Callable[..., str], forget_plugins: Callable[[], None], phantom: Path, command: list[str]
) -> None:
    write_run(Path("results/run"), make_baselines(epochs=2), make_run())
    Path("data").symlink_to(phantom)
    Path("broken.py").write_text("raise ValueError('not today')\n")
    assert "broken.py, line 1: cannot be loaded: ValueError: not today" in refused(*command, "--plugin", "broken.py")
    example = Path(__file__).parents[2] / "docs" / "examples" / "plugins" / "area_error.py"
    assert "area-error" not in METRICS
    assert main([*command, "--plugin", str(example)]) == 0
    assert "area-error" in METRICS
