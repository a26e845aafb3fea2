"""What a run's report says: its answer, tables and figures, how they were made, and how far they can be trusted."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from bts_tune.report.answer import answer, headline, trust
from bts_tune.report.changes import changes
from bts_tune.report.configurations import Configuration, configurations, result_stage
from bts_tune.report.document import (
    Block,
    Bullets,
    Cell,
    Code,
    CodeBlock,
    Document,
    Picture,
    Section,
    Subheading,
    paragraph,
    table,
)
from bts_tune.report.evidence import Evidence
from bts_tune.report.importance import importance_section
from bts_tune.report.leaderboard import best_baselines, is_ranked, ordered, ranking, search_log, total_seconds
from bts_tune.report.methods import limits, methods
from bts_tune.report.optimism import mean_excess, optimism
from bts_tune.report.plots import device_time
from bts_tune.report.shapes import boundaries_and_boxes
from bts_tune.report.split import split_section
from bts_tune.report.views import comparisons, data_check, kinds_of_images
from bts_tune.report.words import (
    MISSING,
    STATUS_WORDS,
    count,
    demo_sentence,
    duration,
    gained,
    interval,
    is_demo,
    leak_sentence,
    mean_and_spread,
    metric,
    names,
    partial_sentence,
    plural,
    role,
    setting,
    settings,
    tags,
    varied_fields,
    with_role,
)
from bts_tune.store import TrialRecord

MAX_ROWS = 50
"""Longest table of trials; leaderboard.csv has them all."""

_FIGURES: Mapping[str, str] = {"dice_loss": "Dice loss", "iou": "IoU"}


@dataclass(frozen=True)
class Overlay:
    """Predictions of one trial: the figure's path within the run folder, or a sentence on why it is missing."""

    trial: TrialRecord
    file: str | None
    missing: str = ""


@dataclass(frozen=True)
class Figures:
    """The figures that were drawn, by their paths within the run folder."""

    curves: str | None = None
    history: str | None = None
    kinds: str | None = None
    marginals: str | None = None
    coordinates: str | None = None
    overlays: Sequence[Overlay] = field(default_factory=tuple)


@dataclass(frozen=True)
class _Page:
    run: Mapping[str, Any]
    trials: Sequence[TrialRecord]
    figures: Figures
    evidence: Evidence
    called: Mapping[str, str]
    varied: Sequence[str]


def document(
    run: Mapping[str, Any], trials: Sequence[TrialRecord], figures: Figures, evidence: Evidence | None = None
) -> Document:
    """Return the whole report; the same arguments give the same document.

    Args:
        run: the content of `run.json`.
        trials: its trials, in any order.
        figures: the figures to show.
        evidence: what the scores of single images say; nothing by default.
    """
    page = _Page(run, ordered(trials), figures, evidence or Evidence(), names(trials), varied_fields(trials))
    writers: list[tuple[str, Callable[[_Page], Iterable[Block]]]] = [
        ("Answer", _answer),
        ("Ranking", _ranking),
        ("Comparison", lambda page: comparisons(page.trials, page.evidence)),
        ("Over seeds", _over_seeds),
        ("Test split", _test),
        ("Optimism of the search", _optimism),
        ("Search log", _search_log),
        ("Stopped early", _stopped),
        ("Not finished", _unfinished),
        ("Diverged or failed", _failed),
        ("Published figures", _published),
        ("Learning curves", _curves),
        ("Search history", _history),
        ("Hyperparameters", _hyperparameters),
        ("Predictions", _predictions),
        ("Kinds of images", lambda page: kinds_of_images(page.trials, page.evidence, page.figures.kinds)),
        ("Boundaries and boxes", lambda page: boundaries_and_boxes(page.trials, page.evidence)),
        ("Best configuration", _best_configuration),
        ("Split", lambda page: split_section(page.run)),
        ("Data check", lambda page: data_check(page.run)),
        ("Changes during the run", lambda page: changes(page.run, page.trials)),
        ("Methods", lambda page: methods(page.run, page.trials)),
        ("Limits", lambda page: [paragraph(limits(page.run, page.trials))]),
    ]
    sections = [Section(title, tuple(write(page))) for title, write in writers]
    return Document(
        title=f"bts-tune: {run.get('run', 'run')}",
        banners=tuple(
            sentence for sentence in (demo_sentence(run), partial_sentence(run), leak_sentence(run)) if sentence
        ),
        tag=" · ".join(tags(run)),
        sections=tuple(section for section in sections if section.blocks),
    )


