"""Kills a run again and again until it is through, and compares its leaderboard with that of a run left alone.

    python scripts/kill_loop.py --kills 20

Both runs search around two baselines on generated slices, one trial at a time on one CPU core, with the same seeds. The
driver's whole process group gets SIGKILL at random moments: while it starts, between epochs and within them. After each
kill `bts-tune --resume` goes on. What is printed in the end: kills, trials, epochs that were cut off (at most one a
kill), processes left behind (none), and the differences between the two leaderboards and records (none, but times).
Ends with 1 where anything is not as it should be.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bts_tune.results.record.run_folder import FINISHED, RunFolder, TrialRecord
from bts_tune.results.record.schema import read_events, read_rows
from scripts.processes import marked, wait_until_gone
from scripts.sandbox import MARK, Sandbox

# Columns of the leaderboard and of rows that two runs with the same seeds need not share.
TIMES = frozenset({"seconds", "train_seconds", "images_per_second", "time", "run"})


@dataclass
class Killed:
    """What the killing came to."""

    kills: int = 0
    sessions: int = 0
    failed_starts: int = 0
    epochs_again: int = 0
    most_epochs_again: int = 0
    left_behind: int = 0
    problems: list[str] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="kill this often, then let it go through (20)")
    parser.add_argument("--trials", type=int, default=6, help="searched trials, besides two baselines (6)")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of a trial (8)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills (0)")
    parser.add_argument(
        "--limit", type=float, default=600.0, help="seconds without an epoch that count as a hang (600)"
    )
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    given = parser.parse_args()
    # Ctrl-C is ignored in the background of a shell, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, so one thread, and the same in both runs
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with tempfile.TemporaryDirectory(prefix="kill-loop-") as temporary:
        sandbox = Sandbox((given.keep or Path(temporary)).absolute(), uuid.uuid4().hex)
        sandbox.set_up(epochs=given.epochs, trials=given.trials)
        try:
            return _compare(sandbox, given.kills, random.Random(given.seed), given.limit)
        finally:
            for process in marked(MARK, sandbox.mark):
                process.kill()


def _compare(sandbox: Sandbox, kills: int, chance: random.Random, limit: float) -> int:
    began = time.monotonic()
    _wait_until_through(sandbox, "whole", sandbox.start("whole", sandbox.folder / "whole.log"), limit)
    print(f"left alone: {sandbox.recorded_epochs('whole')} epochs in {time.monotonic() - began:.0f} s", flush=True)
    killed = _kill_until_through(sandbox, "killed", kills, chance, limit)
    whole, broken = (sandbox.record(name) for name in ("whole", "killed"))
    problems = killed.problems + _differences(whole, broken)
    trials = broken.trials()
    print(f"kills:                       {killed.kills} in {killed.sessions} starts")
    print(f"starts that failed:          {killed.failed_starts}")  # Ray gives up where a machine is too busy
    print(f"trials finished:             {sum(t.status in FINISHED for t in trials)} of {len(trials)}")
    print(f"epochs recorded:             {sum(len(t.rows) for t in trials)}")
    print(f"epochs lost:                 {killed.epochs_again}, at most {killed.most_epochs_again} by one kill")
    print(f"processes left behind:       {killed.left_behind}")
    print(f"differences of leaderboards: {len(problems)}")
    for problem in problems:
        print(f"  {problem}")
    if killed.kills < kills:
        problems.append("fewer kills")
        print(f"The run was through after {killed.kills} kills of {kills}: more --trials or --epochs are needed.")
    return 1 if problems or killed.left_behind else 0


def _wait_until_through(sandbox: Sandbox, name: str, process: subprocess.Popen[bytes], limit: float) -> None:
    log = sandbox.folder / f"{name}.log"
    lines, moved = 0, time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        if sandbox.recorded_epochs(name) != lines:
            lines, moved = sandbox.recorded_epochs(name), time.monotonic()
        if time.monotonic() - moved > limit:
            raise SystemExit(f"{name} does not go on:\n{log.read_text()[-4000:]}")
    if process.returncode != 0:
        raise SystemExit(f"{name} ended with {process.returncode}:\n{log.read_text()[-4000:]}")


def _kill_until_through(sandbox: Sandbox, name: str, kills: int, chance: random.Random, limit: float) -> Killed:
    killed = Killed()
    log = sandbox.folder / f"{name}.log"
    while True:
        before = sandbox.recorded_epochs(name)
        process = sandbox.start(name, log)
        killed.sessions += 1
        if killed.kills == kills:
            _wait_until_through(sandbox, name, process, limit)
            return killed
        if not _wait_for_moment(sandbox, name, process, before, chance, limit):
            if process.wait() == 0:
                return killed
            killed.failed_starts += 1
            if killed.failed_starts > 5:
                raise SystemExit(f"{name} ended with {process.returncode}:\n{log.read_text()[-4000:]}")
            continue
        finished = _finished(sandbox.record(name))
        everything = marked(MARK, sandbox.mark)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed.kills += 1
        left = wait_until_gone(everything, 30)
        killed.left_behind += len(left)
        for orphan in left:
            print(f"left behind: {orphan.pid} {orphan.title}", flush=True)
            orphan.kill()
        _take_stock(sandbox.record(name), finished, killed)


def _wait_for_moment(
    sandbox: Sandbox,
    name: str,
    process: subprocess.Popen[bytes],
    before: int,
    chance: random.Random,
    limit: float,
) -> bool:
    """Wait for a random moment; False if the run came to its end before it.

    One in four is at any time from the start on, the others after one or two epochs, wherever it then is.
    """
    deadline = time.monotonic() + limit
    if chance.random() < 0.25:
        moment, epochs = time.monotonic() + chance.uniform(0.0, 12.0), 0
    else:
        moment, epochs = 0.0, chance.choice([1, 1, 2])
    while sandbox.recorded_epochs(name) < before + epochs or time.monotonic() < moment:
        if process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} does not go on: {(sandbox.folder / f'{name}.log').read_text()[-4000:]}")
        time.sleep(0.01)
    time.sleep(chance.uniform(0.0, 0.3))
    return process.poll() is None


def _finished(folder: RunFolder) -> dict[str, list[dict[str, Any]]]:
    return {t.trial: t.rows for t in folder.trials() if t.status in FINISHED}


def _take_stock(folder: RunFolder, finished: dict[str, list[dict[str, Any]]], killed: Killed) -> None:
    """See that nothing which was finished is gone, and count the epoch that was being trained.

    An epoch begins where the last one ends, so a trial that was running loses one; one that waited loses none.
    """
    now = {t.trial: t for t in folder.trials()}
    for trial, rows in finished.items():
        if now[trial].status not in FINISHED or now[trial].rows != rows:
            killed.problems.append(f"{trial} was finished and is not as it was")
    lost = sum(t.status == "running" and bool(t.started.get("parameters")) for t in now.values())
    killed.epochs_again += lost
    killed.most_epochs_again = max(killed.most_epochs_again, lost)


def _differences(whole: RunFolder, broken: RunFolder) -> list[str]:
    """Return a clause for everything but times that is not the same, and for what a record must not have."""
    found = []
    for record in broken.trials():
        epochs = [row["epoch"] for row in record.rows]
        if epochs != list(range(1, len(epochs) + 1)):
            found.append(f"{record.trial}: its epochs are {epochs}")
        if record.status not in FINISHED:
            found.append(f"{record.trial} is {record.status}")
    recorded = [(row["trial"], row["epoch"]) for _, row in read_rows(broken.rows_file)]
    found += [f"{trial}: epoch {epoch} was recorded and trained again" for trial, epoch in _repeated(recorded)]
    ended = [event for event in _events(broken) if event["event"] == "ended" and event["status"] in FINISHED]
    found += [f"{trial} finished more than once" for trial in _repeated([event["trial"] for event in ended])]
    one, other = ({t.trial: _timeless(t) for t in folder.trials()} for folder in (whole, broken))
    changed = [trial for trial in sorted(one.keys() | other.keys()) if one.get(trial) != other.get(trial)]
    found += [f"{trial}: the records differ" for trial in changed]
    for number, (first, second) in enumerate(zip(_board(whole), _board(broken), strict=False), start=2):
        found += [
            f"leaderboard.csv, line {number}, {name}: {first[name]} and {second.get(name)}"
            for name in first
            if name not in TIMES and first[name] != second.get(name)
        ]
    return found


def _timeless(record: TrialRecord) -> tuple[Any, ...]:
    rows = [{name: value for name, value in row.items() if name not in TIMES} for row in record.rows]
    return record.index, record.config, record.status, record.reason, rows, record.test


def _events(folder: RunFolder) -> list[dict[str, Any]]:
    return [event for _, event in read_events(folder.trials_file)]


def _repeated(items: Iterable[Any]) -> list[Any]:
    return sorted(item for item, count in Counter(items).items() if count > 1)


def _board(folder: RunFolder) -> list[dict[str, str]]:
    with (folder.path / "leaderboard.csv").open(newline="") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    sys.exit(main())
