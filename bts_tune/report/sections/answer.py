"""The section on the answer: the best configuration, how good it is, what it gains on the baselines, how sure it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bts_tune.report.blocks import Block, Details, Tile, Tiles, paragraph
from bts_tune.report.context import ReportContext
from bts_tune.report.failures import Failed
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.sections.split import recorded_split
from bts_tune.report.wording import MISSING, gained, interval, mean_and_spread, metric, share
from bts_tune.results.fidelity import fidelity_sentence
from bts_tune.results.ranking.configurations import Configuration, configurations, result_stage
from bts_tune.results.ranking.leaderboard import ordered
from bts_tune.results.ranking.naming import names, with_role
from bts_tune.results.ranking.settings import setting, settings, varied_fields
from bts_tune.results.record.objective import DICE_LOSS, Objective
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.results.record.status import STATUSES
from bts_tune.results.statistics.comparison import Comparison, SplitComparison
from bts_tune.results.statistics.intervals import Interval
from bts_tune.results.trial_count import count_trials
from bts_tune.results.warnings import worst_leak
from bts_tune.text import plural

_SHOWN: Mapping[str, str] = {"dice_loss": "Dice loss", "iou": "IoU"}
_SPLITS = (("test", "on the test split"), ("valid", "on the validation split, which chose it"))
_SPLIT_WORDS: Mapping[str, str] = {"test": "test", "valid": "validation"}


@SECTIONS.register("answer")
class Answer(Section):
    """The answer of the run."""

    title = "Answer"
    after = None

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the answer, the numbers that matter, what they rest on, and why the run ended if not by itself."""
        trials = context.trials
        first = context.failures.attempt("The sentence on the best", lambda: headline(trials, context.comparison))
        if isinstance(first, Failed):
            yield paragraph(first.sentence)
        elif first:
            yield paragraph(first, strong=True)
        if not isinstance(first, str):
            yield paragraph(in_short(trials), strong=True)
        numbers = tiles(context)
        if numbers:
            yield Tiles(tuple(numbers))
        reason = context.run.get("reason")
        if reason:
            yield paragraph(f"The run ended with: {reason}")
        if configurations(trials):
            more = [text for text in (answer(trials), _described(trials), trust(trials)) if text]
            yield Details("What this answer rests on", tuple(map(paragraph, more)))


def headline(trials: Sequence[TrialRecord], comparison: Comparison) -> str | None:
    """Return the answer in one sentence with its interval, as plain text; None where no scores allow one.

    It is about the test split, which chose nothing, and about the validation split only where there is no other.
    """
    best = next(iter(configurations(trials)), None)
    split = next(((comparison.splits[name], where) for name, where in _SPLITS if name in comparison.splits), None)
    if best is None or split is None:
        return None
    compared, where = split
    place = compared.place(best)
    rival = _rival(compared, configurations(trials))
    if place is None or rival is None:
        return None
    other = compared.configurations[rival]
    if compared.objective != best.objective:
        return None  # the scores of images tell nothing of how sure such an objective is
    gain = _gain(compared, place, rival, best)
    unit = "Dice" if best.objective == DICE_LOSS else best.objective.title
    rank = "next baseline" if best.baseline else "best baseline"
    opponent = f"the {rank}, {other.name}"
    opening = "The best is a baseline: " if best.baseline else ""
    if gain.low is None or gain.high is None:
        why = compared.why_no_intervals or "it holds too few images"
        return f"{opening}{best.name} and {opponent}, cannot be compared {where}: {why}."
    limits = f"95\u00a0% interval {gained(gain.low)} to {gained(gain.high)}"
    size = metric(abs(gain.value))
    if gain.value > 0 and not gain.includes_zero:
        return f"{opening}{best.name} beats {opponent}, by {size} {unit} {where} ({limits})."
    if gain.includes_zero:
        side = "ahead of" if gain.value >= 0 else "behind"
        return (
            f"{opening}{best.name} is {size} {unit} {side} {opponent}, {where}. This may be chance: the interval of "
            f"the difference includes zero ({limits})."
        )
    return (
        f"{opening}{best.name} ranks first on the validation split, but {where} it is {size} {unit} behind {opponent} "
        f"({limits})."
    )