def _answer(page: _Page) -> Iterable[Block]:
    first = headline(page.trials, page.evidence)
    if first:
        yield paragraph(first, strong=True)
    yield paragraph(answer(page.trials), strong=not first)
    rests_on = trust(page.trials)
    if rests_on:
        yield paragraph(rests_on)
    reason = page.run.get("reason")
    if reason:
        yield paragraph(f"The run ended with: {reason}")


def _ranking(page: _Page) -> Iterable[Block]:
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
        + ("; mean ± sample standard deviation over the trainings of a configuration" if repeated else "")
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
    yield from _rest(ranked, "configuration", "configurations.csv")
    nowhere = _never_finished(page.trials)
    if nowhere:
        yield paragraph(f"Not ranked, as none of its trainings reached the full budget: {', '.join(nowhere)}.")


def _never_finished(trials: Sequence[TrialRecord]) -> list[str]:
    """Return the names of the final stage's configurations without a full-budget training."""
    final = [record for record in trials if record.stage == "final"]
    ranked = {(record.name, record.recipe_id) for record in final if is_ranked(record)}
    return list(dict.fromkeys(record.name for record in final if (record.name, record.recipe_id) not in ranked))


def _interval(evidence: Evidence, one: Configuration, split: str = "valid") -> str:
    """Return a configuration's interval, or a dash where its scores are not those of all its trainings."""
    compared = evidence.splits.get(split)
    place = compared.place(one) if compared else None
    if compared is None or place is None or not all(record.trial in evidence.scores for record in one.trials):
        return MISSING
    return interval(compared.resampled.dice_loss[place])


def _spread(one: Configuration, name: str) -> str:
    return mean_and_spread(one.values(name))


def _mean(one: Configuration, name: str) -> str:
    values = one.values(name)
    return metric(statistics.fmean(values) if values else None)


def _epochs(one: Configuration) -> str:
    epochs = sorted({int(epoch) for epoch in one.values("epoch")})
    shown = str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    return f"{shown} of {setting(one.best, 'epochs')}"


def _over_seeds(page: _Page) -> Iterable[Block]:
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
                _epoch(record),
                _time(record),
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
        + ", at its own best epoch, and their mean ± sample standard deviation."
    )
    yield table(header, rows, right=range(2, len(header)))
    if len(several) > MAX_ROWS:
        yield from _rest(several, "configuration", "leaderboard.csv")


def _optimism(page: _Page) -> Iterable[Block]:
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


def _search_log(page: _Page) -> Iterable[Block]:
    log = search_log(page.trials)
    if not log:
        return
    header = ["place", "name", "role", "validation Dice loss", "IoU", "best epoch", "time", "seed", "settings"]
    rows = []
    for place, record in enumerate(log[:MAX_ROWS], start=1):
        best = record.best_row or {}
        rows.append(
            [
                place,
                page.called[record.trial],
                role(record),
                metric(best.get("val_dice_loss")),
                metric(best.get("val_iou")),
                _epoch(record),
                _time(record),
                setting(record, "seed"),
                settings(record, page.varied),
            ]
        )
    yield paragraph(
        "How the search went, not a result: trials trained to the full budget, each the best epoch of one seed, by the "
        "figure that chose among them, which is optimistic for that. The ranking is above."
    )
    yield table(header, rows, right=(0, *range(3, 8)))
    yield from _rest(log)


