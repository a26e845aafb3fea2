"""Invented runs, for tests of what reads a run. Every number here is made up: none was ever measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bts_tune.config import TrialConfig
from bts_tune.results.ranking.leaderboard import ranking
from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.results.record.run_folder import RunFolder, Stage, TrialRecord
from bts_tune.results.record.scores import Scores, Shapes, SplitScores

BASELINES: dict[str, dict[str, Any]] = {
    "unet-b0": {"decoder_dropout": 0.5, "head_dropout": 0.5},
    "unet-b0-frozen": {"freeze": "all", "decoder_dropout": 0.5, "head_dropout": 0.5},
    "unetplusplus-b5": {"decoder": "unetplusplus", "encoder": "efficientnet-b5", "learning_rate": 1e-4},
}
_WHY_SHOWN = ("best", "best", "median", "worst", "missed", "false alarm")
PUBLISHED: dict[str, Any] = {"dice_loss": 0.3057, "iou": 0.5426}


def make_row(trial: str, epoch: int, dice_loss: float, iou: float | None = None, **changes: Any) -> dict[str, Any]:
    """One epoch; whatever is not given follows from the Dice loss."""
    row = {
        "trial": trial,
        "epoch": epoch,
        "train_loss": dice_loss * 1.4,
        "train_dice_loss": dice_loss * 0.8,
        "val_loss": dice_loss * 1.6,
        "val_dice_loss": dice_loss,
        "val_iou": (1 - dice_loss) / (1 + dice_loss) if iou is None else iou,
        "val_dice_image": max(0.0, 0.97 - dice_loss),
        "val_iou_image": max(0.0, 0.87 - dice_loss),
        "val_empty_false_positive_rate": None,
        "best_val_dice_loss": dice_loss,
        "best_epoch": epoch,
        "learning_rate": 1e-3,
        "trainable_parameters": 6_251_469,
        "seconds": 41.5,
        "train_seconds": 36.0,
        "images_per_second": 41.7,
        "time": 1.7e9 + 41.5 * epoch,
    }
    return row | changes


def make_curve(trial: str, epochs: int, floor: float, seed: int = 0, speed: float = 6.0) -> list[dict[str, Any]]:
    """A noisy learning curve that falls towards `floor` and overfits a little at its end."""
    random = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    best, best_epoch = math.inf, 0
    for epoch in range(1, epochs + 1):
        train = floor * 0.9 + (0.93 - floor) * math.exp(-epoch / speed) - 0.0022 * epoch + random.normal(0, 0.006)
        loss = floor + (0.95 - floor) * math.exp(-epoch / speed) + 0.0012 * epoch + random.normal(0, 0.014)
        loss = min(max(loss, 0.02), 0.999)
        if loss < best:
            best, best_epoch = loss, epoch
        iou = (1 - loss) / (1 + loss) + random.normal(0, 0.004)
        rows.append(
            make_row(
                trial,
                epoch,
                loss,
                iou,
                train_dice_loss=max(train, 0.01),
                best_val_dice_loss=best,
                best_epoch=best_epoch,
            )
        )
    return rows


def make_trial(
    trial: str,
    *,
    name: str | None = None,
    index: int = 0,
    status: Any = "complete",
    rows: list[dict[str, Any]] | None = None,
    baseline: bool = False,
    changed: list[str] | None = None,
    published: dict[str, Any] | None = None,
    reason: str = "",
    test: dict[str, Any] | None = None,
    stage: Stage = "search",
    origin: str | None = None,
    fold: int | None = None,
    aim: Objective = DICE_LOSS,
    **config: Any,
) -> TrialRecord:
    """Return a trial; `config` are fields of its `TrialConfig`."""
    parsed = TrialConfig.parse({"objective": aim.metric.replace("_", "-"), **config})
    return TrialRecord(
        trial=trial,
        name=trial if name is None else name,
        index=index,
        baseline=baseline,
        changed=changed or [],
        published=published,
        config=parsed.to_dict(),
        config_id=parsed.config_id,
        recipe_id=parsed.recipe_id,
        stage=stage,
        origin=origin,
        fold=fold,
        status=status,
        reason=reason,
        started={} if status == "waiting" else started(),
        rows=rows or [],
        test=test or {},
        objective=aim,
    )


def started() -> dict[str, Any]:
    """Return what a trial reported as it began."""
    return {
        "device": "cpu",
        "parameters": 6_251_469,
        "trainable_parameters": 6_251_469,
        "precision": "float32",
        "torch_threads": 2,
        "started": "2024-05-01T10:00:00+00:00",
    }


def make_test(dice_loss: float) -> dict[str, Any]:
    """Return metrics of the test split; all follow from the Dice loss."""
    return {
        "test_dice_loss": dice_loss,
        "test_iou": (1 - dice_loss) / (1 + dice_loss),
        "test_dice_image": 0.97 - dice_loss,
        "test_iou_image": 0.87 - dice_loss,
        "test_empty_false_positive_rate": 0.25,
        "test_loss": dice_loss * 1.6,
    }


def make_baselines(epochs: int = 35, seeds: int = 1, changed: list[str] | None = None) -> list[TrialRecord]:
    """Return the three documented models, complete."""
    records = []
    for position, (name, fields) in enumerate(BASELINES.items()):
        for seed in range(seeds):
            trial = f"{name}-s{seed}"
            floor = (0.24, 0.31, 0.22)[position] + 0.006 * seed
            records.append(
                make_trial(
                    trial,
                    name=name,
                    index=position * seeds + seed,
                    baseline=True,
                    changed=changed,
                    published=PUBLISHED if name == "unetplusplus-b5" else None,
                    rows=make_curve(trial, epochs, floor, seed=10 * position + seed, speed=epochs / 6),
                    test=make_test(floor + 0.02),
                    epochs=epochs,
                    seed=seed,
                    **fields,
                )
            )
    return records


def make_search(epochs: int = 35, searched: int = 9, **kwargs: Any) -> list[TrialRecord]:
    """Baselines and a search: a third of it complete, most of the rest stopped early, one diverged, one failed."""
    records = make_baselines(epochs, **kwargs)
    for number in range(searched):
        trial = f"t{number:04d}"
        fields: dict[str, Any] = {
            "epochs": epochs,
            "decoder": ("unet", "fpn", "manet")[number % 3],
            "encoder": ("efficientnet-b0", "resnet34", "timm-regnety_016")[number % 3],
            # Told apart where it shows to three digits: equal configurations would be one.
            "learning_rate": 10 ** (-2 - 0.3 * number % 2) * (1 + 1e-6 * number),
            "augmentation": ("none", "light", "medium")[number % 3],
            "equalization": ("clahe", "none")[number % 2],
        }
        status, reason, length = "complete", "", epochs
        if number >= searched // 3:
            status, reason, length = "stopped", "the scheduler stopped it at a rung", max(1, epochs // 4)
        if number == searched - 2:
            status, reason, length = "diverged", "the loss was not finite in epoch 3", min(2, epochs)
        if number == searched - 1:
            status, reason, length = "failed", "out of memory: 512 MiB asked for with batch_size 64", 0
        rows = make_curve(trial, length, 0.17 + 0.02 * number, seed=100 + number, speed=epochs / 7)
        test = make_test(0.2) if number == 0 else None
        records.append(
            make_trial(trial, index=len(records), status=status, reason=reason, rows=rows, test=test, **fields)
        )
    return records


def make_final(
    trials: list[TrialRecord], *, top: int = 2, seeds: int = 3, folds: int | None = None, optimism: float = 0.015
) -> list[TrialRecord]:
    """The final stage after a search: its best configurations and its baselines again, worse by about `optimism`."""
    searched = [record for record in ranking(trials) if not record.baseline][:top]
    baselines = {record.name: record for record in trials if record.baseline}
    records: list[TrialRecord] = []
    for origin in [*searched, *baselines.values()]:
        assert origin.best_row is not None
        for seed in range(1000, 1000 + seeds):
            for fold in range(1, folds + 1) if folds else [None]:
                noise = np.random.default_rng([seed, fold or 0, origin.index]).normal(0, 0.006)
                floor = origin.best_row["val_dice_loss"] + optimism + noise
                trial = f"final-{origin.trial}-{seed}" + (f"-f{fold}" if fold else "")
                epochs = origin.config["epochs"]
                best = make_row(trial, epochs, floor, train_dice_loss=floor * 0.6)
                rows = [make_row(trial, epoch, floor + 0.8 * 0.8**epoch) for epoch in range(1, epochs)] + [best]
                records.append(
                    make_trial(
                        trial,
                        name=origin.name,
                        index=len(trials) + len(records),
                        baseline=origin.baseline,
                        changed=origin.changed,
                        published=origin.published,
                        rows=rows,
                        test=make_test(floor + 0.02),
                        stage="final",
                        origin=origin.trial,
                        fold=fold,
                        **{**origin.config, "seed": seed},
                    )
                )
    return records


def make_split(method: str = "provided", digest: str = "5ca1ab1e" * 8, related: float = 0.86) -> dict[str, Any]:
    """Return a split and what leaks in it, as `run.json` has it."""
    leak = {"valid": {"related_share": related, "look_alike_share": 0.72}, "test": {"related_share": related}}
    sizes = {"train": 1502, "valid": 429, "test": 215}
    return {
        "method": method,
        "seed": 0,
        "group_by": None,
        "hash": digest,
        "groups": {"count": 389, "largest": 69, "median": 5.0, "in_several_splits": 211},
        "splits": {
            name: {"images": images, "groups": 150, "largest_group": 60, "tumor_share": 0.031}
            for name, images in sizes.items()
        },
        "leak": {"leaks": method == "provided", "splits": leak},
    }


def make_check() -> dict[str, Any]:
    """Return what a data check found, as `run.json` has it."""
    split = {
        "images": 1502,
        "without_tumor": 3,
        "several_annotations": 7,
        "sizes": {"640x640": 1502},
        "tumor_share": {"0": 0.0004, "0.5": 0.031, "1": 0.12},
    }
    return {"errors": {}, "warnings": {"no-tumor": 3}, "splits": {"train": split}}


def make_run(**changes: Any) -> dict[str, Any]:
    """Return the content of `run.json`; `changes` replace its fields."""
    run: dict[str, Any] = {
        "run": "spring-search",
        "created": "2024-05-01T10:00:00+00:00",
        "command": ["bts-tune", "--space", "extended", "--data", "scans/brain tumours"],
        "status": "complete",
        "ended": "2024-05-01T14:12:00+00:00",
        "profile": "data",
        "versions": {"python": "3.11.9", "bts-tune": "0.1.0", "torch": "2.6.0", "ray": "2.60.0"},
        "hardware": {"cpu": "Imaginary 9000", "cores": 2, "memory_gib": 24.0, "gpus": []},
        "dataset": {
            "path": "scans/brain tumours",
            "layout": "coco",
            "fingerprint": "9f2c51aa0b7d",
            "content": "77aa77aa",
            "split": make_split(),
            "splits": {"train": 1502, "valid": 429, "test": 215},
            "categories": {"1": "0", "2": "1"},
            "check": make_check(),
        },
        "space": {"name": "extended", "search": {"learning_rate": {"log_uniform": [1e-5, 1e-2]}}},
        "options": {"num_trials": 12, "epochs": 35},
        "seeds": [0],
        "device": "cpu",
    }
    return run | changes


def make_samples(slices: int = 6, size: int = 96, seed: int = 0) -> dict[str, Any]:
    """Head-like discs with an ellipse for a tumour and a prediction that drifts further from it slice by slice."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    head = (((x - 0.5) / 0.38) ** 2 + ((y - 0.5) / 0.46) ** 2) < 1
    images, truths, probabilities, iou = [], [], [], []
    for number in range(slices):
        cx, cy = 0.5 + random.uniform(-0.15, 0.15, 2)
        radius = random.uniform(0.07, 0.13)
        shift = 0.025 * number
        truth = ((x - cx) ** 2 + (y - cy) ** 2) < radius**2
        distance = np.hypot(x - cx - shift, (y - cy) * 1.15)
        probability = 1 / (1 + np.exp((distance - radius) * 60))
        picture = head * (90 + 30 * np.sin(9 * x) * np.cos(7 * y)) + truth * 70 + random.normal(0, 8, (size, size))
        predicted = probability >= 0.5
        images.append(np.clip(picture, 0, 255))
        truths.append(truth)
        probabilities.append(probability)
        iou.append((truth & predicted).sum() / (truth | predicted).sum())
    return {
        "images": np.stack(images).astype(np.uint8),
        "truths": np.stack(truths).astype(np.uint8),
        "probabilities": np.stack(probabilities).astype(np.float16),
        "names": np.array([f"{1200 + 37 * number}_jpg.rf.0a1b2c3d4e5f" for number in range(slices)]),
        "iou": np.array(iou),
        "kind": np.array([_WHY_SHOWN[number % len(_WHY_SHOWN)] for number in range(slices)]),
    }


