"""`report.md`: the run's answer, its tables and figures, how they were made, and how far they can be trusted."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from bts_tune.report import markup
from bts_tune.report.answer import answer
from bts_tune.report.leaderboard import best_baselines, is_ranked, ordered, ranking, total_seconds
from bts_tune.report.methods import limits, methods
from bts_tune.report.words import (
    MISSING,
    STATUS_WORDS,
    count,
    demo_sentence,
    duration,
    is_demo,
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
    """Predictions of one trial: the figure's path within the run folder, or the sentence that says why it is "
    "missing."""

    trial: TrialRecord
    file: str | None
    missing: str = ""


@dataclass(frozen=True)
class Figures:
    """The figures that were drawn, by their paths within the run folder."""

    curves: str | None = None
    overlays: Sequence[Overlay] = field(default_factory=tuple)


@dataclass(frozen=True)
class _Page:
    run: Mapping[str, Any]
    trials: Sequence[TrialRecord]
    figures: Figures
    called: Mapping[str, str]
    varied: Sequence[str]


def report(run: Mapping[str, Any], trials: Sequence[TrialRecord], figures: Figures) -> str:
    """Return the whole page; the same arguments give the same text.

    Args:
        run: the content of `run.json`.
        trials: its trials, in any order.
        figures: the figures to show.
    """
    page = _Page(run, ordered(trials), figures, names(trials), varied_fields(trials))
    sections: list[tuple[str, Callable[[_Page], str]]] = [
        ("Answer", _answer),
        ("Ranking", _ranking),
        ("Over seeds", _over_seeds),
        ("Stopped early", _stopped),
        ("Not finished", _unfinished),
        ("Diverged or failed", _failed),
        ("Test split", _test),
        ("Published figures", _published),
        ("Learning curves", _curves),
        ("Predictions", _predictions),
        ("Best configuration", _best_configuration),
        ("Methods", lambda page: methods(page.run, page.trials)),
        ("Limits", lambda page: limits(page.run, page.trials)),
    ]
    top = [sentence for sentence in (demo_sentence(run), partial_sentence(run)) if sentence]
    blocks = [f"# bts-tune: {markup.escape(run.get('run', 'run'))}", *(markup.warning(text) for text in top)]
    tag = " · ".join(tags(run))
    for title, write in sections:
        text = write(page)
        if text:
            blocks += [f"## {title}", *([markup.warning(tag)] if tag else []), text]
    return "\n\n".join(blocks) + "\n"


def _answer(page: _Page) -> str:
    text = f"**{markup.escape(answer(page.trials))}**"
    reason = page.run.get("reason")
    return f"{text}\n\nThe run ended with: {markup.escape(reason)}" if reason else text


def _ranking(page: _Page) -> str:
    ranked = ranking(page.trials)
    if not ranked:
        return "No trial has been trained to its full budget, so nothing is ranked."
    header = ["rank", "name", "role", "validation Dice loss", "IoU", "Dice per image", "training Dice loss"]
    header += ["best epoch", "time", "parameters", "seed", "settings"]
    rows = []
    for rank, record in enumerate(ranked[:MAX_ROWS], start=1):
        best = record.best_row or {}
        rows.append(
            [
                rank,
                record.name,
                role(record),
                metric(best.get("val_dice_loss")),
                metric(best.get("val_iou")),
                metric(best.get("val_dice_image")),
                metric(best.get("train_dice_loss")),
                _epoch(record),
                duration(total_seconds(record)),
                count(record.started.get("parameters")),
                setting(record, "seed"),
                settings(record, page.varied),
            ]
        )
    text = (
        "Trials trained to the full budget, by validation Dice loss, then IoU, each at its best epoch. Settings are "
        "the model, the learning rate and what else differs between trials and from the program's defaults; "
        "`leaderboard.csv` has every setting and metric, `epochs.csv` every epoch."
    )
    return f"{text}\n\n{markup.table(header, rows, right=(0, 3, 4, 5, 6, 7, 8, 9, 10))}{_rest(ranked)}"


def _over_seeds(page: _Page) -> str:
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for record in ranking(page.trials):
        groups.setdefault((record.recipe_id, ", ".join(record.changed)), []).append(record)
    several = [group for group in groups.values() if len(group) > 1]
    if not several:
        return ""
    rows = []
    for group in several:
        losses = [record.best_row["val_dice_loss"] for record in group if record.best_row]
        overlaps = [record.best_row["val_iou"] for record in group if record.best_row]
        rows.append([group[0].name, role(group[0]), len(group), _spread(losses), _spread(overlaps)])
    rows.sort(key=lambda row: (row[3], row[0]))
    header = ["name", "role", "seeds", "validation Dice loss", "IoU"]
    text = "Mean ± sample standard deviation over the seeds of one configuration; every seed at its own best epoch."
    return f"{text}\n\n{markup.table(header, rows[:MAX_ROWS], right=(2, 3, 4))}"


def _stopped(page: _Page) -> str:
    records = [record for record in page.trials if record.status == "stopped"]
    if not records:
        return ""
    text = "Not ranked: stopped before the full budget, so not to be set beside the trials above."
    return f"{text}\n\n{_short_table(page, records)}"


def _unfinished(page: _Page) -> str:
    begun = [record for record in page.trials if record.status in ("interrupted", "running")]
    waiting = [record for record in page.trials if record.status == "waiting"]
    parts = []
    if begun:
        parts.append(f"Not ranked: not trained to the end.\n\n{_short_table(page, begun, status=True)}")
    if waiting:
        shown = ", ".join(with_role(page.called[record.trial], record) for record in waiting[:MAX_ROWS])
        more = f" and {len(waiting) - MAX_ROWS} more" if len(waiting) > MAX_ROWS else ""
        parts.append(markup.escape(f"Waiting: {plural(len(waiting), 'trial')} ({shown}{more})."))
    return "\n\n".join(parts)