def tiles(context: ReportContext) -> list[Tile]:
    """Return the numbers that matter: of a ranking, or of how far the run is; what the split leaks comes last."""
    ranked = configurations(context.trials)
    if not ranked:
        count = count_trials(context.run, context.trials)
        epochs = sum(len(record.rows) for record in context.trials)
        found = [Tile("Trials ended", f"{count.ended} of {count.of}", (f"{plural(epochs, 'epoch')} trained",))]
        return [*found, *_leakage(context.run)]
    best = ranked[0]
    found_split = next(
        ((name, context.comparison.splits[name]) for name, _ in _SPLITS if name in context.comparison.splits), None
    )
    place = found_split[1].place(best) if found_split else None
    if found_split is None or place is None:
        return [*_without_scores(best, ranked), *_leakage(context.run)]
    name, compared = found_split
    split = _SPLIT_WORDS[name]
    dice, iou = compared.resampled.dice_loss[place], compared.resampled.iou[place]
    behind = [record for record in best.trials if record.trial in context.comparison.scores]
    some = len(behind) < len(best.trials)
    found = [
        Tile(
            f"Dice loss of {best.name}, {split} split",
            metric(dice.value),
            (
                *_limits(compared, interval(dice)),
                f"IoU {metric(iou.value)}" + ("" if compared.why_no_intervals else f" ({interval(iou)})"),
                *([f"{len(behind)} of {len(best.trials)} trainings measured"] if some else []),
                *_own_detail(best),
            ),
        )
    ]
    rival = _rival(compared, ranked)
    if rival is not None and compared.objective == best.objective:
        gain = _gain(compared, place, rival, best)
        unit = "Dice" if best.objective == DICE_LOSS else best.objective.title
        found.append(
            Tile(
                f"{'Lead over the next' if best.baseline else 'Gain over the best'} baseline",
                f"{gained(gain.value)} {unit}",
                (*_limits(compared, interval(gain, signed=True)), compared.configurations[rival].name),
            )
        )
    else:
        found.append(_plain_gain(best, ranked))
    images = plural(compared.images, "image")
    groups = f" in {plural(compared.groups, 'group')}" if compared.groups else ""
    details = [f"{split} images{groups}, {compared.tumours} with a tumour"]
    first = compared.resampled.first
    if len(compared.configurations) > 1 and first is not None:
        details.append(f"first of {len(compared.configurations)} in {share(first[place])} of resamples")
    seeds = len({setting(record, "seed") for record in behind})
    found.append(Tile("Seeds and images", f"{plural(seeds, 'seed')}, {images}", tuple(details)))
    return [*found, *_leakage(context.run)]


def _limits(compared: SplitComparison, limits: str) -> list[str]:
    why = compared.why_no_intervals
    return [f"no interval: {why}" if why else f"95\u00a0% interval {limits}"]


def _without_scores(best: Configuration, ranked: Sequence[Configuration]) -> list[Tile]:
    """Return the numbers of a run that has no scores of single images, hence no intervals."""
    found = [
        Tile(
            f"Dice loss of {best.name}, validation split",
            metric(best.dice_loss),
            (f"IoU {metric(best.iou)}", *_own_detail(best), "no interval: no scores of single images"),
        )
    ]
    found.append(_plain_gain(best, ranked))
    planned = "" if best.complete else f" of {best.planned} planned"
    found.append(Tile("Seeds", plural(best.seeds, "seed"), (f"{plural(len(best.trials), 'training')}{planned}",)))
    return found


def _own_detail(best: Configuration) -> list[str]:
    """Return the value of the objective, where neither the Dice loss nor the IoU is the objective."""
    objective = best.objective
    return [] if objective.is_ranking_key else [f"{objective.title} {metric(best.value)} (validation)"]


def _plain_gain(best: Configuration, ranked: Sequence[Configuration]) -> Tile:
    """Return by how much the best is ahead of a baseline on the validation split, where no scores allow an interval."""
    label = f"{'Lead over the next' if best.baseline else 'Gain over the best'} baseline"
    other = next((one for one in ranked[1:] if one.baseline), None)
    if other is None:
        return Tile(label, MISSING, ("no baseline to compare with",))
    return Tile(
        label, f"{gained(other.dice_loss - best.dice_loss)} Dice", (other.name, "validation split, no interval")
    )


