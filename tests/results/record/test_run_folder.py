"""The run folder: whole writes, torn lines, the lock between real processes, and what the record says of a trial."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bts_tune.errors import ConfigError, RunError
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.run_folder import RunFolder, TrialRecord, refuse_existing

HOLDER = """
import sys
from pathlib import Path
from bts_tune.results.record.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", {"run": "run", "status": "running"})


def plan(folder: RunFolder, trial: str, index: int = 0, **fields: Any) -> None:
    planned: dict[str, Any] = {"name": trial, "baseline": False, "changed": [], "published": None, "config": {}}
    ids = {"config_id": "c", "recipe_id": "r"}
    folder.append_event("planned", trial, index=index, **{**planned, **ids, **fields})


def row(trial: str, epoch: int, loss: float = 0.5) -> dict[str, Any]:
    return {"trial": trial, "epoch": epoch, "val_dice_loss": loss, "val_iou": 1 - loss}


# As flock answers on some network file systems.
WITHOUT_FLOCK = """
import errno, fcntl
def flock(descriptor, operation):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = flock
"""


@contextmanager
def held_by_another_process(folder: RunFolder, before: str = "") -> Iterator[subprocess.Popen[str]]:
    holder = subprocess.Popen(
        [sys.executable, "-c", before + HOLDER, str(folder.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        yield holder
    finally:
        holder.kill()
        holder.communicate()


# Atomic writes


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_atomically(path, "a longer first content")
    write_atomically(path, "tumour ✓")
    assert path.read_text(encoding="utf-8") == "tumour ✓"
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_atomically(path, "old")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


# run.json


def test_a_run_is_created_opened_and_updated(folder: RunFolder) -> None:
    opened = RunFolder.open(folder.path)
    opened.update_run(status="complete", note="ü")
    assert folder.read_run() == {"format": 1, "run": "run", "status": "complete", "note": "ü"}


def test_a_run_is_never_created_over_another(folder: RunFolder) -> None:
    with pytest.raises(RunError, match=r"exists already; choose another --name, or .*--resume"):
        RunFolder.create(folder.path, {"run": "other"})
    assert folder.read_run()["run"] == "run"


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        RunFolder.open(tmp_path)
    with pytest.raises(RunError, match="not a run folder"):
        RunFolder.open(tmp_path / "missing")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"format": 1', "cannot be read"),
        ("[]", "cannot be read: not a JSON object"),
        ('{"format": true}', "format is True"),
        ("[" * 10**5, "nested too deeply"),
        ('{"format": 1, "a": ' + "[" * 60 + "]" * 60 + "}", "nested more than 50 deep"),
        ('{"format": 1, "options": 3}', "options: input should be a valid dictionary, got 3"),
        (
            '{"format": 1, "warm_start": {"run": "a", "trials": 3}}',
            "warm_start.trials: input should be a valid list, got 3",
        ),
        ('{"format": 1, "created": 1e999}', "a number is too large"),
        ('{"format": 1, "created": NaN}', "NaN is no number of JSON"),
        ('{"format": 1, "run": "\\ud800"}', "is no valid Unicode"),
        ('{"format": 99}', "format is 99; this version of bts-tune reads format 1"),
        ("{}", "format is None"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_run_file_that_cannot_be_read_is_one_sentence(folder: RunFolder, content: str | bytes, why: str) -> None:
    write_atomically(folder.run_file, content)
    with pytest.raises(RunError, match=re.escape(why)) as error:
        RunFolder.open(folder.path)
    assert "run.json" in str(error.value)


def test_a_text_that_is_not_utf_8_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json: cannot hold 'r\\udcff', which is no text in UTF-8\.$"):
        RunFolder.create(tmp_path / "run", {"command": ["bts-tune", "--results", "r\udcff"]})
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="is no text in UTF-8; rename it"):
        refuse_existing(tmp_path / "r\udcff" / "run")


def test_a_run_cannot_be_created_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        RunFolder.create(tmp_path / "file" / "run", {})


# The record


def test_trials_come_in_the_order_of_planning(folder: RunFolder) -> None:
    for index, trial in [(2, "a"), (0, "c"), (1, "b")]:
        plan(folder, trial, index)
    assert [record.trial for record in folder.trials()] == ["c", "b", "a"]
    assert {record.status for record in folder.trials()} == {"waiting"}


def test_events_tell_where_a_trial_stands(folder: RunFolder) -> None:
    plan(folder, "a", name="unet-b0", baseline=True, changed=["epochs"], published={"iou": 0.5}, config={"seed": 3})
    folder.append_event("started", "a", attempt=1)
    assert folder.trials()[0].status == "running"
    folder.append_event("opened", "a", device="cpu", parameters=7)
    folder.append_event("ended", "a", status="interrupted", reason="Ctrl-C")
    (record,) = folder.trials()
    assert (record.status, record.reason) == ("interrupted", "Ctrl-C")
    assert (record.started["device"], record.started["parameters"]) == ("cpu", 7)
    folder.append_event("started", "a", attempt=2)
    (record,) = folder.trials()
    assert (record.status, record.reason) == ("running", "")
    folder.append_event("ended", "a", status="complete")
    folder.append_event("evaluated", "a", metrics={"test_iou": 0.6})
    (record,) = folder.trials()
    assert record.full_budget
    assert record.test == {"test_iou": 0.6}
    assert (record.name, record.baseline, record.changed) == ("unet-b0", True, ["epochs"])
    assert (record.published, record.config) == ({"iou": 0.5}, {"seed": 3})


def test_rows_come_by_epoch_and_an_epoch_trained_twice_keeps_its_last_row(folder: RunFolder) -> None:
    plan(folder, "a", 0)
    plan(folder, "b", 1)
    for trial, epoch, loss in [
        ("a", 1, 0.9),
        ("b", 1, 0.8),
        ("a", 2, 0.1),
        ("a", 2, 0.4),
        ("a", 3, 0.5),
        ("a", 2, 0.3),
    ]:
        folder.append_row(row(trial, epoch, loss))
    first, second = folder.trials()
    assert [(found["epoch"], found["val_dice_loss"]) for found in first.rows] == [(1, 0.9), (2, 0.3), (3, 0.5)]
    assert [found["val_dice_loss"] for found in second.rows] == [0.8]


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3]), max_size=8))
def test_best_row_is_the_earliest_of_the_lowest(losses: list[float]) -> None:
    rows = [row("a", epoch, loss) for epoch, loss in enumerate(losses, start=1)]
    best = TrialRecord("a", "a", 0, False, [], None, {}, "", "", rows=rows[::-1]).best_row
    assert (best is None) == (not losses)
    if best is not None:
        assert best["epoch"] == losses.index(min(losses)) + 1


