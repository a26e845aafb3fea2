"""The tables of configurations: the ranking, every seed of each, the test split, and how the search flattered them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from bts_tune.report.blocks import Block, Cell, Code, paragraph, table
from bts_tune.report.context import MAX_ROWS, Page, epoch_cell, rest, time_cell
from bts_tune.report.wording import MISSING, count, duration, gained, interval, mean_and_spread, metric, spread_words
from bts_tune.results.comparison import Evidence
from bts_tune.results.configurations import Configuration, configurations, result_stage
from bts_tune.results.leaderboard import is_ranked, total_seconds
from bts_tune.results.naming import role
from bts_tune.results.optimism import mean_excess, optimism
from bts_tune.results.run_folder import TrialRecord
from bts_tune.results.settings import setting, settings
from bts_tune.text import plural


def ranked(page: Page) -> Iterable[Block]:
    """Yield the configurations that were trained to the full budget, best first."""
    ranked = configurations(page.trials)
    if not ranked:
        yield paragraph("No trial has been trained to its full budget, so nothing is ranked.")
        return
    compared = page.evidence.splits.get("valid")
    repeated = any(one.planned > 1 for one in ranked)
    header = ["rank", "name", "role", *(["trainings"] if repeated else []), "validation Dice loss"]
    header += [*(["95 % interval"] if compared else []), "IoU", "Dice per image", "training Dice loss", "best epoch"]
    header += ["time", "parameters", *([] if repeated else ["seed"]), "settings"]
    rows = []
    for rank, one in enumerate(ranked[:MAX_ROWS], start=1):
        parameters = one.best.started.get("parameters")
        seconds = [total_seconds(record) or 0.0 for record in one.trials]
        rows.append(
            [
                rank,
                one.name,
                role(one),
                *([f"{len(one.trials)} of {one.planned}"] if repeated else []),
                _spread(one, "val_dice_loss"),
                *([_interval(page.evidence, one)] if compared else []),
                _spread(one, "val_iou"),
                _mean(one, "val_dice_image"),
                _mean(one, "train_dice_loss"),
                _epochs(one),
                Cell(duration(statistics.fmean(seconds)), statistics.fmean(seconds)),
                Cell(count(parameters), parameters),
                *([] if repeated else [setting(one.best, "seed")]),
                settings(one.best, page.varied),
            ]
        )
    yield paragraph(
        ("Configurations of the final stage" if result_stage(page.trials) == "final" else "Configurations")
        + " trained to the full budget, by validation Dice loss, then IoU, each training at its best epoch"
        + (f"; {_over_trainings(ranked)}" if repeated else "")
        + ". Settings are the model, the learning rate and what else differs between trials and from the program's "
        "defaults; ",
        Code("configurations.csv"),
        " and ",
        Code("leaderboard.csv"),
        " have every setting and metric, of configurations and of trials, ",
        Code("epochs.csv"),
        " every epoch.",
    )
    yield table(header, rows, right=(0, *range(3, len(header) - 1)))
    yield from rest(ranked, "configuration", "configurations.csv")
    nowhere = _never_finished(page.trials)
    if nowhere:
        yield paragraph(f"Not ranked, as none of its trainings reached the full budget: {', '.join(nowhere)}.")


def _never_finished(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the names of the final stage's configurations without a full-budget training."""
    final = [record for record in trials if record.stage == "final"]
    ranked = {(record.name, record.recipe_id) for record in final if is_ranked(record)}
    return list(dict.fromkeys(record.name for record in final if (record.name, record.recipe_id) not in ranked))


def over_seeds(page: Page) -> Iterable[Block]:
    """Yield every training of the configurations that have more than one, with mean and spread."""
    several = [one for one in configurations(page.trials) if len(one.trials) > 1]
    if not several:
        return
    folds = any(one.folds for one in several)
    tested = any(one.values("test_dice_loss") for one in several)
    header = ["name", "role", "seed", *(["fold"] if folds else []), "validation Dice loss", "IoU"]
    header += [*(["test Dice loss", "test IoU"] if tested else []), "best epoch", "time"]
    rows = []
    for one in several[:MAX_ROWS]:
        trainings = [
            [
                one.name,
                role(one),
                setting(record, "seed"),
                *([record.fold or MISSING] if folds else []),
                metric((record.best_row or {}).get("val_dice_loss")),
                metric((record.best_row or {}).get("val_iou")),
                *([metric(record.test.get("test_dice_loss")), metric(record.test.get("test_iou"))] if tested else []),
                epoch_cell(record),
                time_cell(record),
            ]
            for record in one.trials
        ]
        summary = [f"mean of {len(one.trials)}", *([MISSING] if folds else [])]
        shown = ["val_dice_loss", "val_iou", *(["test_dice_loss", "test_iou"] if tested else [])]
        rows += trainings
        rows.append([one.name, role(one), *summary, *(_spread(one, name) for name in shown), MISSING, MISSING])
    yield paragraph(
        "Every training of the configurations that have more than one"
        + (", seed by seed and fold by fold" if folds else ", seed by seed")
        + f", at its own best epoch; {_over_trainings(several)}."
    )
    yield table(header, rows, right=range(2, len(header)))
    if len(several) > MAX_ROWS:
        yield from rest(several, "configuration", "leaderboard.csv")