def _leakage(run: Mapping[str, Any]) -> list[Tile]:
    """Return what other images have in common with training, at worst; nothing where it is not on record."""
    split = recorded_split(run)
    worst = worst_leak(run)
    if worst is None:
        return []
    words, related = worst
    method = f"split {split.get('method')}"
    if not (split.get("leak") or {}).get("leaks"):
        return [Tile("Leakage of the split", "none found", (f"no {words} image has a relative in training", method))]
    return [
        Tile("Leakage of the split", share(related), (f"of the {words} images have a relative in training", method))
    ]


def _gain(compared: SplitComparison, place: int, rival: int, best: Configuration) -> Interval:
    """Return by how much the best is ahead of its rival."""
    # Differences are from the best baseline: from the winner itself, where that is the best baseline.
    return -compared.resampled.gain[rival] if best.baseline else compared.resampled.gain[place]


def _rival(compared: SplitComparison, ranked: Sequence[Configuration]) -> int | None:
    """Return the place of the best baseline other than the winner; None where there is none, or it was not compared."""
    best = next((one for one in ranked[1:] if one.baseline), None)
    return None if best is None else compared.place(best)


def in_short(trials: Sequence[TrialRecord]) -> str:
    """Return the answer in one sentence, as plain text, where no scores allow intervals."""
    ranked = configurations(trials)
    if not ranked:
        return answer(trials)
    best = ranked[0]
    unit = "configuration" if any(len(one.trials) > 1 for one in ranked) else "trial"
    opening = f"Best of {plural(len(ranked), unit)}" if len(ranked) > 1 else f"The only {unit} trained to the end"
    sentence = f"{opening}: {with_role(best.name, best)}, with validation {_pair(best)}"
    other = next((one for one in ranked[1:] if one.baseline), None)
    if other is None:
        return f"{sentence}."
    return f"{sentence}. The {'next' if best.baseline else 'best'} baseline, {other.name}, has {_pair(other)}."


def answer(trials: Sequence[TrialRecord]) -> str:
    """Return the answer as plain text.

    With nothing trained to the full budget it says so, and names the best value of the objective so far, if any.
    """
    ranked = configurations(trials)
    if not ranked:
        planned = [record for record in trials if record.stage == result_stage(trials)]
        found = configurations(trials, "search")
        if found:
            return _before_final(planned, found[0])
        return _nothing_ranked(planned if any(record.rows for record in planned) else trials)
    best = ranked[0]
    repeated = any(len(one.trials) > 1 for one in ranked)
    stage = "of the final stage" if result_stage(trials) == "final" else "trained to the full budget"
    unit = "configuration" if repeated else "trial"
    sentence = (
        f"{f'Best of {plural(len(ranked), unit)}' if len(ranked) > 1 else f'The only {unit}'} {stage}: "
        f"{with_role(best.name, best)}, with validation {_values(best)}"
    )
    if len(best.trials) == 2:
        sentence += " (means of 2 trainings and, in brackets, both values, which are no more than a range)."
    elif len(best.trials) > 2:
        sentence += f" (mean ± standard deviation of {plural(len(best.trials), 'training')})."
    else:
        epoch = (best.best.best_row or {}).get("epoch")
        sentence += f" at epoch {epoch} of {setting(best.best, 'epochs')}."
    if best.baseline:
        return f"{sentence} {_ahead_of_next(ranked)}"
    baseline = next((one for one in ranked if one.baseline), None)
    if baseline is None:
        return f"{sentence} There is nothing to compare it with: no baseline was trained to the full budget."
    return (
        f"{sentence} This is {_difference(best, baseline)} than the best baseline, "
        f"{with_role(baseline.name, baseline)}, with {_pair(baseline)}."
    )


def _described(trials: Sequence[TrialRecord]) -> str | None:
    """Return the settings of the best configuration; None without one."""
    best = next(iter(configurations(trials)), None)
    return None if best is None else f"{best.name} is {settings(best.best, varied_fields(trials))}."


