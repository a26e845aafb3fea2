"""Runs searches of tiny trials for a chosen time, breaks them, and sees that nothing which was finished is lost.

    python scripts/soak.py --minutes 60

The real command searches on generated slices, on one CPU core. Every few seconds a trial's process is killed. Every few
minutes the driver is killed (SIGKILL to its process group), asked to end (SIGTERM, Ctrl-C) or asked twice; what lies on
disk is damaged (checkpoints cut off, changed or removed, half a line at the end of the record, Ray's state emptied);
and the run is resumed. In the last third of the time the driver is left alone, so that its memory can be seen over a
long session. Printed in the end, and on Ctrl-C: trials finished, faults survived, memory of the driver and of Ray's
processes with their slopes, rows lost and processes left behind. Ends with 1 where anything was lost, hung or left.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bts_tune.errors import RunError
from bts_tune.results.record.run_folder import FINISHED, RunFolder
from scripts.processes import descendants, find, marked, wait_until_gone
from scripts.sandbox import MARK, Sandbox

_TRIAL = re.compile(r"ray::(\S+ epoch \d|TrialActor)")
_BREAKS = ("cut off", "changed", "gone")

WARM_UP = 60.0
"""Seconds of a session that its slope leaves out: imports, caches and the first trials."""

PATIENCE = 300.0
"""Seconds without a new row, or after a signal, that count as a hang."""


@dataclass
class Sample:
    """Memory at a moment of a session, in MiB."""

    session: int
    seconds: float
    driver: float
    ray: float


@dataclass
class Tally:
    """What has happened so far."""

    sessions: int = 0
    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    rows_lost: int = 0
    left_behind: int = 0
    problems: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    resumed: list[float] = field(default_factory=list)


class Ledger:
    """Remembers what was finished, and with which rows; whatever is recorded later must still hold it."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._finished: dict[tuple[str, str], tuple[str, list[tuple[int, float]]]] = {}

    def check(self, folder: RunFolder) -> None:
        """Compare a run's record with what is remembered of it, and remember what has finished since."""
        name = folder.path.name
        if not (folder.path / "run.json").exists():
            return
        try:
            trials = {record.trial: record for record in folder.trials()}
        except RunError as error:
            self._tally.problems.append(str(error))
            return
        for (run, trial), (status, rows) in self._finished.items():
            if run == name:
                now = trials.get(trial)
                held = [] if now is None else [(row["epoch"], row["val_dice_loss"]) for row in now.rows]
                self._tally.rows_lost += len([row for row in rows if row not in held])
                if now is None or now.status != status:
                    self._tally.problems.append(f"{run}/{trial} was {status} and is not")
        for trial, record in trials.items():
            epochs = [row["epoch"] for row in record.rows]
            if epochs != list(range(1, len(epochs) + 1)):
                self._tally.problems.append(f"{name}/{trial}: its epochs are {epochs}")
            if record.status in FINISHED:
                rows = [(row["epoch"], row["val_dice_loss"]) for row in record.rows]
                self._finished[name, trial] = (record.status, rows)
        self._tally.statuses[name] = Counter(record.status for record in trials.values())
        self._tally.rows[name] = sum(len(record.rows) for record in trials.values())


