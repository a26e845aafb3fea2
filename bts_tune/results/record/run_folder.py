"""The run folder `results/<run>/`: its files, its lock, and writes that are whole or not there at all.

    run.json          what the run is: command, versions, hardware, dataset, space, seeds, status
    trials.jsonl      append-only: one event a line (planned, started, opened, retried, ended, evaluated)
    rows.jsonl        append-only: one row (an epoch of a trial) a line
    models/<trial>/   the trial's best weights so far (model.safetensors, model.json) and, until it ends, its last state
                      (last.pt); in the end those of the winner and of each baseline (their best seed) remain
    samples/<trial>.npz   validation slices with truth and predicted probability, for the report's overlays
    scores/<trial>.npz    of the trials that the result rests on: the sums of every validation and test image that all
                      metrics are made of
    tensorboard/, ray/    logs of TensorBoard (or of other trackers) and of Ray; nothing reads them back

`trials.jsonl` and `rows.jsonl` are the record; everything else about a trial can be made from them.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from bts_tune.errors import RunError
from bts_tune.paths import user_path
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.results.record.schema import Stage, read_events, read_rows, read_run_file
from bts_tune.results.record.status import FINISHED, TrialStatus
from bts_tune.text import quoted

__all__ = [
    "FINISHED",
    "FORMAT",
    "RunExistsError",
    "RunFolder",
    "Stage",
    "TrialRecord",
    "TrialStatus",
    "holds_run",
    "refuse_existing",
]

FORMAT = 1


class RunExistsError(RunError):
    """The name of a new run is taken."""


def holds_run(path: Path) -> bool:
    """Whether a folder holds a run.

    Raises:
        RunError: nobody can tell, as it may not be looked into or its disk fails.
    """
    try:
        # Not `is_file`, which of a folder that may not be looked into says no in some versions of Python.
        return stat.S_ISREG(os.stat(path / "run.json").st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}.") from None


def refuse_existing(path: Path) -> None:
    """Refuse the path of a new run where something is there already, but for an empty folder, or nothing can be made.

    Raises:
        RunExistsError: there is something.
        RunError: what it would lie in is no folder, or may not be written to.
        ConfigError: it is no path that a run can record.
    """
    user_path(path.absolute())  # absolute: a tilde in it is a name by now
    if holds_run(path):
        raise RunExistsError(
            f"{path}: a run of this name exists already; choose another --name, or go on with it: "
            f"{RunFolder(path).resume_command}"
        )
    try:
        free = not os.path.lexists(path) or not any(path.iterdir())
    except OSError:  # a file, or a folder of somebody else
        free = False
    if not free:
        raise RunExistsError(f"{path}: exists already, and is not a run; choose another --name.")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise RunError(f"{path}: the run folder cannot be written: {parent} is no folder.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise RunError(f"{path}: the run folder cannot be written: {parent} may not be written to.")


@dataclass
class TrialRecord:
    """What the record says of one trial.

    Attributes:
        trial: identifier, unique in the run; also the name of the trial's folders.
        name: what a reader calls it: a baseline's name, or the identifier of a searched trial.
        index: position in the order of planning, from 0.
        baseline: whether it is one of the space's named baselines; those are never stopped early.
        changed: the fields of a baseline that an override changed, by name; empty where it runs as documented.
        published: metrics that a paper or project reported for this baseline, else None.
        config: the fields of its `TrialConfig`.
        stage: the stage of the run that it belongs to.
        origin: in the final stage, the trial of the search stage whose configuration it trains again.
        fold: which fold of a cross-validation it was trained and validated on, from 1; None without folds.
        full: the fields of its configuration that the search's lower fidelity has replaced, as the final stage has
            them; empty where it was trained in full.
        status: where it stands.
        reason: one sentence, where it stopped, diverged, ran out of memory or failed.
        ended: when that was written down, in Unix seconds; None while it has not ended.
        retries: why each attempt but the last ended before the trial did.
        started: what the trial reported as it began (device, parameters, trainable_parameters, …).
        rows: its epochs in order, one for each epoch.
        test: `test_*` metrics at its best epoch, where they were computed.
        variants: what its model scores in other ways of using it, by name: `tta` (with test-time augmentation),
            `postprocessed` (with a `threshold` and `smallest_region` chosen on the validation split), `ensemble` and
            `ensemble-tta` (as one with the other replicates of its configuration); each has `metrics`, `seconds` and
            `members`.
        objective: what chooses the best epoch; that of the run.
    """

    trial: str
    name: str
    index: int
    baseline: bool
    changed: list[str]
    published: dict[str, Any] | None
    config: dict[str, Any]
    config_id: str
    recipe_id: str
    stage: Stage = "search"
    origin: str | None = None
    fold: int | None = None
    full: dict[str, Any] = field(default_factory=dict)
    status: TrialStatus = "waiting"
    reason: str = ""
    retries: list[str] = field(default_factory=list)
    started: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    test: dict[str, Any] = field(default_factory=dict)
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    objective: Objective = DICE_LOSS
    ended: float | None = field(default=None, compare=False)
    _best: tuple[list[dict[str, Any]], int, dict[str, Any]] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    @property
    def best_row(self) -> dict[str, Any] | None:
        """The row of the epoch that is best by the objective; the earliest of equals; None without rows."""
        if not self.rows:
            return None
        # A report asks for it dozens of times a trial.
        if self._best is None or self._best[0] is not self.rows or self._best[1] != len(self.rows):
            best = min(self.rows, key=lambda row: (self.objective.cost_of(row), row["epoch"]))
            self._best = (self.rows, len(self.rows), best)
        return self._best[2]

    @property
    def full_budget(self) -> bool:
        """Whether it was trained for every epoch of its configuration."""
        return self.status == "complete"


# What an event `planned` says of a trial; everything else about it comes later.
_PLANNED = ("trial", "name", "index", "baseline", "changed", "published", "config", "config_id", "recipe_id")
_PLANNED_SINCE = ("stage", "origin", "fold", "full")  # a record of an earlier version lacks them


class RunFolder:
    """One run on disk. Reading needs no lock; whoever writes holds `locked()`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def resume_command(self) -> str:
        """The command that goes on with the run."""
        return f"bts-tune --resume {shlex.quote(str(self.path))}"

    @property
    def rows_file(self) -> Path:
        """The append-only file of rows."""
        return self.path / "rows.jsonl"

    @property
    def trials_file(self) -> Path:
        """The append-only file of trial events."""
        return self.path / "trials.jsonl"

    @property
    def run_file(self) -> Path:
        """What the run is."""
        return self.path / "run.json"

    @property
    def split_file(self) -> Path:
        """The split and the group of every slice, and its fold where there are folds, as CSV."""
        return self.path / "split.csv"

    @property
    def leaks_file(self) -> Path:
        """The closest training image of each image outside the training split, as CSV; see `record/leaks.py`."""
        return self.path / "leaks.csv"

    @property
    def sheet_file(self) -> Path:
        """Slices of the dataset with the outlines of their masks, as PNG; see `data/checks/preview.py`."""
        return self.path / "masks.png"

    def model_folder(self, trial: str) -> Path:
        """Where a trial keeps its weights."""
        return self.path / "models" / trial

    def samples_file(self, trial: str) -> Path:
        """Where predicted slices of a trial are kept for the report."""
        return self.path / "samples" / f"{trial}.npz"

    def scores_file(self, trial: str) -> Path:
        """Where the scores of a trial's validation and test images are kept for the report."""
        return self.path / "scores" / f"{trial}.npz"

    def variant_scores_file(self, trial: str, variant: str) -> Path:
        """Where the scores of a variant are kept; see `TrialRecord.variants`."""
        return self.path / "scores" / variant / f"{trial}.npz"

    @classmethod
    def create(
        cls, path: Path, run: Mapping[str, Any], fill: Callable[[RunFolder], None] = lambda folder: None
    ) -> RunFolder:
        """Make a new run folder; it appears with all that it holds, and of two that want a name one gets it.

        Args:
            path: where; an empty folder may be there.
            run: the content of `run.json`.
            fill: writes what else the folder is to hold.

        Raises:
            RunExistsError: there is something of this name already.
            RunError: it cannot be written.
        """
        refuse_existing(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{secrets.token_hex(8)}.part")
            temporary.mkdir()
            try:
                folder = cls(temporary)
                folder.write_run({"format": FORMAT, **run})
                fill(folder)
                try:
                    temporary.rename(path)
                except OSError:
                    refuse_existing(path)
                    raise
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
        except OSError as error:
            raise RunError(f"{path}: the run folder cannot be written: {error.strerror}.") from None
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            RunError: `path` is not a run folder, or its `run.json` cannot be read.
        """
        folder = cls(path)
        if not holds_run(path):
            raise RunError(f"{path}: not a run folder (it has no run.json); name a folder such as results/<run>.")
        folder._refuse_links()
        folder.read_run()
        return folder

    def _refuse_links(self) -> None:
        """Refuse a run folder with a link that leads out of it: writing would go through it to another's files."""
        home = self.path.resolve()
        for pattern in ("*", "models/*", "models/*/*", "samples/*", "figures/*", "tensorboard/*"):
            for entry in self.path.glob(pattern):
                try:
                    inside = not entry.is_symlink() or entry.resolve().is_relative_to(home)
                except (OSError, RuntimeError):  # links in a loop
                    inside = False
                if not inside:
                    raise RunError(f"{entry}: is a link that leads out of the run folder; remove it to use this run.")

    def read_run(self) -> dict[str, Any]:
        """Return the content of `run.json`.

        Raises:
            RunError: it is not a JSON object of a format that this version reads.
        """
        run = read_run_file(self.run_file)
        found = run.get("format")
        if isinstance(found, bool) or found != FORMAT:
            raise RunError(
                f"{self.run_file}: format is {quoted(found)}; this version of bts-tune reads format {FORMAT}."
            )
        return run

    def write_run(self, run: Mapping[str, Any]) -> None:
        """Replace `run.json`."""
        try:
            write_atomically(self.run_file, json.dumps(run, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        except UnicodeEncodeError as error:  # such as an argument of the command
            found = quoted(error.object[: error.end].rpartition('"')[2])
            raise RunError(f"{self.run_file}: cannot hold {found}, which is no text in UTF-8.") from None

    def update_run(self, **changes: Any) -> None:
        """Replace fields of `run.json`."""
        self.write_run({**self.read_run(), **changes})

    def append_row(self, row: Mapping[str, Any]) -> None:
        """Add one row; it is on disk when this returns."""
        _append_line(self.rows_file, row)

    def append_event(self, event: str, trial: str, **fields: Any) -> None:
        """Add one trial event; it is on disk when this returns.

        Events are `planned`, `started`, `opened` (built, with its device and parameter counts), `retried` (an
        attempt failed, and another one follows), `ended`, `evaluated`, `variant`.
        """
        _append_line(self.trials_file, {"event": event, "trial": trial, "time": time.time(), **fields})

    def trials(self) -> list[TrialRecord]:
        """Return every trial in the order of planning, as the record says.

        An epoch that was trained twice (the first attempt lost before its checkpoint) keeps its last row. A last line
        that a kill left half-written is passed over.

        Raises:
            RunError: a line before the last is not what `record/schema.py` allows; the sentence names file and line.
        """
        objective = Objective.of_run(self.read_run()) if self.run_file.is_file() else Objective()
        records: dict[str, TrialRecord] = {}
        for _, event in read_events(self.trials_file):
            kind = event["event"]
            if kind == "planned":
                records[event["trial"]] = TrialRecord(
                    **{name: event[name] for name in _PLANNED},
                    **{name: event[name] for name in _PLANNED_SINCE if name in event},
                    objective=objective,
                )
                continue
            record = records[event["trial"]]
            if kind == "started":
                record.status, record.reason, record.ended = "running", "", None
                record.started = {key: event[key] for key in sorted(event.keys() - {"event", "trial"})}
            elif kind == "opened":
                record.started |= {key: event[key] for key in sorted(event.keys() - {"event", "trial", "time"})}
            elif kind == "retried":
                record.retries.append(event.get("reason", ""))
            elif kind == "ended":
                record.status, record.reason = event["status"], event.get("reason", "")
                when = event.get("time")
                record.ended = float(when) if isinstance(when, int | float) else None
            elif kind == "evaluated":
                record.test = event["metrics"]
            elif kind == "variant":
                record.variants[event["variant"]] = event
        by_epoch: dict[str, dict[int, dict[str, Any]]] = {trial: {} for trial in records}
        for number, row in read_rows(self.rows_file):
            if (of_trial := by_epoch.get(row["trial"])) is None:
                raise RunError(f"{self.rows_file}, line {number}: trial {row['trial']!r} was never planned.")
            of_trial[row["epoch"]] = row
        for trial, rows in by_epoch.items():
            records[trial].rows = [rows[epoch] for epoch in sorted(rows)]
        return sorted(records.values(), key=lambda record: record.index)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for writing; the lock goes with the process, so none is ever left behind.

        On a file system without flock, filelock keeps a file with process id and host in its place: one that a killed
        process left is recognised on the same host; of another host's nobody can tell whether it still runs.

        Raises:
            RunError: another process holds it; the sentence names its host and process id. Or the folder cannot be
                written.
        """
        from filelock import FileLock, Timeout

        owner = self.path / "owner.json"
        lock = FileLock(self.path / "run.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            try:
                held = json.loads(owner.read_text())
                who = f"process {held['pid']} on {held['host']}"
            except (OSError, ValueError, KeyError, TypeError):
                who = "another process"
            raise RunError(f"{self.path}: this run is being written by {who}; wait for it or stop it.") from None
        except OSError as error:
            raise self._unwritable(error) from None
        except NotImplementedError:  # filelock before it could do without
            raise RunError(
                f"{self.path}: this file system has no file locks, so two processes could write one run; put --results "
                "on another one, or install a newer filelock."
            ) from None
        try:
            try:
                write_atomically(owner, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
            except OSError as error:
                raise self._unwritable(error) from None
            yield
        finally:
            lock.release()

    def _unwritable(self, error: OSError) -> RunError:
        return RunError(f"{self.path}: the run folder cannot be written: {error.strerror or error}.")


def _append_line(path: Path, content: Mapping[str, Any]) -> None:
    line = json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"
    with path.open("a+b") as file:
        _drop_torn_line(file)
        # A reason may name a file whose name is no UTF-8.
        file.write(line.encode(errors="replace"))
        file.flush()
        os.fsync(file.fileno())


def _drop_torn_line(file: IO[bytes]) -> None:
    """Cut off a last line that a kill left half-written: it can never be read, and what follows it must be."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
