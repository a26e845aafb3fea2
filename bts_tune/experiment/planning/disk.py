"""What a run will write, estimated before it trains anything, and refused where there is no room for it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bts_tune.errors import RunError
from bts_tune.space import ResolvedSpace

BYTES_OF_A_FIGURE = 4  # weights and optimiser states are float32
OPTIMIZER_STATES = 2  # Adam's moments; SGD keeps one
# Rows, TensorBoard and Ray's own log of it, an epoch; the same, samples and scores a trial; report and figures a run.
BYTES_OF_AN_EPOCH = 8 * 2**10
BYTES_OF_A_TRIAL = 2**18
BYTES_OF_A_REPORT = 2**23


@dataclass(frozen=True)
class DiskUsage:
    """Bytes that a run will take on disk at most.

    Attributes:
        running: checkpoints of the trials that run at a time: the last state, the best weights, and a second copy of
            the state while it is replaced, all of the largest model.
        kept: weights of every baseline in each fold, of the best trial, and of the whole final stage.
        logs: the record, logs and report.
    """

    running: int
    kept: int
    logs: int

    @property
    def total(self) -> int:
        """Everything together."""
        return self.running + self.kept + self.logs


def estimate_disk_usage(
    space: ResolvedSpace, parameters: Mapping[tuple[str, str], int], concurrent: int, folds: int = 1
) -> DiskUsage:
    """Estimate what a run writes into its folder.

    Args:
        space: its trials.
        parameters: of each model, by (decoder, encoder).
        concurrent: how many trials run at a time.
        folds: how often each named trial is run.
    """
    largest = max(parameters.values()) * BYTES_OF_A_FIGURE
    averages: set[str] = {named.in_full.weight_average for named in space.named}
    if space.search is not None:
        averages |= space.search.all_weight_averages()
    # The average stands beside the weights that it is made of.
    state = largest * (1 + OPTIMIZER_STATES + bool(averages - {"none"}))
    baselines = [named for named in space.named if named.baseline]
    seeds = Counter(named.name for named in space.named)
    kept = sum(
        parameters[named.config.decoder, named.config.encoder] * BYTES_OF_A_FIGURE
        for named in space.named
        if named.baseline or seeds[named.name] > 1
    )
    kept *= folds
    epochs = [named.config.epochs for named in space.named] * folds
    if space.final is not None:
        repeated = (space.final.top + len(baselines)) * space.final.seeds
        kept += repeated * largest
        epochs += [max((named.in_full.epochs for named in space.named), default=0)] * repeated
    if space.search is not None:
        epochs += [space.search.epochs] * space.search.num_trials
    logs = sum(epochs) * BYTES_OF_AN_EPOCH + len(epochs) * BYTES_OF_A_TRIAL + BYTES_OF_A_REPORT
    return DiskUsage(running=concurrent * (2 * state + largest), kept=kept + largest, logs=logs)


def require_free_space(folder: Path, needed: int, what: str) -> str:
    """Return a sentence on what is needed and free; the file system is that of `folder`'s nearest existing parent.

    Args:
        folder: where it will be written.
        needed: bytes beside those that lie there already.
        what: what the bytes are, for the sentence.

    Raises:
        RunError: there is less room than that; the sentence names both figures.
    """
    free = shutil.disk_usage(_existing(folder)).free
    if needed > free:
        raise RunError(
            f"{folder}: {what} may take {size_text(needed)}, and the file system has {size_text(free)} free; make room "
            "or name another folder (--results, --cache)."
        )
    return f"{what}: at most {size_text(needed)} ({size_text(free)} free)"


def bytes_on_disk(folders: Iterable[Path]) -> int:
    """Return the bytes of all files in some folders."""
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def size_text(size: float) -> str:
    """Write a number of bytes as '1.5 GiB'."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