class Soak:
    """Carries out the sessions until the time is over."""

    def __init__(self, sandbox: Sandbox, given: argparse.Namespace, tally: Tally) -> None:
        self._sandbox, self._given, self._tally = sandbox, given, tally
        self._chance = random.Random(given.seed)
        self._ledger = Ledger(tally)
        self._began = time.monotonic()
        self._end = self._began + 60 * given.minutes
        self._calm = self._began + 60 * given.minutes * 2 / 3
        self._failures = 0

    def run(self) -> None:
        """Soak until the time is over, or three sessions in a row end by themselves with an error."""
        while time.monotonic() < self._end and self._failures < 3:
            self._session(f"soak-{self._tally.runs:03d}")

    def _session(self, name: str) -> None:
        tally, sandbox = self._tally, self._sandbox
        tally.sessions += 1
        log = sandbox.folder / f"{name}.log"
        process = sandbox.start(name, log)
        until = min(self._end, time.monotonic() + self._chance.expovariate(1 / self._given.driver_every))
        if time.monotonic() > self._calm:
            until = self._end
        hung = self._watch(name, process, until)
        if hung:
            tally.problems.append(f"{name}: nothing was recorded for {PATIENCE:.0f} s; its driver is killed")
        everything = marked(MARK, sandbox.mark)
        ended = process.poll()
        if ended is None:
            self._end_driver(process, "hang" if hung else None)
        left = wait_until_gone(everything, 30)
        tally.left_behind += len(left)
        for orphan in left:
            print(f"left behind: {orphan.pid} {orphan.title}", flush=True)
            orphan.kill()
        self._ledger.check(sandbox.record(name))
        if ended is not None and self._is_through(name):
            self._failures = 0
            tally.runs += 1
        elif ended is not None:
            # Ray gives up where a machine is too busy; a driver that ends in a sentence is resumed like one that dies.
            self._failures += 1
            tally.faults[f"driver: ended by itself with {ended}"] += 1
            print(f"{name}: the driver ended by itself with {ended}: {_tail(log)}", flush=True)
            if ended not in (1, 2) or self._failures == 3:
                tally.problems.append(f"{name}: the driver ended by itself with {ended}: {_tail(log)}")
        else:
            self._failures = 0
            self._damage(sandbox.record(name))

    def _watch(self, name: str, process: subprocess.Popen[bytes], until: float) -> bool:
        """Kill trials' processes and take samples until it is time to end the session; True if the run hangs."""
        began = time.monotonic()
        rows, moved, first = self._sandbox.recorded_epochs(name), began, True
        kill = began + self._chance.expovariate(1 / self._given.trial_every)
        sample = began
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
            now = time.monotonic()
            if now >= sample:
                self._sample(process.pid, now - began)
                sample = now + self._given.sample_every
            found = self._sandbox.recorded_epochs(name)
            if found != rows:
                if first and self._tally.sessions > 1:
                    self._tally.resumed.append(now - began)
                rows, moved, first = found, now, False
            if now - moved > PATIENCE:
                return True
            if now >= kill:
                kill = now + self._chance.expovariate(1 / self._given.trial_every)
                if not first and self._kill_a_trial(process.pid):
                    self._ledger.check(self._sandbox.record(name))
        return False

    def _sample(self, driver: int, seconds: float) -> None:
        own = find(driver)
        if own is not None:
            ray = sum(process.memory() for process in descendants(driver))
            self._tally.samples.append(Sample(self._tally.sessions, seconds, own.memory() / 2**20, ray / 2**20))

    def _kill_a_trial(self, driver: int) -> bool:
        # Ray's own agents have titles in 'ray::' too, and a node does not outlive them: those are not trials.
        busy = [process for process in descendants(driver) if _TRIAL.match(process.title)]
        if not busy:
            return False
        self._chance.choice(busy).kill()
        self._tally.faults["trial's process killed"] += 1
        return True

    def _end_driver(self, process: subprocess.Popen[bytes], how: str | None) -> None:
        how = how or self._chance.choice(["SIGKILL", "SIGKILL", "SIGTERM", "Ctrl-C", "Ctrl-C twice"])
        if how in ("SIGKILL", "hang"):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        else:
            if how == "SIGTERM":
                process.send_signal(signal.SIGTERM)
            else:
                os.killpg(process.pid, signal.SIGINT)  # a terminal sends Ctrl-C to the whole group
            if how == "Ctrl-C twice":
                time.sleep(self._chance.uniform(0.05, 1.0))
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGINT)
            try:
                code = process.wait(PATIENCE)
                # A signal in the first moments, before Python itself is ready, ends it as it ends any process.
                if code not in (130, -signal.SIGTERM, -signal.SIGINT):
                    self._tally.problems.append(f"{how}: the driver ended with {code}")
            except subprocess.TimeoutExpired:
                self._tally.problems.append(f"{how}: the driver did not end within {PATIENCE:.0f} s")
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._tally.faults[f"driver: {how}"] += 1

    def _damage(self, folder: RunFolder) -> None:
        kind = self._chance.choice(
            [
                "none",
                "half a row",
                "half an event",
                "checkpoint cut off",
                "checkpoint changed",
                "checkpoint gone",
                "Ray's state emptied",
            ]
        )
        if kind in ("half a row", "half an event"):
            file = folder.rows_file if kind == "half a row" else folder.trials_file
            if not file.exists():
                return
            with file.open("ab") as record:
                record.write(b'{"trial": "plain", "ep')
        elif kind.startswith("checkpoint"):
            states = sorted((folder.path / "models").glob("*/last.pt"))
            if not states:
                return
            for state in states:
                _damage_file(state, kind, self._chance)
        elif kind == "Ray's state emptied":
            for file in (folder.path / "ray").rglob("*"):
                if file.is_file():
                    file.write_bytes(b"")
        if kind != "none":
            self._tally.faults[f"on disk: {kind}"] += 1

    def _is_through(self, name: str) -> bool:
        folder = self._sandbox.record(name)
        if not folder.run_file.exists() or folder.read_run()["status"] != "complete":
            return False
        open_trials = [record.trial for record in folder.trials() if record.status not in FINISHED]
        if open_trials:
            self._tally.problems.append(f"{name} is complete, but {', '.join(open_trials)} did not end")
        return True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="for how long (60)")
    parser.add_argument("--trials", type=int, default=2000, help="searched trials of a run (2000)")
    parser.add_argument("--epochs", type=int, default=2, help="epochs of a trial (2)")
    parser.add_argument("--trial-every", type=float, default=20.0, help="mean seconds between killed trials (20)")
    parser.add_argument("--driver-every", type=float, default=150.0, help="mean seconds between ended drivers (150)")
    parser.add_argument("--sample-every", type=float, default=5.0, help="seconds between samples of memory (5)")
    parser.add_argument("--core", type=int, help="CPU core to run on (the last one allowed)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults (0)")
    parser.add_argument("--keep", type=Path, help="keep the runs in this folder")
    given = parser.parse_args()
    # Ignored in the background of a shell, which children would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if given.core is None else given.core})
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tally = Tally()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
        sandbox = Sandbox((given.keep or Path(temporary)).absolute(), uuid.uuid4().hex)
        sandbox.set_up(epochs=given.epochs, trials=given.trials)
        try:
            Soak(sandbox, given, tally).run()
        except KeyboardInterrupt:
            print("interrupted: the summary is of what there was until now", flush=True)
        finally:
            for process in marked(MARK, sandbox.mark):
                process.kill()
    return _summarise(tally, time.monotonic() - began)