def _failed(page: _Page) -> str:
    records = [record for record in page.trials if record.status in ("diverged", "failed")]
    lost = [record for record in page.trials if record.status == "complete" and not is_ranked(record)]
    if not records and not lost:
        return ""
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
    table = markup.table(["name", "role", "status", "reason", "epochs run", "settings"], rows, right=(4,))
    return f"{table}{_rest(records)}"


def _test(page: _Page) -> str:
    best = ranking(page.trials)[:1]
    shown = [record for record in page.trials if record.test and (record.baseline or record in best)]
    if not shown:
        return "No trial has been evaluated on the test split."
    keys = ("dice_loss", "iou", "dice_image", "iou_image", "empty_false_positive_rate")
    header = ["name", "role", "Dice loss", "IoU", "Dice per image", "IoU per image", "empty false-positive rate"]
    rows = [
        [
            page.called[record.trial],
            ("best trial" if not record.baseline else f"best trial; {role(record)}")
            if record in best
            else role(record),
            *(metric(record.test.get(f"test_{key}")) for key in keys),
        ]
        for record in shown[:MAX_ROWS]
    ]
    text = (
        "The best trial and the baselines, each computed once, with the weights of the epoch that was best on the "
        "validation split. These figures were never used to choose anything."
    )
    return f"{text}\n\n{markup.table(header, rows, right=(2, 3, 4, 5, 6))}"


def _published(page: _Page) -> str:
    told = [record for record in page.trials if record.published]
    if not told or is_demo(page.run):
        return ""
    parts = []
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
        parts.append(
            "As published by the model's authors. How they defined and averaged their figures, and on which split, is "
            "not known, so the two columns stand beside each other without being comparable."
        )
        parts.append(
            markup.table(["name", "figure", "here (validation)", "published by its authors"], rows, right=(2, 3))
        )
        parts += [f"Source: {markup.escape(source)}" for source in sorted(sources)]
    changed = {record.name: ", ".join(record.changed) for record in told if record.changed}
    parts += [
        markup.escape(
            f"{name} ran changed ({fields}), so the figures that its authors published are not set beside it."
        )
        for name, fields in changed.items()
    ]
    if not rows and not changed:
        parts.append(
            "Figures were published for a baseline, but it has not been trained to the full budget, so there is "
            "nothing to set beside them."
        )
    return "\n\n".join(parts)


def _curves(page: _Page) -> str:
    if page.figures.curves is None:
        return "No trial has finished an epoch, so there are no curves."
    text = (
        "Left: the figure that ranks the trials. Right: how far it lies above the Dice loss of the training batches of "
        "the same epoch. Training batches are augmented and dropout is on, so the gap can be negative; where it grows "
        "while the validation loss stops falling, the model overfits."
    )
    return f"{markup.image('Learning curves of the leading trials', page.figures.curves)}\n\n{text}"


def _predictions(page: _Page) -> str:
    if not page.figures.overlays:
        return "No trial has been trained to its full budget, so no predictions are shown."
    best = ranking(page.trials)[:1]
    parts = []
    for overlay in page.figures.overlays:
        record = overlay.trial
        title = with_role(page.called[record.trial], record)
        title = f"Best trial: {title}" if record in best else title
        parts.append(f"### {markup.escape(title)}")
        if overlay.file is None:
            parts.append(markup.escape(f"The figure is left out: {overlay.missing}"))
        else:
            parts.append(markup.image(f"Validation slices, {title}", overlay.file))
    if any(overlay.file for overlay in page.figures.overlays):
        parts.insert(0, "Validation slices from the best to the worst, with the weights of the best epoch.")
    return "\n\n".join(parts)


def _best_configuration(page: _Page) -> str:
    ranked = ranking(page.trials)
    if not ranked:
        return ""
    best = ranked[0]
    title = markup.escape(f"{with_role(page.called[best.trial], best)}, configuration {best.config_id}:")
    text = yaml.safe_dump(dict(best.config), sort_keys=False, allow_unicode=True)
    others = [record for record in best_baselines(page.trials) if record.trial != best.trial]
    differing = [
        f"- {markup.escape(with_role(page.called[record.trial], record))}: {markup.escape(_differences(record, best))}"
        for record in others
    ]
    compared = ["How the baselines differ from it:\n\n" + "\n".join(differing)] if differing else []
    return "\n\n".join([title, markup.block(text, "yaml"), *compared])


def _differences(record: TrialRecord, best: TrialRecord) -> str:
    fields = varied_fields([record, best])
    return ", ".join(f"{name} {setting(record, name)}" for name in fields) or "in nothing"


def _short_table(page: _Page, records: Sequence[TrialRecord], status: bool = False) -> str:
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
                duration(total_seconds(record)),
                settings(record, page.varied),
            ]
        )
    first = 3 if status else 2
    return markup.table(header, rows, right=range(first, first + 5)) + _rest(records)


def _rest(records: Sequence[TrialRecord]) -> str:
    more = len(records) - MAX_ROWS
    return f"\n\n{plural(more, 'more trial')} in `leaderboard.csv`." if more > 0 else ""


def _epoch(record: TrialRecord) -> str:
    return f"{record.best_row['epoch']} of {setting(record, 'epochs')}" if record.best_row else MISSING


def _run_epochs(record: TrialRecord) -> str:
    return f"{len(record.rows)} of {setting(record, 'epochs')}"


def _spread(values: Sequence[float]) -> str:
    return f"{metric(statistics.fmean(values))} ± {metric(statistics.stdev(values))}"