def test_a_row_that_is_not_finite_is_refused(folder: RunFolder) -> None:
    with pytest.raises(ValueError, match="JSON"):
        folder.append_row(row("a", 1, float("nan")))
    assert not folder.rows_file.exists()


def test_a_run_without_record_has_no_trials(folder: RunFolder) -> None:
    assert folder.trials() == []


# Torn lines: a kill may cut the last append anywhere


@settings(max_examples=25, deadline=None)
@given(missing=st.integers(1, 50))
def test_rows_cut_off_anywhere_lose_the_last_one_only(tmp_path_factory: Any, missing: int) -> None:
    folder = RunFolder.create(tmp_path_factory.mktemp("torn") / "run", {})
    plan(folder, "a")
    folder.append_row(row("a", 1))
    folder.append_row({**row("a", 2), "name": "größer"})
    os.truncate(folder.rows_file, folder.rows_file.stat().st_size - missing)
    assert [found["epoch"] for found in folder.trials()[0].rows] == [1]
    folder.append_row(row("a", 2, 0.25))
    folder.append_row(row("a", 3))
    losses = {found["epoch"]: found["val_dice_loss"] for found in folder.trials()[0].rows}
    assert losses == {1: 0.5, 2: 0.25, 3: 0.5}


@settings(max_examples=25, deadline=None)
@given(missing=st.integers(1, 50))
def test_events_cut_off_anywhere_lose_the_last_one_only(tmp_path_factory: Any, missing: int) -> None:
    folder = RunFolder.create(tmp_path_factory.mktemp("torn") / "run", {})
    plan(folder, "a")
    folder.append_event("started", "a")
    folder.append_event("ended", "a", status="complete")
    os.truncate(folder.trials_file, folder.trials_file.stat().st_size - missing)
    assert folder.trials()[0].status == "running"
    folder.append_event("ended", "a", status="failed", reason="x")
    assert folder.trials()[0].status == "failed"


