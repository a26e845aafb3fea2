"""The command line with any words at all: help, a result or one sentence; never a traceback, never a hang."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bts_tune.cli.main import main
from bts_tune.errors import RunError
from bts_tune.experiment.planning.left_out import AtHand
from bts_tune.experiment.planning.options import declarations, flag
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.testing.runs import make_baselines, make_run, write_run
from bts_tune.training.speed import Speed
from tests.data.builders import write_coco


class Place:
    """A folder with a dataset, a run and odd things in it."""

    def __init__(self, root: Path) -> None:
        write_coco(root / "dataset")
        write_run(root / "results" / "run", make_baselines(epochs=2), make_run())
        (root / "empty").mkdir()
        (root / "text").write_text("no dataset\n")
        (root / "loop").symlink_to("loop")
        os.mkfifo(root / "pipe")
        (root / "space.yaml").write_text("name: space\ndescription: d\ntrials: {a: {}}\n")
        self.root = root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("cli"))


@pytest.fixture(autouse=True)
def _words_alone(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop where trials would begin, generate nothing and draw no figures: what is tested here are words."""

    def begins(*_: Any, **__: Any) -> None:
        raise RunError("Trials would begin now.")

    monkeypatch.chdir(place.root)
    monkeypatch.setenv("BTS_TUNE_CACHE", str(place.root / "cache"))
    monkeypatch.setattr("bts_tune.experiment.run.prepare_inputs", begins)
    monkeypatch.setattr(
        "bts_tune.experiment.run.leave_out_missing", lambda space, options, *_: AtHand(space, options, {}, None)
    )
    monkeypatch.setattr("bts_tune.experiment.run.find_models", lambda *_: None)
    monkeypatch.setattr("bts_tune.experiment.execution.duration.timed_speed", lambda *_: Speed(1.0, 1.0))
    monkeypatch.setattr("bts_tune.data.synthetic.phantom.write_phantom", begins)
    monkeypatch.setattr("bts_tune.experiment.planning.inputs.demo_dataset", lambda *_: place.root / "dataset")
    monkeypatch.setattr("bts_tune.report.context.ReportContext.picture", lambda *_, **__: iter(()))


def run(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> tuple[int, str]:
    """Return exit code and what was said on standard error, having seen that both are in order."""
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    captured = capsys.readouterr()
    assert code in (0, 1, 2)
    assert "Traceback" not in captured.out + captured.err
    assert "\x1b" not in captured.err
    if code == 2:
        assert captured.err.startswith("bts-tune")
        assert "error: " in captured.err
        assert captured.err.count("\n") == 1
        assert len(captured.err) < 12_000
    return code, captured.err


OPTIONS = [
    *(flag(name) for name in declarations()),
    *("--resume", "--extend", "--allow-changed", "--epochs", "--image-size", "--batch-size", "--dry-run", "--name"),
    "--no-timing",
    *("--results", "--help", "--version", "--out", "--trial", "--clear", "--count", "--annotation", "--tumor-free"),
    *("--seed", "--slices-per-patient", "--pairs"),
]
COMMANDS = [
    *(["report"], ["predict"], ["data"], ["data", "check"], ["data", "phantom"], ["data", "cache"], ["spaces"]),
    *(["compare"], ["final"], ["spaces", "show"], ["spaces", "list"], ["spaces", "schema"]),
    *(["--space", "baseline"], ["--resume", "run"], []),
]
WORDS = [
    *("baseline", "extended", "space.yaml", "missing.yaml", "dataset", "run", "empty", "text", "loop", "pipe", "."),
    *("nowhere", "/", "..", "", " ", "-", "--", "0", "-1", "1", "3", "1e400", "-1e400", "nan", "inf", "1.5", "9" * 400),
    *("epochs=3", "epochs=", "=3", "epochs=nan", "decoder=fpn", "seed=-1", "encoder=\udcff", "learning_rate=1e-3"),
    *("8h", "0s", "9" * 400 + "d", "cpu", "cuda:9", "unet-b0", "x" * 5000, "\udcff", "a\nb", "\x1b[2J", "name:0", "é"),
]
words = st.sampled_from(OPTIONS) | st.sampled_from(WORDS) | st.text(st.characters(exclude_characters="\0"), max_size=8)
lines = st.tuples(st.sampled_from(COMMANDS), st.lists(words, max_size=6)).map(lambda parts: [*parts[0], *parts[1]])


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(arguments=lines)
@example(arguments=["report", "x" * 5000])
@example(arguments=["data", "check", "x" * 5000])
@example(arguments=["--space", "x" * 5000 + ".yaml"])
@example(arguments=["--space", "baseline", "--time-budget", "9" * 400 + "d"])
@example(arguments=["--space", "baseline", "--data", "dataset", "--gpus-per-trial", "inf"])
@example(arguments=["--space", "baseline", "--data", "dataset", "--name", "../up"])
@example(arguments=["predict", "run", "pipe", "--out", "o"])
@example(arguments=["spaces", "show", "./pipe.yaml"])
@example(arguments=["data", "check", "\udcff"])
@example(arguments=["--space", "baseline", "--set", "encoder=\x1b[2J\n"])
def test_any_words_give_a_result_or_one_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    run(capsys, arguments)


def test_what_only_the_system_knows_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Any) -> None:
        raise PermissionError(13, "Permission denied", "a\nfile")

    monkeypatch.setattr(RunFolder, "open", fails)
    assert run(capsys, ["report", "run"]) == (2, "bts-tune: error: a\\nfile: Permission denied.\n")