def _stopped(page: _Page) -> Iterable[Block]:
    records = [record for record in page.trials if record.status == "stopped"]
    if records:
        yield paragraph("Not ranked: stopped before the full budget, so not to be set beside the trials above.")
        yield from _short_table(page, records)


def _unfinished(page: _Page) -> Iterable[Block]:
    begun = [record for record in page.trials if record.status in ("interrupted", "running")]
    waiting = [record for record in page.trials if record.status == "waiting"]
    if begun:
        yield paragraph("Not ranked: not trained to the end.")
        yield from _short_table(page, begun, status=True)
    if waiting:
        shown = ", ".join(with_role(page.called[record.trial], record) for record in waiting[:MAX_ROWS])
        more = f" and {len(waiting) - MAX_ROWS} more" if len(waiting) > MAX_ROWS else ""
        yield paragraph(f"Waiting: {plural(len(waiting), 'trial')} ({shown}{more}).")


def _failed(page: _Page) -> Iterable[Block]:
    records = [record for record in page.trials if record.status in ("diverged", "oom", "failed")]
    lost = [record for record in page.trials if record.status == "complete" and not is_ranked(record)]
    if not records and not lost:
        return
    rows = [
        [
            page.called[record.trial],
            role(record),
            STATUS_WORDS[record.status],
            record.reason or MISSING,
            _run_epochs(record),
            settings(record),
        ]
        for record in records[:MAX_ROWS]
    ]
    rows += [
        [page.called[record.trial], role(record), "complete", "its rows are not on record", "0", settings(record)]
        for record in lost[:MAX_ROWS]
    ]
    yield table(["name", "role", "status", "reason", "epochs run", "settings"], rows, right=(4,))
    yield from _rest(records)


def _test(page: _Page) -> Iterable[Block]:
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
    )
    yield table(header, rows, right=(0, *range(3, len(header))))
    yield from _rest([one for _, one in shown], "configuration", "configurations.csv")


def _published(page: _Page) -> Iterable[Block]:
    told = [record for record in page.trials if record.published]
    if not told or is_demo(page.run):
        return
    rows = []
    sources: set[str] = set()
    for record in told:
        if record.changed or not is_ranked(record):
            continue
        best = record.best_row or {}
        # Beside the figures stands their source, which is text.
        for name, figure in (record.published or {}).items():
            if isinstance(figure, int | float):
                here = metric(best.get(f"val_{name}"))
                rows.append([page.called[record.trial], _FIGURES.get(name, name), here, metric(figure)])
            else:
                sources.add(str(figure))
    if rows:
        yield paragraph(
            "As published by the model's authors. How they defined and averaged their figures, and on which split, is "
            "not known, so the two columns stand beside each other without being comparable."
        )
        yield table(["name", "figure", "here (validation)", "published by its authors"], rows, right=(2, 3))
        yield from (paragraph(f"Source: {source}") for source in sorted(sources))
    changed = {record.name: ", ".join(record.changed) for record in told if record.changed}
    for name, fields in changed.items():
        yield paragraph(
            f"{name} ran changed ({fields}), so the figures that its authors published are not set beside it."
        )
    if not rows and not changed:
        yield paragraph(
            "Figures were published for a baseline, but it has not been trained to the full budget, so there is "
            "nothing to set beside them."
        )


def _curves(page: _Page) -> Iterable[Block]:
    if page.figures.curves is None:
        yield paragraph("No trial has finished an epoch, so there are no curves.")
        return
    yield Picture("Learning curves of the leading trials", page.figures.curves)
    yield paragraph(
        "Left: the figure that ranks the trials. Right: how far it lies above the Dice loss of the training batches of "
        "the same epoch. Training batches are augmented and dropout is on, so the gap can be negative; where it grows "
        "while the validation loss stops falling, the model overfits."
    )


def _history(page: _Page) -> Iterable[Block]:
    if page.figures.history is None:
        return
    yield Picture("The lowest validation Dice loss so far", page.figures.history)
    yield paragraph(
        "The line is the lowest validation Dice loss of the full-budget trials that had ended by then; left against "
        "the trials in the order in which they ended, right against device time: the seconds of all trials together, "
        f"whatever ran side by side, {_DEVICE_TIME[device_time(page.trials, 1.0)[0]]}."
    )


