from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bts_tune.errors import RunError
from bts_tune.results.find import find_run
from bts_tune.results.listing import list_runs, next_command, run_state
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.testing.runs import make_baselines, make_curve, make_final, make_run, make_search, make_trial, write_run
from tests.results.benchmarks import make_benchmark


def owned(path: Path, pid: int, host: str) -> RunFolder:
    folder = write_run(path, [], make_run(status="running"))
    (path / "owner.json").write_text(json.dumps({"pid": pid, "host": host}))
    return folder


def test_a_run_is_described(tmp_path: Path) -> None:
    search = make_search(epochs=4)
    trials = search + make_final(search)
    folder = write_run(tmp_path / "a", trials, make_run(run="spring"))
    (listed,) = list_runs(tmp_path)
    assert (listed.run, listed.path, listed.space, listed.dataset) == (
        "spring",
        folder.path,
        "extended",
        "scans/brain tumours",
    )
    assert (listed.state, listed.ended_trials, listed.trials) == ("complete", len(trials), len(trials))
    assert listed.ranked
    best = configurations(trials)[0]
    assert (listed.best, listed.val_dice_loss, listed.val_iou) == (best.name, best.dice_loss, best.iou)
    assert listed.created == "2024-05-01T10:00:00+00:00"
    assert not listed.problem


def test_the_runs_of_a_benchmark_are_listed_by_the_names_that_find_them(tmp_path: Path) -> None:
    losses = {"one": {"plain": 0.2}, "two": {"plain": 0.2}, "three": {"plain": 0.2}}
    folder = make_benchmark(tmp_path / "bench", losses, begun=2, scored=False)
    folder.run_path("three").mkdir()
    (folder.run_path("two") / "run.json").write_text("")
    first, broken = list_runs(tmp_path)
    assert (first.run, first.next) == ("bench/one", f"bts-tune report {folder.path}/one")
    assert find_run(first.run, tmp_path).path == first.path
    assert broken.run == "bench/two"
    assert "two/run.json" in broken.problem


def test_before_anything_is_ranked_the_best_trial_so_far_is_named(tmp_path: Path) -> None:
    trials = [
        make_trial(name, index=index, status="running", rows=make_curve(name, 3, floor), epochs=9)
        for index, (name, floor) in enumerate((("a", 0.5), ("b", 0.3)))
    ]
    write_run(tmp_path / "run", trials, make_run(status="running"))
    (listed,) = list_runs(tmp_path)
    assert (listed.best, listed.ranked) == ("b", False)
    assert listed.val_dice_loss == min(row["val_dice_loss"] for row in trials[1].rows)
    write_run(tmp_path / "empty", [], make_run(status="running", created="2020-01-01T00:00:00+00:00"))
    assert list_runs(tmp_path)[1].val_dice_loss is None


def test_the_latest_first_and_what_cannot_be_read_last(tmp_path: Path) -> None:
    for name, year in (("a", 2021), ("b", 2023), ("c", 2022)):
        write_run(tmp_path / name, [], make_run(created=f"{year}-01-01T00:00:00+00:00"))
    write_run(tmp_path / "d", make_baselines(epochs=2), make_run())
    (tmp_path / "d" / "rows.jsonl").write_text("no json\n{}\n")
    (tmp_path / "no run").mkdir()
    (tmp_path / "file").write_text("")
    listed = list_runs(tmp_path)
    assert [one.path.name for one in listed] == ["b", "c", "a", "d"]
    assert listed[-1].state == "unreadable"
    assert "rows.jsonl, line 1" in listed[-1].problem


def test_a_run_that_may_not_be_looked_into_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "mine", make_baselines(epochs=2), make_run())
    for name in ("hers", "no run"):
        (tmp_path / name).mkdir()
    refused, ask = str(tmp_path / "hers"), os.stat

    def stat(path: int | str | os.PathLike[str], **how: Any) -> os.stat_result:
        if not isinstance(path, int) and str(path).startswith(f"{refused}/"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return ask(path, **how)

    monkeypatch.setattr(os, "stat", stat)
    mine, hers = list_runs(tmp_path)
    assert (mine.path.name, mine.problem) == ("mine", "")
    assert (hers.state, hers.problem) == ("unreadable", f"{refused}: cannot be read: Permission denied.")


def test_a_run_whose_process_has_gone_was_killed(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = socket.gethostname()
    for name, pid, host, expected in (
        ("gone", ended.pid, here, "killed"),
        ("here", os.getpid(), here, "running"),
        ("elsewhere", ended.pid, "another-host", "running"),
    ):
        folder = owned(tmp_path / name, pid, host)
        assert run_state(folder, folder.read_run()) == expected
    folder = owned(tmp_path / "damaged", 1, here)
    for text in (
        "",
        "[]",
        '{"pid": "x", "host": "' + here + '"}',
        '{"pid": 99999999999999999999, "host": "' + here + '"}',
    ):
        (folder.path / "owner.json").write_text(text)
        assert run_state(folder, folder.read_run()) == "running"


def test_looking_at_a_run_leaves_its_lock_alone(tmp_path: Path) -> None:
    folder = owned(tmp_path / "run", os.getpid(), socket.gethostname())
    before = sorted(path.name for path in folder.path.iterdir())
    with folder.locked():
        assert list_runs(tmp_path)[0].state == "running"
    list_runs(tmp_path)
    assert sorted({*before, "run.lock"}) == sorted({*(path.name for path in folder.path.iterdir()), "run.lock"})


@pytest.mark.parametrize(
    ("state", "model", "command"),
    [
        ("running", False, "bts-tune watch '{path}'"),
        ("killed", True, "bts-tune --resume '{path}'"),
        ("out-of-time", False, "bts-tune --resume '{path}'"),
        ("complete", True, "bts-tune predict '{path}' IMAGES --out DIR --plugin '/my own.py'"),
        ("complete", False, "bts-tune report '{path}' --plugin '/my own.py'"),
    ],
)
def test_how_to_go_on(tmp_path: Path, state: str, model: bool, command: str) -> None:
    folder = RunFolder(tmp_path / "my run")
    run = {"plugins": [{"name": "/my own.py", "kind": "file", "sha256": "0"}]}
    assert next_command(folder, run, state, model=model) == command.format(path=folder.path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere: cannot be read: No such file or directory\."):
        list_runs(tmp_path / "nowhere")