def trust(trials: Sequence[TrialRecord]) -> str | None:
    """Return what the ranking rests on, and where its metrics are optimistic, as plain text; None without a ranking."""
    ranked = configurations(trials)
    if not ranked:
        return None
    if result_stage(trials) == "search":
        seeds, lower = max(one.seeds for one in ranked), fidelity_sentence(trials)
        seed = "one seed" if seeds == 1 else f"up to {seeds} seeds"
        first = f" The winner was chosen among {len(ranked)} in the same way." if len(ranked) > 1 else ""
        return (
            f"The validation metrics are a little too good: each is the best epoch of {seed}, chosen on the same "
            f"images that it is measured on.{first} No final stage has trained the best again with fresh seeds. See "
            f"Limits.{f' {lower}' if lower else ''}"
        )
    planned = [record for record in trials if record.stage == "final"]
    done = sum(record.full_budget and bool(record.rows) for record in planned)
    what = (
        "Only the final stage is ranked: the configurations that the search chose, and the baselines, were trained "
        "again to the full budget, all with the same fresh seeds. "
    )
    if done < len(planned):
        what += f"It is not complete: {done} of its {len(planned)} trainings are done, and these are ranked. "
    return what + (
        "The validation metrics are a little too good, as each training's best epoch was chosen on the same images; "
        "the test split chose nothing."
    )


def _counts(trials: Sequence[TrialRecord]) -> str:
    statuses = Counter(record.status for record in ordered(trials))
    return ", ".join(f"{number} {STATUSES[status].words}" for status, number in statuses.items()) or "none planned"


def _before_final(final: Sequence[TrialRecord], found: Configuration) -> str:
    """Return how far the final stage is, and what the search found before it."""
    return (
        f"No training of the final stage, which alone is ranked, is complete yet ({_counts(final)}). The best of the "
        f"search is {with_role(found.name, found)}, with validation {_pair(found)}."
        + (f" {lower}" if (lower := fidelity_sentence(found.trials)) else "")
    )


def _nothing_ranked(trials: Sequence[TrialRecord]) -> str:
    by_trial = names(trials)
    counts = _counts(trials)
    # `min` over all groups: an interrupted trial may be further on than one stopped early.
    begun = [record for record in ordered(trials) if record.rows]
    if not begun:
        return f"No trial has finished an epoch, so there is nothing to rank (trials: {counts})."
    best = min(begun, key=lambda record: record.objective.cost_of(_best_row(record)))
    row, objective = _best_row(best), best.objective
    others = {title: row[f"val_{key}"] for key, title in _SHOWN.items() if key != objective.metric}
    beside = ", ".join(f"{title} {metric(value)}" for title, value in others.items())
    return (
        f"No trial has been trained to its full budget, so nothing is ranked (trials: {counts}); the "
        f"{objective.best_word} validation {objective.title} so far is {metric(objective.value(row))} ({beside}), by "
        f"{with_role(by_trial[best.trial], best)} at epoch {row['epoch']} of {setting(best, 'epochs')}."
    )


def _ahead_of_next(ranked: Sequence[Configuration]) -> str:
    others = ranked[1:]
    searched = [one for one in others if not one.baseline]
    if searched:
        closest = searched[0]
        return f"No searched configuration does better: the closest, {closest.name}, has {_pair(closest)}."
    if others:
        return f"The next is {with_role(others[0].name, others[0])}, with {_pair(others[0])}."
    return "There is no other configuration to compare it with."


def _best_row(record: TrialRecord) -> dict[str, Any]:
    row = record.best_row
    if row is None:
        raise ValueError(f"trial {record.trial} has no rows")
    return row


def _shown(objective: Objective) -> dict[str, str]:
    """Return keys and titles of the metrics that a sentence gives: the objective first."""
    return {objective.metric: objective.title, **_SHOWN}


def _joined(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _values(one: Configuration) -> str:
    shown = _shown(one.objective)
    return _joined([f"{title} {mean_and_spread(one.values(f'val_{key}'))}" for key, title in shown.items()])


def _pair(one: Configuration) -> str:
    means = {"dice_loss": one.dice_loss, "iou": one.iou, one.objective.metric: one.value}
    return _joined([f"{title} {metric(means[key])}" for key, title in _shown(one.objective).items()])


def _difference(one: Configuration, other: Configuration) -> str:
    more = {
        "dice_loss": one.dice_loss - other.dice_loss,
        "iou": one.iou - other.iou,
        one.objective.metric: one.value - other.value,
    }
    words = {key: "higher" if value >= 0 else "lower" for key, value in more.items()}
    words[one.objective.metric] = one.objective.better  # it ranks first, if only by what breaks ties
    shown = _shown(one.objective).items()
    return _joined([f"{metric(abs(more[key]))} {words[key]} {title}" for key, title in shown])
