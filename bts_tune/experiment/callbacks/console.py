"""Shows a person how a run goes: one live table in a terminal, plain lines where the output is piped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bts_tune.experiment.planning.plan import PlannedTrial
from bts_tune.results.objective import DICE_LOSS, Objective
from bts_tune.results.status import STATUSES, TrialStatus

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
    """

    def __init__(
        self, console: Console, *, trials: int, epochs: int, concurrent: int, objective: Objective = DICE_LOSS
    ) -> None:
        self._console, self._objective = console, objective
        self._total, self._epochs, self._concurrent = trials, epochs, max(1, concurrent)
        self._shown: dict[str, _Shown] = {}
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
        self._console.print(f"{trial}: {reason}; {again} trained again", style="yellow", markup=False, soft_wrap=True)

    def row(self, trial: str, row: Mapping[str, Any]) -> None:
        """A trial finished an epoch; one that it had reported before is not counted."""
        shown = self._shown[trial]
        if row["epoch"] <= shown.epoch:
            return
        shown.epoch, shown.dice_loss, shown.iou = row["epoch"], row["val_dice_loss"], row["val_iou"]
        shown.value, shown.best = self._objective.value(row), row[self._objective.best_column]
        shown.seconds += row["seconds"]
        self._epochs_done += 1
        own = "" if self._objective.is_ranking_key else f"{self._objective.column} {shown.value:.4f}  "
        self._line(
            f"{trial}: epoch {shown.epoch}/{shown.epochs}  {own}val_dice_loss {shown.dice_loss:.4f}  "
            f"val_iou {shown.iou:.4f}  best {shown.best:.4f}  {row['seconds']:.1f} s"
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
        self._epochs_saved += shown.epochs - shown.epoch
        self._line(f"{trial}: {status}{': ' + reason if reason else ''}")

    def _line(self, text: str) -> None:
        if self._live is None:
            self._console.print(f"[{clock(self._elapsed())}] {text}", markup=False, highlight=False, soft_wrap=True)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _expected(self) -> str:
        """Return the time left, by the mean seconds of the epochs so far; what early stopping saved is left out."""
        seconds = [shown.seconds for shown in self._shown.values()]
        if not self._epochs_done:
            return "–"
        left = self._epochs - self._epochs_done - self._epochs_saved
        return clock(sum(seconds) / self._epochs_done * left / self._concurrent)

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("trial", "status"):
            table.add_column(name, no_wrap=True)
        own = () if self._objective.is_ranking_key else (f"val {self._objective.title}",)
        for name in ("epoch", *own, "val Dice loss", "IoU", f"best {self._objective.title} so far", "time"):
            table.add_column(name, justify="right", no_wrap=True)
        reached = (one.best for one in self._shown.values() if one.best is not None)
        leader = min(reached, key=self._objective.cost, default=None)
        shown = self._chosen()
        for one in shown:
            best = Text(_figure(one.best), style="bold green" if one.best is not None and one.best == leader else "")
            table.add_row(
                one.trial.trial + ("*" if one.trial.baseline else ""),
                Text(one.status, style=STATUSES[one.status].style),
                f"{one.epoch}/{one.epochs}",
                *([_figure(one.value)] if own else []),
                _figure(one.dice_loss),
                _figure(one.iou),
                best,
                clock(one.seconds),
            )
        hidden = len(self._shown) - len(shown)
        line = (
            f"{self._ended} of {self._total} trials ended   elapsed {clock(self._elapsed())}   "
            f"expected end in {self._expected()}"
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


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
