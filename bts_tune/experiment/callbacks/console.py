"""Shows a person how a run goes: one live table in a terminal, plain lines where the output is piped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bts_tune.config import TrialConfig
from bts_tune.console import say
from bts_tune.experiment.planning.plan import PlannedTrial
from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.results.record.status import STATUSES, TrialStatus

_SHOWN = 12


def clock(seconds: float) -> str:
    """Write a duration as 1:02:03 or 02:03."""
    minutes, second = divmod(round(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"


@dataclass
class _Shown:
    trial: PlannedTrial
    status: TrialStatus = "waiting"
    epoch: int = 0
    dice_loss: float | None = None
    iou: float | None = None
    value: float | None = None
    best: float | None = None
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        return self.trial.config.epochs


class ProgressView:
    """An `Observer` of the record. Use as a context manager around the run.

    Args:
        console: where to; a live table if it is a terminal, else a line an event.
        trials: how many trials will be run, those that the search will think of included.
        epochs: the most epochs that all of them can take.
        concurrent: how many run at a time.
        objective: what is optimised; it has a column of its own where it is neither Dice loss nor IoU.
        seconds_of_epoch: returns how long an epoch of a configuration took earlier on this machine, or None: for models
            that this run has not trained yet.
        search: whether this is a search, after which a final stage may follow.
    """

    def __init__(
        self,
        console: Console,
        *,
        trials: int,
        epochs: int,
        concurrent: int,
        objective: Objective = DICE_LOSS,
        seconds_of_epoch: Callable[[TrialConfig], float | None] = lambda config: None,
        search: bool = False,
    ) -> None:
        self._console, self._objective = console, objective
        self._total, self._epochs, self._concurrent = trials, epochs, max(1, concurrent)
        self._seconds_of_epoch = seconds_of_epoch
        self._what = "search ends" if search else "ends"
        self._shown: dict[str, _Shown] = {}
        self._open: set[str] = set()
        self._trained: dict[tuple[Any, ...], tuple[float, int]] = {}  # seconds and epochs by model
        self._told: tuple[float, float | None] = (-math.inf, None)
        self._ended = 0
        self._epochs_done = 0
        self._epochs_saved = 0
        self._began = time.monotonic()
        self._live = (
            Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> ProgressView:
        self._began = time.monotonic()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def planned(self, trial: PlannedTrial) -> None:
        """A trial will be run."""
        self._shown[trial.trial] = _Shown(trial, epoch=trial.recorded)
        self._open.add(trial.trial)

    def started(self, trial: str) -> None:
        """A trial begins."""
        shown = self._shown[trial]
        shown.status = "running"
        self._line(f"{trial}: {'goes on after epoch ' + str(shown.epoch) if shown.epoch else 'starts'}")

    def lost(self, trial: str, first: int, last: int, reason: str) -> None:
        """Epochs that are recorded have to be trained again; said in a terminal too, above the table."""
        self._shown[trial].epoch = first - 1
        self._epochs += last - first + 1
        again = f"epoch {first} is" if first == last else f"epochs {first}–{last} are"
        say(self._console, f"{trial}: {reason}; {again} trained again", style="yellow")

    def row(self, trial: str, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch; one that it had reported before is not counted."""
        shown = self._shown[trial]
        if row["epoch"] <= shown.epoch:
            return
        shown.epoch, shown.dice_loss, shown.iou = row["epoch"], row["val_dice_loss"], row["val_iou"]
        shown.value, shown.best = self._objective.value(row), row[self._objective.best_column]
        shown.seconds += row["seconds"]
        self._epochs_done += 1
        seconds, epochs = self._trained.get(_model(shown), (0.0, 0))
        self._trained[_model(shown)] = seconds + row["seconds"], epochs + 1
        own = "" if self._objective.is_ranking_key else f"{self._objective.column} {shown.value:.4f}  "
        self._line(
            f"{trial}: epoch {shown.epoch}/{shown.epochs}  {own}val_dice_loss {shown.dice_loss:.4f}  "
            f"val_iou {shown.iou:.4f}  best {shown.best:.4f}  {row['seconds']:.1f} s{self._end()}"
        )

    def retried(self, trial: str, reason: str) -> None:
        """An attempt at a trial failed, and another one follows."""
        self._shown[trial].status = "waiting"
        self._line(f"{trial}: tried again: {reason}")

    def ended(self, trial: str, status: TrialStatus, reason: str) -> None:
        """A trial ended."""
        shown = self._shown[trial]
        shown.status = status
        self._ended += 1
        self._open.discard(trial)
        self._epochs_saved += shown.epochs - shown.epoch
        self._line(f"{trial}: {status}{': ' + reason if reason else ''}")

    def _line(self, text: str) -> None:
        if self._live is None:
            say(self._console, f"[{clock(self._elapsed())}] {text}")

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _left(self) -> float | None:
        """Return the seconds left, or None before the first epoch; what early stopping saved is left out.

        Each open trial counts with what an epoch of its model took in this run; of a model that it has not trained,
        with what earlier runs took; else with the mean of all epochs.
        """
        if not self._epochs_done:
            return None
        now = time.monotonic()
        if now - self._told[0] < 1:  # of thousands of trials, each row would ask for all of them
            return self._told[1]
        mean = sum(seconds for seconds, _ in self._trained.values()) / self._epochs_done
        parts, known = [], 0
        for name in self._open:
            one = self._shown[name]
            seconds, epochs = self._trained.get(_model(one), (0.0, 0))
            each = seconds / epochs if epochs else self._seconds_of_epoch(one.trial.config) or mean
            parts.append(each * (one.epochs - one.epoch))
            known += one.epochs - one.epoch
        not_planned = max(0, self._epochs - self._epochs_done - self._epochs_saved - known)
        left = max([(sum(parts) + mean * not_planned) / self._concurrent, *parts])
        self._told = now, left
        return left

    def _end(self) -> str:
        """Return when it will end, at the end of a line."""
        left = self._left()
        if left is None or not self._open:
            return ""
        at = datetime.now() + timedelta(seconds=left)
        return f"  {self._what} about {at:%H:%M}{f' on {at:%Y-%m-%d}' if left > 12 * 3600 else ''}"

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("trial", "status"):
            table.add_column(name, no_wrap=True)
        own = () if self._objective.is_ranking_key else (f"val {self._objective.title}",)
        for name in ("epoch", *own, "val Dice loss", "IoU", f"best {self._objective.title} so far", "time"):
            table.add_column(Text(name), justify="right", no_wrap=True)  # a plugin names its metric as it likes
        reached = (one.best for one in self._shown.values() if one.best is not None)
        leader = min(reached, key=self._objective.cost, default=None)
        shown = self._chosen()
        for one in shown:
            best = Text(_figure(one.best), style="bold green" if one.best is not None and one.best == leader else "")
            table.add_row(
                Text(one.trial.trial + ("*" if one.trial.baseline else "")),
                Text(one.status, style=STATUSES[one.status].style),
                f"{one.epoch}/{one.epochs}",
                *([_figure(one.value)] if own else []),
                _figure(one.dice_loss),
                _figure(one.iou),
                best,
                clock(one.seconds),
            )
        hidden = len(self._shown) - len(shown)
        left = self._left()
        line = (
            f"{self._ended} of {self._total} trials ended   elapsed {clock(self._elapsed())}   "
            f"expected end in {'–' if left is None else clock(left)}{self._end()}"
        )
        parts: list[Any] = [table]
        if hidden:
            parts.append(Text(f"… and {hidden} more", style="dim"))
        parts.append(Text(line, style="dim"))
        return Group(*parts)

    def _chosen(self) -> list[_Shown]:
        """Return the running trials, then the best of the others, at most as many as fit."""
        room = min(_SHOWN, max(4, self._console.size.height - 4))
        running = [shown for shown in self._shown.values() if shown.status == "running"]
        others = sorted(
            (shown for shown in self._shown.values() if shown.status != "running"),
            key=lambda shown: (shown.best is None, self._objective.cost(shown.best or 0.0), shown.trial.index),
        )
        return (running + others)[:room]


def _model(shown: _Shown) -> tuple[Any, ...]:
    config = shown.trial.config
    return config.decoder, config.encoder, config.freeze, config.image_size, config.batch_size


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