_DEVICE_TIME: Mapping[str, str] = {
    "GPU": "times the GPUs that each takes",
    "CPU-trial": "each on its share of the CPU's cores",
    "Trial": "not weighed by device",
}


def _hyperparameters(page: _Page) -> Iterable[Block]:
    return importance_section(page.trials, page.run, page.figures.marginals, page.figures.coordinates)


def _predictions(page: _Page) -> Iterable[Block]:
    if not page.figures.overlays:
        yield paragraph("No trial has been trained to its full budget, so no predictions are shown.")
        return
    best = ranking(page.trials)[:1]
    if any(overlay.file for overlay in page.figures.overlays):
        yield paragraph(
            "Validation slices, with the weights of the best epoch: the best, the median and the worst of the tumours "
            "of which something was found, by IoU; missed ones, of which no pixel was, the largest first; and false "
            "alarms, whose predicted regions hold no true pixel. Where a kind is not there, the model has none on this "
            "split. The rarer kinds are looked for, so that this gallery says what happens and not how often."
        )
    for overlay in page.figures.overlays:
        record = overlay.trial
        title = with_role(page.called[record.trial], record)
        title = f"Best trial: {title}" if record in best else title
        yield Subheading(title)
        if overlay.file is None:
            yield paragraph(f"The figure is left out: {overlay.missing}")
        else:
            yield Picture(f"Validation slices, {title}", overlay.file, photo=True)


def _best_configuration(page: _Page) -> Iterable[Block]:
    ranked = ranking(page.trials)
    if not ranked:
        return
    best = ranked[0]
    yield paragraph(f"{with_role(page.called[best.trial], best)}, configuration {best.config_id}:")
    text = yaml.safe_dump(dict(best.config), sort_keys=False, allow_unicode=True)
    yield CodeBlock(text, "yaml")
    others = [record for record in best_baselines(page.trials) if record.trial != best.trial]
    if others:
        yield paragraph("How the baselines differ from it:")
        yield Bullets(
            tuple(f"{with_role(page.called[record.trial], record)}: {_differences(record, best)}" for record in others)
        )


def _differences(record: TrialRecord, best: TrialRecord) -> str:
    fields = varied_fields([record, best])
    return ", ".join(f"{name} {setting(record, name)}" for name in fields) or "in nothing"


def _short_table(page: _Page, records: Sequence[TrialRecord], status: bool = False) -> list[Block]:
    header = ["name", "role", *(["status"] if status else []), "validation Dice loss", "IoU", "best epoch"]
    header += ["epochs run", "time", "settings"]
    rows = []
    for record in records[:MAX_ROWS]:
        best = record.best_row or {}
        rows.append(
            [
                page.called[record.trial],
                role(record),
                *([STATUS_WORDS[record.status]] if status else []),
                metric(best.get("val_dice_loss")),
                metric(best.get("val_iou")),
                best.get("epoch", MISSING),
                _run_epochs(record),
                _time(record),
                settings(record, page.varied),
            ]
        )
    first = 3 if status else 2
    return [table(header, rows, right=range(first, first + 5)), *_rest(records)]


def _rest(listed: Sequence[object], noun: str = "trial", file: str = "leaderboard.csv") -> list[Block]:
    more = len(listed) - MAX_ROWS
    return [paragraph(f"{plural(more, f'more {noun}')} in ", Code(file), ".")] if more > 0 else []


def _time(record: TrialRecord) -> Cell:
    seconds = total_seconds(record)
    return Cell(duration(seconds), seconds)


def _epoch(record: TrialRecord) -> str:
    return f"{record.best_row['epoch']} of {setting(record, 'epochs')}" if record.best_row else MISSING


def _run_epochs(record: TrialRecord) -> str:
    return f"{len(record.rows)} of {setting(record, 'epochs')}"
