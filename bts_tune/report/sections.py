"""What a run's report says: its answer, tables and figures, how they were made, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from bts_tune.report.answer import answer, headline
from bts_tune.report.changes import changes
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
from bts_tune.report.leaderboard import best_baselines, is_ranked, ordered, ranking, total_seconds
from bts_tune.report.methods import limits, methods
from bts_tune.report.statistics import spread
from bts_tune.report.views import comparisons, data_check, kinds_of_images
from bts_tune.report.words import (
    MISSING,
    STATUS_WORDS,
    count,
    demo_sentence,
    duration,
    interval,
    is_demo,
    leak_sentence,
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
        ("Stopped early", _stopped),
        ("Not finished", _unfinished),
        ("Diverged or failed", _failed),
        ("Test split", _test),
        ("Published figures", _published),
        ("Learning curves", _curves),
        ("Search history", _history),
        ("Predictions", _predictions),
        ("Kinds of images", lambda page: kinds_of_images(page.trials, page.evidence, page.figures.kinds)),
        ("Best configuration", _best_configuration),
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
    if ranking(page.trials):
        yield paragraph(
            "Taken from one split, each trial's best epoch and the best of all trials, with no final stage that trains "
            "them again: validation figures are optimistic. See Limits."
        )
    reason = page.run.get("reason")
    if reason:
        yield paragraph(f"The run ended with: {reason}")


def _ranking(page: _Page) -> Iterable[Block]:
    ranked = ranking(page.trials)
    if not ranked:
        yield paragraph("No trial has been trained to its full budget, so nothing is ranked.")
        return
    compared = page.evidence.splits.get("valid")
    header = ["rank", "name", "role", "validation Dice loss", *(["95 % interval"] if compared else []), "IoU"]
    header += ["Dice per image", "training Dice loss", "best epoch", "time", "parameters", "seed", "settings"]
    rows = []
    for rank, record in enumerate(ranked[:MAX_ROWS], start=1):
        best = record.best_row or {}
        limits = []
        if compared:
            place = compared.place(record)
            limits = [MISSING if place is None else interval(compared.resampled.dice_loss[place])]
        rows.append(
            [
                rank,
                record.name,
                role(record),
                metric(best.get("val_dice_loss")),
                *limits,
                metric(best.get("val_iou")),
                metric(best.get("val_dice_image")),
                metric(best.get("train_dice_loss")),
                _epoch(record),
                _time(record),
                Cell(count(record.started.get("parameters")), record.started.get("parameters")),
                setting(record, "seed"),
                settings(record, page.varied),
            ]
        )
    yield paragraph(
        "Trials trained to the full budget, by validation Dice loss, then IoU, each at its best epoch. Settings are "
        "the model, the learning rate and what else differs between trials and from the program's defaults; ",
        Code("leaderboard.csv"),
        " has every setting and metric, ",
        Code("epochs.csv"),
        " every epoch.",
    )
    yield table(header, rows, right=(0, *range(3, len(header) - 1)))
    yield from _rest(ranked)


def _over_seeds(page: _Page) -> Iterable[Block]:
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for record in ranking(page.trials):
        groups.setdefault((record.recipe_id, ", ".join(record.changed)), []).append(record)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return
    rows = []
    for group in several:
        losses = [record.best_row["val_dice_loss"] for record in group if record.best_row]
        overlaps = [record.best_row["val_iou"] for record in group if record.best_row]
        rows.append([group[0].name, role(group[0]), len(group), _spread(losses), _spread(overlaps)])
    rows.sort(key=lambda row: (row[3], row[0]))
    header = ["name", "role", "seeds", "validation Dice loss", "IoU"]
    text = "Mean ± sample standard deviation over the seeds of one configuration; every seed at its own best epoch."
    yield paragraph(text)
    yield table(header, rows[:MAX_ROWS], right=(2, 3, 4))


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
    records = [record for record in page.trials if record.status in ("diverged", "failed")]
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
    best = ranking(page.trials)[:1]
    shown = [record for record in page.trials if record.test and (record.baseline or record in best)]
    if not shown:
        yield paragraph("No trial has been evaluated on the test split.")
        return
    compared = page.evidence.splits.get("test")
    keys = ("iou", "dice_image", "iou_image", "empty_false_positive_rate")
    header = ["name", "role", "Dice loss", *(["95 % interval"] if compared else []), "IoU"]
    header += ["Dice per image", "IoU per image", "empty false-positive rate"]
    rows = []
    for record in shown[:MAX_ROWS]:
        place = compared.place(record) if compared else None
        limits = [MISSING if place is None else interval(compared.resampled.dice_loss[place])] if compared else []
        titles = [title for title in ("best trial" if record in best else "", role(record)) if title]
        rows.append(
            [
                page.called[record.trial],
                "; ".join(titles),
                metric(record.test.get("test_dice_loss")),
                *limits,
                *(metric(record.test.get(f"test_{key}")) for key in keys),
            ]
        )
    yield paragraph(
        "The best trial and the baselines, each computed once, with the weights of the epoch that was best on the "
        "validation split. These figures were never used to choose anything."
    )
    yield table(header, rows, right=range(2, len(header)))


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
        "the trials in the order in which they ended, right against the seconds that all trials together had been "
        "training, whatever ran side by side."
    )


def _predictions(page: _Page) -> Iterable[Block]:
    if not page.figures.overlays:
        yield paragraph("No trial has been trained to its full budget, so no predictions are shown.")
        return
    best = ranking(page.trials)[:1]
    if any(overlay.file for overlay in page.figures.overlays):
        yield paragraph("Validation slices from the best to the worst, with the weights of the best epoch.")
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


def _rest(records: Sequence[TrialRecord]) -> list[Block]:
    more = len(records) - MAX_ROWS
    return [paragraph(f"{plural(more, 'more trial')} in ", Code("leaderboard.csv"), ".")] if more > 0 else []


def _time(record: TrialRecord) -> Cell:
    seconds = total_seconds(record)
    return Cell(duration(seconds), seconds)


def _epoch(record: TrialRecord) -> str:
    return f"{record.best_row['epoch']} of {setting(record, 'epochs')}" if record.best_row else MISSING


def _run_epochs(record: TrialRecord) -> str:
    return f"{len(record.rows)} of {setting(record, 'epochs')}"


def _spread(values: Sequence[float]) -> str:
    found = spread(values)
    return f"{metric(found.mean)} ± {metric(found.deviation)}"
