"""The runs of a folder at a glance: what each is, how it stands, and how to go on with it."""

from __future__ import annotations

import json
import os
import shlex
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bts_tune.errors import RunError
from bts_tune.plugins import plugin_options
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.record.benchmark_folder import holds_benchmark, runs_of
from bts_tune.results.record.run_folder import RunFolder, TrialRecord, holds_run
from bts_tune.results.trial_count import count_trials

KILLED, UNREADABLE = "killed", "unreadable"
"""States beside those that a run records: its process has gone without a word; its record cannot be read."""


@dataclass(frozen=True)
class ListedRun:
    """A run in a list.

    Attributes:
        run: its name; of a benchmark's run, `<benchmark>/<run>`.
        path: its folder.
        space: the search space's name.
        dataset: the dataset's folder.
        demo: whether that is generated phantoms.
        state: 'running', 'complete', 'interrupted', 'out-of-time', 'failed', 'killed' or 'unreadable'.
        ended_trials, trials: how many trials have ended, and how many the run is to do; see `count_trials`.
        trials_at_most: whether it may end with fewer.
        best: the name of the configuration that is ranked first; of the best trial so far, where none is ranked.
        ranked: whether it is ranked.
        val_dice_loss, val_iou: of that; of a configuration, means over its trainings.
        created, ended: when, in ISO 8601; empty where it is not on record.
        next: the command to go on with.
        problem: a sentence, where it is unreadable.
    """

    run: str
    path: Path
    space: str = ""
    dataset: str = ""
    demo: bool = False
    state: str = UNREADABLE
    ended_trials: int = 0
    trials: int = 0
    trials_at_most: bool = False
    best: str = ""
    ranked: bool = False
    val_dice_loss: float | None = None
    val_iou: float | None = None
    created: str = ""
    ended: str = ""
    next: str = ""
    problem: str = ""


def list_runs(results: Path) -> list[ListedRun]:
    """Return the runs in a folder, those of its benchmarks too, the latest first; what cannot be read comes last.

    Raises:
        RunError: there is no such folder, or it cannot be read.
    """
    try:
        folders = sorted(results.iterdir())
    except OSError as error:
        raise RunError(f"{results}: cannot be read: {error.strerror}.") from None
    listed = [found for folder in folders for found in _listed_in(folder)]
    return sorted(listed, key=lambda one: (one.state != UNREADABLE, one.created), reverse=True)


def run_state(folder: RunFolder, run: Mapping[str, Any]) -> str:
    """Return how a run stands: as it recorded, or 'killed' where the process that wrote it on this host has gone."""
    recorded = str(run.get("status") or "unknown")
    if recorded != "running":
        return recorded
    # Looked up, not locked: whoever holds the lock for a moment could keep a run from beginning.
    try:
        owner = json.loads((folder.path / "owner.json").read_text())
        gone = owner["host"] == socket.gethostname() and not _is_alive(int(owner["pid"]))
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return recorded
    return KILLED if gone else recorded


def next_command(folder: RunFolder, run: Mapping[str, Any], state: str, *, model: bool) -> str:
    """Return the command that one would give next; `model` is whether there is one to predict with."""
    if state == "running":
        return shlex.join(["bts-tune", "watch", str(folder.path)])
    if state != "complete":
        return folder.resume_command  # which loads the run's plugins itself
    words = ["predict", str(folder.path), "IMAGES", "--out", "DIR"] if model else ["report", str(folder.path)]
    return shlex.join(["bts-tune", *words, *plugin_options(run.get("plugins"))])


def best_so_far(trials: list[TrialRecord]) -> tuple[str, bool, float | None, float | None]:
    """Return name, whether it is ranked, Dice loss and IoU of the best configuration, or of the best trial so far."""
    ranked = configurations(trials)
    if ranked:
        return ranked[0].name, True, ranked[0].dice_loss, ranked[0].iou
    rows = [(record, record.best_row) for record in trials if record.best_row is not None]
    if not rows:
        return "", False, None, None
    first, best = min(rows, key=lambda pair: (pair[0].objective.cost_of(pair[1]), pair[0].name))
    return first.name, False, best["val_dice_loss"], best["val_iou"]


def _listed_in(path: Path) -> Iterator[ListedRun]:
    """Yield the run that a folder holds, or those of the benchmark that it holds, by the names that find them."""
    if holds_benchmark(path):
        try:
            names = runs_of(path)
        except RunError as error:
            yield ListedRun(path.name, path, problem=str(error))
            return
        found = [one for name in names if (one := _listed(path / name)) is not None]
        yield from (replace(one, run=f"{path.name}/{one.path.name}") for one in found)
    elif (one := _listed(path)) is not None:
        yield one


def _listed(path: Path) -> ListedRun | None:
    """Return what is known of a run; None of what is no run."""
    try:
        if not holds_run(path):
            return None
        folder = RunFolder.open(path)
        run, trials = folder.read_run(), folder.trials()
    except RunError as error:
        return ListedRun(path.name, path, problem=str(error))
    state = run_state(folder, run)
    best, ranked, dice_loss, iou = best_so_far(trials)
    model = any((path / "models").glob("*/model.json"))
    options = run.get("options") or {}
    count = count_trials(run, trials)
    return ListedRun(
        run=str(run.get("run") or path.name),
        path=path,
        space=str((run.get("space") or {}).get("name") or options.get("space") or ""),
        dataset=str((run.get("dataset") or {}).get("path") or ""),
        demo=run.get("profile") == "demo",
        state=state,
        ended_trials=count.ended,
        trials=count.trials,
        trials_at_most=count.at_most,
        best=best,
        ranked=ranked,
        val_dice_loss=dice_loss,
        val_iou=iou,
        created=str(run.get("created") or ""),
        ended=str(run.get("ended") or ""),
        next=next_command(folder, run, state, model=model),
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