def on_test_split(page: Page) -> Iterable[Block]:
    """Yield the figures of the test split: of a final stage, or of the best and the baselines."""
    ranked = configurations(page.trials)
    shown = [
        (place, one)
        for place, one in enumerate(ranked)
        if one.values("test_dice_loss") and (place == 0 or one.baseline or result_stage(page.trials) == "final")
    ]
    if not shown:
        yield paragraph("No trial has been evaluated on the test split.")
        return
    compared = page.evidence.splits.get("test")
    keys = ("dice_image", "iou_image", "empty_false_positive_rate")
    repeated = any(len(one.values("test_dice_loss")) > 1 for _, one in shown)
    header = ["rank", "name", "role", *(["trainings"] if repeated else [])]
    header += ["Dice loss", *(["95 % interval"] if compared else []), "IoU"]
    header += ["Dice per image", "IoU per image", "empty false-positive rate"]
    rows = []
    for place, one in shown[:MAX_ROWS]:
        rows.append(
            [
                place + 1,
                one.name,
                "; ".join(title for title in ("best" if place == 0 else "", role(one)) if title),
                *([len(one.values("test_dice_loss"))] if repeated else []),
                _spread(one, "test_dice_loss"),
                *([_interval(page.evidence, one, "test")] if compared else []),
                _spread(one, "test_iou"),
                *(_mean(one, f"test_{key}") for key in keys),
            ]
        )
    yield paragraph(
        "Each training computed once, with the weights of the epoch that was best on the validation split. These "
        "figures were never used to choose anything; rank is that of the validation split."
        + (f" Where there are several trainings: {_over_trainings([one for _, one in shown])}." if repeated else "")
    )
    yield table(header, rows, right=(0, *range(3, len(header))))
    yield from rest([one for _, one in shown], "configuration", "configurations.csv")


def search_optimism(page: Page) -> Iterable[Block]:
    """Yield what the search promised of the configurations of the final stage, beside what they came to."""
    found = optimism(page.trials)
    if not found:
        return
    # A trial that the search stopped early shows how far it had come, not what the search promised.
    full = [one for one in found if one.origin.full_budget]
    chosen = [one for one in full if not one.configuration.baseline]
    told = []
    for one in found:
        if one.crowned:
            told.append(
                f"The search ranked {one.configuration.name} first, with a Dice loss of {metric(one.searched)}; the "
                f"mean of its final stage is {metric(one.configuration.dice_loss)}, which differs by "
                f"{gained(one.excess)}"
            )
    for group, text in ((chosen, "that the search chose"), ([one for one in full if one not in chosen], "not chosen")):
        mean = mean_excess(group)
        if mean is not None:
            noun = "configuration" if group is chosen else "baseline"
            told.append(f"over the {plural(len(group), noun)} {text}, the mean difference is {gained(mean)}")
    if len(full) < len(found):
        told.append(f"{plural(len(found) - len(full), 'trial')} that the search stopped early left out of the means")
    sentence = "; ".join(told)
    yield paragraph(
        f"{sentence[:1].upper()}{sentence[1:]}. Above zero, the search promised too much: its figure is the best epoch "
        "of one seed, and it chose the configurations by that very figure. Baselines are trained whatever the search "
        "finds, so theirs is of the one seed alone."
    )
    rows = [
        [
            one.configuration.name,
            "; ".join(text for text in ("first in the search" if one.crowned else "", role(one.configuration)) if text),
            metric(one.searched) + ("" if one.origin.full_budget else f" (stopped after {len(one.origin.rows)})"),
            _spread(one.configuration, "val_dice_loss"),
            gained(one.excess) if one.origin.full_budget else MISSING,
        ]
        for one in found[:MAX_ROWS]
    ]
    header = ["name", "role", "in the search", "in the final stage", "difference"]
    yield table(header, rows, right=(2, 3, 4))


def _interval(evidence: Evidence, one: Configuration, split: str = "valid") -> str:
    """Return a configuration's interval, or a dash where its scores are not those of all its trainings."""
    compared = evidence.splits.get(split)
    place = compared.place(one) if compared else None
    if compared is None or place is None or not all(record.trial in evidence.scores for record in one.trials):
        return MISSING
    return interval(compared.resampled.dice_loss[place])


def _spread(one: Configuration, name: str) -> str:
    return mean_and_spread(one.values(name))


def _over_trainings(shown: Sequence[Configuration]) -> str:
    return f"over the trainings of a configuration, {spread_words(len(one.trials) for one in shown)}"


def _mean(one: Configuration, name: str) -> str:
    values = one.values(name)
    return metric(statistics.fmean(values) if values else None)


def _epochs(one: Configuration) -> str:
    epochs = sorted({int(epoch) for epoch in one.values("epoch")})
    shown = str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    return f"{shown} of {setting(one.best, 'epochs')}"
