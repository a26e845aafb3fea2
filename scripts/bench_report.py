"""Writes a synthetic run and measures `bts-tune report` on it: seconds, processor time and peak memory.

    python scripts/bench_report.py
    python scripts/bench_report.py --trials 2000 --final-top 5 --final-seeds 3 --keep /tmp/run

Every figure of the run is invented. The report is made by a process of its own: its peak is not that of writing.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.config import TrialConfig
from bts_tune.results.record.run_folder import FORMAT, RunFolder
from bts_tune.results.record.scores import SUMS, Scores, SplitScores

BASELINES = ("unet-b0", "unet-b0-frozen", "unetplusplus-b5")
IMAGES = {"valid": 429, "test": 215}


def write(folder: Path, trials: int, epochs: int, top: int, seeds: int, random: np.random.Generator) -> RunFolder:
    """Write a finished run: baselines, a search, every trial to the full budget, and a final stage, if asked."""
    run = RunFolder.create(folder, {"format": FORMAT, "run": folder.name, "status": "complete", "profile": "data"})
    events: list[str] = []
    rows: list[str] = []
    best: list[tuple[float, str, dict[str, Any]]] = []
    for index in range(trials):
        baseline = index < len(BASELINES)
        name = BASELINES[index] if baseline else f"search-{index:05d}"
        config = {"epochs": epochs, **searched_settings(random)}
        floor = 0.2 + 0.2 * float(random.beta(2, 4))
        best.append((floor, name, config))
        write_trial(run, name, name, index, baseline, config, floor, random, events, rows, baseline)
    if top:
        searched = sorted(one for one in best if one[1] not in BASELINES)[:top]
        chosen = [*searched, *(one for one in best if one[1] in BASELINES)]
        index = trials
        for floor, name, config in chosen:
            for seed in range(1, seeds + 1):
                level = floor + 0.01 + 0.006 * float(random.normal())
                trial, settings = f"final-{name}-s{seed}", {**config, "seed": seed}
                named = name in BASELINES
                write_trial(run, trial, name, index, named, settings, level, random, events, rows, True, origin=name)
                index += 1
    run.trials_file.write_text("".join(events))
    run.rows_file.write_text("".join(rows))
    return run


def searched_settings(random: np.random.Generator) -> dict[str, Any]:
    """Draw what a search over about ten hyperparameters would: importance and plots take their time for each."""
    return {
        "learning_rate": float(10 ** random.uniform(-5, -2)),
        "weight_decay": float(10 ** random.uniform(-6, -2)),
        "batch_size": int(random.choice([8, 16, 32])),
        "bce_weight": float(random.uniform(0.2, 4)),
        "decoder": str(random.choice(["unet", "unetplusplus", "manet", "fpn"])),
        "decoder_dropout": float(random.uniform(0, 0.6)),
        "head_dropout": float(random.uniform(0, 0.6)),
        "equalization": str(random.choice(["none", "histogram", "clahe"])),
        "augmentation": str(random.choice(["none", "light", "medium", "strong"])),
        "schedule": str(random.choice(["constant", "cosine"])),
    }


def write_trial(
    run: RunFolder,
    trial: str,
    name: str,
    index: int,
    baseline: bool,
    config: dict[str, Any],
    floor: float,
    random: np.random.Generator,
    events: list[str],
    rows: list[str],
    scored: bool,
    origin: str | None = None,
) -> None:
    parsed = TrialConfig.parse(config)
    length = parsed.epochs

    def add(event: str, **fields: Any) -> None:
        events.append(json.dumps({"event": event, "trial": trial, "time": 1.7e9 + index, **fields}) + "\n")

    stage = {"stage": "final" if origin else "search", "origin": origin}
    planned = {"name": name, "index": index, "baseline": baseline, "changed": [], "published": None}
    add("planned", **planned, config=parsed.to_dict(), config_id=parsed.config_id, recipe_id=parsed.recipe_id, **stage)
    add("started")
    add("opened", device="cuda", parameters=6_251_469, trainable_parameters=6_251_469)
    losses = floor + 0.7 * np.exp(-np.arange(1, length + 1) / 4) + 0.01 * np.abs(random.normal(size=length))
    low = np.minimum.accumulate(losses)
    for epoch, loss in enumerate(losses.tolist(), start=1):
        rows.append(json.dumps(row(trial, epoch, loss, float(low[epoch - 1]), 1.7e9 + 50 * index + epoch)) + "\n")
    add("ended", status="complete", reason="")
    if scored:
        add("evaluated", metrics={"test_dice_loss": floor + 0.02, "test_iou": 0.9 - floor, "test_dice_image": 0.7})
        file = run.scores_file(trial)
        file.parent.mkdir(parents=True, exist_ok=True)
        best = int(losses.argmin()) + 1
        file.write_bytes(Scores(best, 224**2, dict(invented_scores(floor, random))).to_bytes())


def row(trial: str, epoch: int, loss: float, best: float, when: float) -> dict[str, Any]:
    return {
        "trial": trial,
        "epoch": epoch,
        "train_loss": loss * 1.3,
        "train_dice_loss": loss * 0.9,
        "val_loss": loss * 1.5,
        "val_dice_loss": loss,
        "val_iou": (1 - loss) / (1 + loss),
        "val_dice_image": 0.97 - loss,
        "val_iou_image": 0.87 - loss,
        "val_empty_false_positive_rate": None,
        "best_val_dice_loss": best,
        "best_epoch": epoch,
        "learning_rate": 1e-3,
        "trainable_parameters": 6_251_469,
        "seconds": 41.5,
        "train_seconds": 36.0,
        "images_per_second": 41.7,
        "time": when,
    }


def invented_scores(loss: float, random: np.random.Generator) -> Iterator[tuple[str, SplitScores]]:
    for split, images in IMAGES.items():
        truth = random.integers(200, 4000, images).astype(float)
        found = np.floor(np.clip(1 - loss + 0.2 * random.normal(size=images), 0, 1) * truth)
        sums = np.zeros((images, len(SUMS)))
        values = (found, truth - found, truth - found, found, truth, truth)
        for column, content in enumerate(values):
            sums[:, column] = content
        names = tuple(f"{split}/{number:04d}.jpg" for number in range(images))
        yield split, SplitScores(names, sums, random.uniform(0.1, 0.5, images), random.uniform(0.1, 0.3, images))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--trials", type=int, default=10_000, help="trials of the search (10000)")
    parser.add_argument("--epochs", type=int, default=35, help="epochs of each, all of them trained (35)")
    parser.add_argument("--final-top", type=int, default=0, help="configurations of a final stage (0: none)")
    parser.add_argument("--final-seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the run here and leave it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch) / "run"
        sizes = (arguments.trials, arguments.epochs, arguments.final_top, arguments.final_seeds)
        run = write(folder, *sizes, np.random.default_rng(0))
        lines = sum(1 for _ in run.rows_file.open())
        begun = time.perf_counter()
        code = subprocess.run([sys.executable, "-m", "bts_tune", "report", str(folder)], stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begun
    if code.returncode:
        return code.returncode
    # The report is the only child, so what children took is what it took. Kibibytes on Linux.
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak, processor = used.ru_maxrss / 1024, used.ru_utime + used.ru_stime
    final = f", final stage of {arguments.final_top} + {len(BASELINES)} x {arguments.final_seeds}"
    print(
        f"{arguments.trials} trials, {lines} rows{final if arguments.final_top else ''}: "
        f"report in {seconds:.1f} s, of which the processor took {processor:.1f} s, peak {peak:.0f} MiB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