def write_run(path: Path, trials: list[TrialRecord], run: dict[str, Any] | None = None) -> RunFolder:
    """Write the records as a run would have written them."""
    folder = RunFolder.create(path, run or make_run())
    for record in trials:
        folder.append_event(
            "planned",
            record.trial,
            name=record.name,
            index=record.index,
            baseline=record.baseline,
            changed=record.changed,
            published=record.published,
            config=record.config,
            config_id=record.config_id,
            recipe_id=record.recipe_id,
            stage=record.stage,
            origin=record.origin,
            fold=record.fold,
            **({"full": record.full} if record.full else {}),
        )
    for record in trials:
        if record.status != "waiting":
            folder.append_event("started", record.trial)
            folder.append_event("opened", record.trial, **record.started)
        for row in record.rows:
            folder.append_row(row)
        if record.status not in ("waiting", "running"):
            folder.append_event("ended", record.trial, status=record.status, reason=record.reason)
        if record.test:
            folder.append_event("evaluated", record.trial, metrics=record.test)
    return folder


def write_samples(folder: RunFolder, trial: str, **kwargs: Any) -> None:
    """Write predicted slices of a trial; `kwargs` are of `make_samples`."""
    file = folder.samples_file(trial)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **make_samples(**kwargs))


def make_sums(images: int, quality: float, *, spread: float = 0.1, empty: int = 0, seed: int = 0) -> np.ndarray:
    """Sums of each image, as `results.scores.SUMS` names them, under a model whose Dice lies around `quality`.

    The same seed gives the same tumours and the same difficult images, whatever the quality; the last `empty` images
    hold no tumour.
    """
    random = np.random.default_rng(seed)
    truth = random.integers(60, 900, images).astype(float)
    truth[images - empty :] = 0
    share = np.clip(quality + random.normal(0, spread, images), 0, 0.99)
    found = np.floor(share * truth)
    alarms = np.floor((1 - share) * random.uniform(60, 500, images))
    overlap = 0.95 * found
    return np.stack([found, alarms, truth - found, overlap, found + alarms, truth], axis=1)


