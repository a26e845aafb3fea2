"""What the trackers of services share: nobody waits for a service, and what it misses is sent later.

The record of the run is what is true. A file `trackers/<name>.json` in the run's folder says what the service has: the
identifier of each trial there, how many of its epochs, and which files. What it lacks is sent by the next invocation of
the run, or by `bts-tune export RUN --to NAME`. The file holds for the address that it names: another one has nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shlex
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from bts_tune.errors import ConfigError, RunError
from bts_tune.experiment.callbacks.trackers.base import TRACKERS, Tracker
from bts_tune.plugins import plugin_options
from bts_tune.results.find import best_model
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.run_folder import FINISHED, RunFolder
from bts_tune.text import first_line, quoted

RUN = ""
"""Stands for the run itself among its trials: what holds the report and the best model."""

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
"""Seconds until a service that did not answer is tried again; each time twice as long."""

PATIENCE = 30.0
"""Seconds that the end of a run waits for a service."""

_SLOWEST = 1_000_000
"""Bytes a second of a slow line: files take their time besides."""

_TABLES = ("report.html", "report.md", "configurations.csv", "leaderboard.csv", "epochs.csv", "split.csv", "run.json")


@dataclass
class Unsent:
    """What a service lacks of a trial.

    Attributes:
        config: of the trial.
        rows: its epochs, in order.
        ended: status and reason, once it has ended.
        running: whether it begins or goes on.
        began: when it began, in Unix seconds; None where its first epoch tells.
        over: when it ended; None where its last epoch tells.
    """

    config: Mapping[str, Any]
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    ended: tuple[str, str] | None = None
    running: bool = False
    began: float | None = None
    over: float | None = None


class ServiceTracker(Tracker):
    """A tracker whose back end may be slow or out of reach: a thread sends, and sends again.

    A subclass says how one thing is sent. Its methods are called in that thread, one at a time, and raise where the
    service does not answer; they are then called again. A trial has one identifier at the service, for good.

    Attributes:
        package: what must be installed, as it is imported.
        variable: of the environment, that has the address of the service's server; empty where there is none.
    """

    package: ClassVar[str]
    variable: ClassVar[str] = ""

    def __init__(self) -> None:
        if importlib.util.find_spec(self.package) is None:
            raise ConfigError(f"needs a package that is not installed; pip install 'bts-tune[{self.name}]'.")
        self._require_address()
        self.folder, self.run = Path(), dict[str, Any]()
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._address = ""
        self._unsent: dict[str, Unsent] = {}
        self._files: list[tuple[Path, str]] = []
        self._sent: dict[str, dict[str, Any]] = {}
        self._connected, self._told, self._over = False, False, False
        self._attempts, self._steps, self._problem = 0, 0, ""
        self._thread: threading.Thread | None = None

    @property
    def server(self) -> str | None:
        """The server that the environment names."""
        return os.environ.get(self.variable) or None

    def _require_address(self) -> None:
        """Refuse an address that no service's package could take apart; it would be asked again and again.

        Raises:
            ConfigError: it is one.
        """
        try:
            urlsplit(self.server or "")
        except ValueError:  # whose text may be a part of a password
            raise ConfigError(
                f"{self.variable}: {quoted(without_secrets(self.server or ''))} cannot be read as an address; around "
                "anything but an IPv6 address, brackets must be written as %5B and %5D."
            ) from None

    def address(self) -> str:
        """Return where the service keeps what it is sent, without a password; at another address the run is new."""
        return ""

    @abstractmethod
    def connect(self) -> None:
        """Reach the service; `self.folder` and `self.run` are the run's."""

    @abstractmethod
    def open(self, trial: str, config: Mapping[str, Any], identifier: str | None) -> str:
        """Begin a trial at the service, or go on with the one of that identifier, and return its identifier.

        Args:
            trial: its name; `RUN` is the run itself, with the space's name and such as its configuration.
            config: the fields of its configuration.
            identifier: what an earlier call returned, perhaps in another process; None for a new one.
        """

    @abstractmethod
    def log(self, trial: str, identifier: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Send epochs of a trial that is open; `numbers` gives what is a number of a row."""

    @abstractmethod
    def close(self, trial: str, identifier: str, status: str, reason: str) -> None:
        """Send how a trial that is open ended."""

    @abstractmethod
    def attach(self, identifier: str, files: Sequence[tuple[Path, str]]) -> None:
        """Send files of the run, each with the folder that it belongs into; `RUN` keeps them, and is open."""

    def portions(self, files: Sequence[tuple[Path, str]]) -> list[list[tuple[Path, str]]]:
        """Return the files as `attach` is given them, none of which is sent again; by default one at a time."""
        return [[file] for file in files]

    def start_run(self, folder: Path, run: Mapping[str, Any]) -> None:
        """Begin to send, with what earlier invocations could not send."""
        self.folder, self.run = folder, dict(run)
        self._address = self.address()
        self._sent = _read(self._state_file, self._address)
        space, dataset = run.get("space") or {}, run.get("dataset") or {}
        about = {"space": space.get("name"), "dataset": dataset.get("path"), "profile": run.get("profile")}
        self._unsent[RUN] = Unsent({name: value for name, value in about.items() if value}, running=True)
        for record in RunFolder(folder).trials() if RunFolder(folder).trials_file.exists() else []:
            sent = self._sent.get(record.trial, {})
            rows: list[Mapping[str, Any]] = [row for row in record.rows if row["epoch"] > sent.get("epochs", 0)]
            ended = (record.status, record.reason) if record.status in FINISHED else ("interrupted", "")
            begun = record.rows or record.status in FINISHED
            if rows or (begun and sent.get("status") != ended[0]):
                unsent = self._unsent[record.trial] = Unsent(record.config, rows, ended)
                if not record.rows:
                    when = record.started.get("time")
                    unsent.began = float(when) if isinstance(when, int | float) else None
                    unsent.over = record.ended
        self._thread = threading.Thread(target=self._work, name=f"tracker {self.name}", daemon=True)
        self._thread.start()
        self._wake.set()

    def start_trial(self, trial: str, config: Mapping[str, Any], resumed_epochs: int) -> None:
        """Begin a trial, or go on with it."""
        with self._lock:
            unsent = self._unsent.setdefault(trial, Unsent(config))
            unsent.running, unsent.ended, unsent.began = True, None, unsent.began or time.time()
        self._go()

    def log_epoch(self, trial: str, row: Mapping[str, Any]) -> None:
        """Hand an epoch to the thread."""
        with self._lock:
            self._unsent.setdefault(trial, Unsent({})).rows.append(dict(row))
        self._go()

    def end_trial(self, trial: str, status: str, reason: str) -> None:
        """Hand the end of a trial to the thread."""
        with self._lock:
            unsent = self._unsent.setdefault(trial, Unsent({}))
            unsent.ended, unsent.over = (status, reason), time.time()
        self._go()

    def end_run(self, status: str) -> None:
        """Wait until all is sent, or the service does not answer; the run itself is ended with its report."""
        self._wait()

    def report_written(self, folder: Path) -> None:
        """Send the report, its tables and figures, and the best model."""
        run = RunFolder(folder).read_run()
        status = str(run.get("status") or "")
        with self._lock:
            self._files = files_of(RunFolder(folder))
            self._unsent.setdefault(RUN, Unsent({})).ended = (
                "interrupted" if status == "running" else status,  # it was killed before it could say so
                str(run.get("reason") or ""),
            )
            patience = PATIENCE + sum(file.stat().st_size for file, _ in self._files) / _SLOWEST
        self._wait(patience)
        self._over = True
        self._wake.set()

    def missing(self) -> str:
        """Return what has gone wrong, where something is not sent; else an empty text."""
        with self._lock:
            return (self._problem or "it does not answer.") if self._unsent or self._files else ""

    def problem(self, error: BaseException) -> str:
        """Return one sentence on an error that a service's package has raised."""
        return f"{type(error).__name__}: {first_line(error)}"

    def numbers(self, row: Mapping[str, Any]) -> dict[str, float]:
        """Return the numbers of a row by name, without its epoch."""
        return {
            name: float(value)
            for name, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and name not in ("epoch", "time")
        }

    def began(self, trial: str) -> float | None:
        """Return when what is sent of a trial began, or `RUN` itself, in Unix seconds; None where nothing tells."""
        if trial == RUN:
            return _unix_seconds(self.run.get("created"))
        with self._lock:
            unsent = self._unsent.get(trial, Unsent({}))
            row = next(iter(unsent.rows), None)
        if unsent.began is not None:
            return unsent.began
        return None if row is None or row.get("time") is None else row["time"] - (row.get("seconds") or 0.0)

    def ended(self, trial: str) -> float | None:
        """Return when a trial ended, or `RUN` itself by its record, in Unix seconds; None where nothing tells."""
        if trial == RUN:
            return _unix_seconds(RunFolder(self.folder).read_run().get("ended"))
        with self._lock:
            return self._unsent[trial].over if trial in self._unsent else None

    @property
    def _state_file(self) -> Path:
        return self.folder / "trackers" / f"{self.name}.json"

    def _go(self) -> None:
        """Wake the thread, and tell once that the service does not answer."""
        self._wake.set()
        if self._problem and not self._told:
            self._told = True
            self.warn(
                f"tracker {self.name!r}: {self._problem} The run goes on; what is missed is sent when it answers, or "
                f"by: {shlex.join(['bts-tune', 'export', str(self.folder), '--to', self.name, *self._plugins()])}"
            )

    def _plugins(self) -> list[str]:
        """Return the words of a command line that load the plugin that this tracker is of, if it is of one."""
        return plugin_options(self.run.get("plugins")) if TRACKERS.is_plugin(self.name) else []

    def _wait(self, patience: float | None = None) -> None:
        """Wait for as long as the thread comes on, and for an attempt that begins now.

        Args:
            patience: seconds without a step; by default `PATIENCE`.
        """
        patience = PATIENCE if patience is None else patience
        attempts, steps, since = self._attempts + 2, self._steps, time.monotonic()  # one may be under way
        self._wake.set()
        while self.missing() and time.monotonic() < since + patience:
            if self._problem:
                if self._attempts >= attempts:
                    break
                self._wake.set()
            if self._steps > steps:
                steps, since = self._steps, time.monotonic()
            time.sleep(0.02)
        if self.missing() and not self._problem:
            self._problem = f"it has not answered for {patience:.0f} s."
        self._go()

    def _work(self) -> None:
        pause = _FIRST_PAUSE
        while not self._over:
            self._wake.wait(pause if self._problem else None)
            self._wake.clear()
            if self._over:
                break
            try:
                self._send()
                self._problem, pause = "", _FIRST_PAUSE
            except BaseException as error:  # whatever a service's package raises, the run goes on
                self._problem = self.problem(error)
                pause = min(2 * pause, _LONGEST_PAUSE)
            self._attempts += 1

    def _send(self) -> None:
        """Send all that is unsent, the run itself first: its trials may belong to it."""
        if not self._connected:
            self.connect()
            self._connected = True
        with self._lock:
            trials = list(self._unsent)
        for trial in trials:
            if self._over:  # another tracker may send the rest by now
                break
            self._send_trial(trial)
            self._steps += 1

    def _send_trial(self, trial: str) -> None:
        with self._lock:
            unsent = self._unsent[trial]
            rows, ended, files = list(unsent.rows), unsent.ended, self._files if trial == RUN else []
            running = unsent.running
        sent = self._sent.get(trial, {})
        if running or not sent or not sent.get("open"):
            identifier = self.open(trial, unsent.config, sent.get("id"))
            sent = self._sent[trial] = {"epochs": 0, **sent, "id": identifier, "open": True}
            self._save()
        if rows:
            self.log(trial, sent["id"], rows)
            sent["epochs"] = max(sent["epochs"], *(row["epoch"] for row in rows))
            self._save()
        kept = sent.get("files", {})
        for portion in self.portions(files):
            digests = {f"{folder}/{file.name}": _sha256(file) for file, folder in portion}
            if all(kept.get(name) == digest for name, digest in digests.items()):
                continue
            if self._over:
                return
            self.attach(sent["id"], portion)
            kept = sent["files"] = {**kept, **digests}
            self._save()
            self._steps += 1
        if ended is not None:
            self.close(trial, sent["id"], *ended)
            sent |= {"status": ended[0], "open": False}
            self._save()
        with self._lock:
            del unsent.rows[: len(rows)]
            unsent.running = unsent.running and not running
            if files:
                self._files = []
            if unsent.ended == ended:
                unsent.ended = None
            if not (unsent.rows or unsent.ended or unsent.running):
                del self._unsent[trial]

    def _save(self) -> None:
        content = {"version": 1, "address": self._address, "trials": self._sent}
        write_atomically(self._state_file, json.dumps(content, indent=1))


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def without_secrets(address: str) -> str:
    """Return an address without its user, password and query, which may hold a token."""
    return re.sub(r"(?<=//)[^/?#]*@|[?#].*", "", address)


def _unix_seconds(written: Any) -> float | None:
    """Return a moment of the record as Unix seconds."""
    try:
        return datetime.fromisoformat(str(written)).timestamp()
    except ValueError:
        return None


def _read(path: Path, address: str) -> dict[str, dict[str, Any]]:
    """Return what the service at an address has, by trial; of another process than this, nothing is open there."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        trials = content["trials"]
        if content.get("address", address) != address:  # an earlier version named none
            return {}
        return {str(trial): {**sent, "id": str(sent["id"]), "open": False} for trial, sent in trials.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: cannot be read: {quoted(str(error))}; remove it, and all is sent anew.") from None


def files_of(folder: RunFolder) -> list[tuple[Path, str]]:
    """Return the files that a service is sent at the end, with the folder of each: the report, and the best model."""
    found = [(path, "") for name in _TABLES if (path := folder.path / name).exists()]
    found += [(path, "figures") for path in sorted((folder.path / "figures").glob("*.png"))]
    with contextlib.suppress(RunError):  # no trial has left a model
        found += [(best_model(folder) / name, "model") for name in ("model.json", "model.safetensors")]
    return found


def by_artifact(files: Sequence[tuple[Path, str]]) -> list[list[tuple[Path, str]]]:
    """Return the files of each artifact: one that is changed is a new version, and has all of its files."""
    report = [one for one in files if one[1] != "model"]
    model = [one for one in files if one[1] == "model"]
    return [portion for portion in (report, model) if portion]


def artifacts_of(files: Sequence[tuple[Path, str]]) -> dict[str, list[tuple[Path, str]]]:
    """Return the files of the artifacts 'report' and 'model', each with its name there; none that would be empty."""
    found: dict[str, list[tuple[Path, str]]] = {}
    for file, folder in files:
        kind = "model" if folder == "model" else "report"
        found.setdefault(kind, []).append((file, f"{folder}/{file.name}" if folder == "figures" else file.name))
    return found