def test_a_torn_first_line_is_passed_over_and_replaced(folder: RunFolder) -> None:
    plan(folder, "a")
    folder.rows_file.write_bytes(b'{"trial": "a", "ep')
    assert folder.trials()[0].rows == []
    folder.append_row(row("a", 1))
    assert [found["epoch"] for found in folder.trials()[0].rows] == [1]


@pytest.mark.parametrize("spoilt", [b"{broken", b"[1, 2]", b"\xff", b""])
def test_a_spoilt_line_before_the_last_is_named(folder: RunFolder, spoilt: bytes) -> None:
    plan(folder, "a")
    folder.append_row(row("a", 1))
    with folder.rows_file.open("ab") as file:
        file.write(spoilt + b"\n")
    folder.append_row(row("a", 2))
    with pytest.raises(RunError, match=r"rows\.jsonl, line 2: cannot be read"):
        folder.trials()


# The lock


def test_a_run_held_by_another_process_is_refused_by_host_and_pid(folder: RunFolder) -> None:
    with held_by_another_process(folder) as holder:
        with pytest.raises(RunError) as error, folder.locked():
            pass
        assert f"process {holder.pid} on {socket.gethostname()}" in str(error.value)
        assert str(folder.path) in str(error.value)
        assert folder.trials() == []  # reading needs no lock


def test_the_lock_goes_with_a_killed_process(folder: RunFolder) -> None:
    with held_by_another_process(folder) as holder:
        holder.kill()
        holder.wait()
        with folder.locked():
            assert json.loads((folder.path / "owner.json").read_text())["pid"] == os.getpid()


def test_the_lock_is_given_back_after_use_and_after_an_error(folder: RunFolder) -> None:
    with folder.locked():
        pass
    with pytest.raises(ZeroDivisionError), folder.locked():
        raise ZeroDivisionError
    with folder.locked():
        pass


def test_the_lock_is_refused_even_where_its_owner_cannot_be_read(folder: RunFolder) -> None:
    with held_by_another_process(folder):
        (folder.path / "owner.json").write_text("{")
        with pytest.raises(RunError, match="written by another process"), folder.locked():
            pass


def test_without_flock_a_run_is_still_refused_and_a_dead_owner_recognised(folder: RunFolder) -> None:
    def another() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_FLOCK + HOLDER, str(folder.path)]
        home = Path(__file__).parents[2]
        return subprocess.run(command, capture_output=True, text=True, input="", cwd=home, check=False)

    with held_by_another_process(folder, WITHOUT_FLOCK) as first:
        assert f"process {first.pid} on {socket.gethostname()}" in another().stderr
        first.kill()
        first.wait()
        after = another()
        assert after.stdout == "held\n", after.stderr


def test_the_last_row_of_an_epoch_counts_even_if_the_clock_was_set_back(folder: RunFolder) -> None:
    plan(folder, "a")
    for epoch, loss, moment in ((1, 0.5, 9e9), (2, 0.4, 8e9), (1, 0.3, 7e9)):
        folder.append_row({**row("a", epoch, loss), "time": moment})
    assert [found["val_dice_loss"] for found in folder.trials()[0].rows] == [0.3, 0.4]