def make_shapes(sums: np.ndarray, *, size: int = 96, seed: int = 0) -> Shapes:
    """Shapes that go with sums: one square a tumour, a predicted one that is off by what the sums say."""
    random = np.random.default_rng(seed + 5)
    dice = 2 * sums[:, 0] / np.maximum(2 * sums[:, 0] + sums[:, 1] + sums[:, 2], 1)
    tumour = sums[:, 5] > 0
    side = np.sqrt(sums[tumour, 5])
    corner = random.uniform(0, size - side.max(initial=1), (tumour.sum(), 2))
    place = np.flatnonzero(tumour).astype(float)
    true_boxes = np.column_stack([place, corner, side, side])
    boxes = np.column_stack([true_boxes + np.outer((1 - dice[tumour]) * side, [0, 1, 0, 0, 0]), 0.5 + dice[tumour] / 2])
    return Shapes(
        tolerance=2.0,
        hausdorff=np.where(tumour, (1 - dice) * 30, np.nan),
        surface_dice=np.where(tumour, dice, 0.0),
        false_positive_area=np.zeros(len(sums)),
        true_boxes=true_boxes,
        boxes=boxes,
    )


def make_scores(
    quality: float, *, epoch: int, images: int = 60, test: int = 30, size: int = 96, seed: int = 0
) -> Scores:
    """The scores of one trial; trials of one seed share their images."""

    def split(name: str, count: int, seed: int) -> SplitScores:
        random = np.random.default_rng(seed + 77)
        names = tuple(f"{name}/{number:03d}.png" for number in range(count))
        sums = make_sums(count, quality, seed=seed, empty=min(count // 10, 5))
        grey = random.uniform(0.1, 0.6, count), random.uniform(0.05, 0.3, count)
        return SplitScores(names, sums, *grey, make_shapes(sums, seed=seed))

    splits = {"valid": split("valid", images, seed)} | ({"test": split("test", test, seed + 1)} if test else {})
    return Scores(epoch, size**2, splits)


def write_scores(folder: RunFolder, record: TrialRecord, quality: float | None = None, **kwargs: Any) -> None:
    """Write scores that are about as good as the trial's best row."""
    best = record.best_row
    assert best is not None
    quality = 1 - best["val_dice_loss"] if quality is None else quality
    file = folder.scores_file(record.trial)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(make_scores(quality, epoch=best["epoch"], **kwargs).to_bytes())


def write_variant(
    folder: RunFolder, record: TrialRecord, name: str, quality: float, members: Sequence[str] = (), **kwargs: Any
) -> None:
    """Write and record what a trial's model scores in another way of using it; see `TrialRecord.variants`."""
    best = record.best_row
    assert best is not None
    file = folder.variant_scores_file(record.trial, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(make_scores(quality, epoch=best["epoch"], **kwargs).to_bytes())
    how = {"variant": name, "seconds": 65.0, "members": list(members) or [record.trial]}
    folder.append_event("variant", record.trial, metrics={}, **how)