def _summarise(tally: Tally, seconds: float) -> int:
    statuses: Counter[str] = sum(tally.statuses.values(), Counter())
    finished = {status: count for status, count in statuses.items() if status in FINISHED}
    print(f"time:                  {seconds / 60:.1f} min, {tally.sessions} sessions, {tally.runs} runs through")
    print(f"trials finished:       {sum(finished.values())} ({_listed(finished) or 'none'})")
    print(f"epochs recorded:       {sum(tally.rows.values())}")
    print(f"faults survived:       {tally.faults.total()}")
    for kind, count in sorted(tally.faults.items()):
        print(f"  {kind}: {count}")
    if tally.resumed:
        median, most = np.median(tally.resumed), max(tally.resumed)
        print(f"start to first new epoch after a fault: median {median:.1f} s, most {most:.1f} s")
    for what in ("driver", "ray"):
        _print_memory(tally.samples, what)
    print(f"rows lost:             {tally.rows_lost}")
    print(f"processes left behind: {tally.left_behind}")
    print(f"problems:              {len(tally.problems)}")
    for problem in tally.problems:
        print(f"  {problem}")
    return 1 if tally.rows_lost or tally.left_behind or tally.problems else 0


def _print_memory(samples: list[Sample], what: str) -> None:
    sessions: dict[int, list[Sample]] = {}
    for sample in samples:
        if sample.seconds >= WARM_UP:
            sessions.setdefault(sample.session, []).append(sample)
    longest = max(sessions.values(), key=lambda part: part[-1].seconds - part[0].seconds, default=[])
    if len(longest) < 3:
        print(f"memory, {what}: no session was longer than {WARM_UP:.0f} s")
        return
    seconds = np.array([sample.seconds for sample in longest])
    sizes = np.array([getattr(sample, what) for sample in longest])
    slope = np.polyfit(seconds, sizes, 1)[0] * 3600
    quarters = [part.mean() for part in np.array_split(sizes, 4) if len(part)]
    label = "the driver" if what == "driver" else "Ray's processes, summed"
    print(
        f"memory of {label} (RSS), session of {longest[-1].seconds / 60:.1f} min: quarter means "
        f"{', '.join(f'{mean:.0f}' for mean in quarters)} MiB, slope {slope:+.1f} MiB/h, most {sizes.max():.0f} MiB"
    )


def _damage_file(file: Path, kind: str, chance: random.Random) -> None:
    content = bytearray(file.read_bytes())
    if kind == "checkpoint gone":
        file.unlink()
    elif kind == "checkpoint cut off":
        file.write_bytes(content[: chance.randrange(len(content))])
    else:
        content[chance.randrange(len(content))] ^= 0xFF
        file.write_bytes(content)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _tail(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:]) if log.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
