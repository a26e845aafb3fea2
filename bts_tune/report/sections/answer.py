"""The section on the answer: the best configuration, how good it is, what it gains on the baselines, how sure it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bts_tune.report.blocks import Block, paragraph
from bts_tune.report.context import ReportContext
from bts_tune.report.failures import Failed
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import gained, mean_and_spread, metric, share
from bts_tune.results.comparison import Comparison, SplitComparison
from bts_tune.results.configurations import Configuration, configurations, result_stage
from bts_tune.results.leaderboard import ordered
from bts_tune.results.naming import names, role, with_role
from bts_tune.results.objective import DICE_LOSS, Objective
from bts_tune.results.run_folder import TrialRecord
from bts_tune.results.settings import setting, settings, varied_fields
from bts_tune.results.status import STATUSES
from bts_tune.text import plural

_SHOWN: Mapping[str, str] = {"dice_loss": "Dice loss", "iou": "IoU"}
_SPLITS = (("test", "on the test split"), ("valid", "on the validation split that chose it"))


@SECTIONS.register("answer")
class Answer(Section):
    """The answer of the run."""

    title = "Answer"
    after = None

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield the answer, what it rests on, and why the run ended where it did not end by itself."""
        trials = context.trials
        first = context.failures.attempt("The sentence on the best", lambda: headline(trials, context.comparison))
        if isinstance(first, Failed):
            yield paragraph(first.sentence)
        elif first:
            yield paragraph(first, strong=True)
        yield paragraph(answer(trials), strong=not isinstance(first, str))
        rests_on = trust(trials)
        if rests_on:
            yield paragraph(rests_on)
        reason = context.run.get("reason")
        if reason:
            yield paragraph(f"The run ended with: {reason}")


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
    # Differences are from the best baseline: from the winner itself, where that is the best baseline.
    if compared.objective != best.objective:
        return None  # the scores of images tell nothing of how sure such an objective is
    gain = -compared.resampled.gain[rival] if best.baseline else compared.resampled.gain[place]
    unit = "Dice" if best.objective == DICE_LOSS else best.objective.title
    rank = "next baseline" if best.baseline else "best baseline"
    opponent = f"the {rank}, {other.name}"
    opening = "The best is a baseline: " if best.baseline else ""
    first = share(compared.resampled.first[place])
    tail = f"it is first of {plural(len(compared.configurations), 'configuration')} in {first} of resamples."
    if gain.low is None or gain.high is None:
        return f"{opening}{best.name} and {opponent}, cannot be told apart {where}: it holds too few images."
    images = plural(compared.images, "image")
    images += f" in {plural(compared.groups, 'group')}" if compared.groups else ""
    repeats = {compared.replicates[place], compared.replicates[rival]}
    seeds = f", means of {' and '.join(map(str, sorted(repeats)))} trainings" if repeats != {1} else ""
    if 2 in repeats:
        seeds += ": two values are no more than a range"
    limits = f"95\u00a0% interval {gained(gain.low)} to {gained(gain.high)}, {images}{seeds}"
    size = metric(abs(gain.value))
    if gain.value > 0 and not gain.includes_zero:
        return f"{opening}{best.name} beats {opponent}, by {size} {unit} {where} ({limits}); {tail}"
    ahead = f"{size} {unit} {'ahead of' if gain.value >= 0 else 'behind'} {opponent}, {where} ({limits})"
    if gain.includes_zero:
        return (
            f"{opening}{best.name} is {ahead}, and as the interval includes zero, nothing tells the two apart; {tail}"
        )
    return f"{opening}{best.name} ranks first on the validation split, but is {ahead}; {tail}"


def _rival(compared: SplitComparison, ranked: Sequence[Configuration]) -> int | None:
    """Return the place of the best baseline other than the winner; None where there is none, or it was not compared."""
    best = next((one for one in ranked[1:] if one.baseline), None)
    return None if best is None else compared.place(best)


def answer(trials: Sequence[TrialRecord]) -> str:
    """Return the answer as plain text.

    With nothing trained to the full budget it says so, and names the best value of the objective so far, if any.
    """
    ranked = configurations(trials)
    if not ranked:
        return _nothing_ranked([record for record in trials if record.stage == result_stage(trials)])
    best = ranked[0]
    described = "; ".join(part for part in (role(best), settings(best.best, varied_fields(trials))) if part)
    repeated = any(len(one.trials) > 1 for one in ranked)
    stage = "of the final stage" if result_stage(trials) == "final" else "trained to the full budget"
    unit = "configuration" if repeated else "trial"
    sentence = (
        f"{f'Best of {plural(len(ranked), unit)}' if len(ranked) > 1 else f'The only {unit}'} {stage}: "
        f"{best.name} ({described}), with validation {_values(best)}"
    )
    if len(best.trials) == 2:
        sentence += " (means of 2 trainings and, in brackets, both values, which are no more than a range)"
    elif len(best.trials) > 2:
        sentence += f" (mean ± standard deviation of {plural(len(best.trials), 'training')})"
    else:
        epoch = (best.best.best_row or {}).get("epoch")
        sentence += f" at epoch {epoch} of {setting(best.best, 'epochs')}"
    if best.baseline:
        return sentence + _ahead_of_next(ranked)
    baseline = next((one for one in ranked if one.baseline), None)
    if baseline is None:
        return f"{sentence}; no baseline was trained to the full budget, so there is none to compare it with."
    return (
        f"{sentence}: {_difference(best, baseline)} than the best baseline, "
        f"{with_role(baseline.name, baseline)}, with {_pair(baseline)}."
    )


def trust(trials: Sequence[TrialRecord]) -> str | None:
    """Return what the ranking rests on, and where its metrics are optimistic, as plain text; None without a ranking."""
    ranked = configurations(trials)
    if not ranked:
        return None
    if result_stage(trials) == "search":
        seeds = max(one.seeds for one in ranked)
        seed = "a single seed" if seeds == 1 else f"up to {seeds} seeds"
        first = f", and the first is the best of {len(ranked)} configurations, all of it" if len(ranked) > 1 else ","
        return (
            f"These validation metrics are optimistic: each is the best epoch of {seed} of a configuration{first} "
            "chosen on the very images that it is measured on. No final stage has trained the best again with fresh "
            "seeds. See Limits."
        )
    planned = [record for record in trials if record.stage == "final"]
    done = sum(record.full_budget and bool(record.rows) for record in planned)
    what = (
        "The ranking is of the final stage alone: configurations chosen by the search, and the baselines, trained "
        "again to the full budget with fresh seeds, the same for each. "
    )
    if done < len(planned):
        what += (
            f"It is not complete: {done} of its {len(planned)} trainings are done, and the ranking is of what is "
            "there. "
        )
    return what + (
        "Its validation metrics are each training's best epoch, chosen on those images, and so a little optimistic; "
        "the test split chose nothing."
    )


def _nothing_ranked(trials: Sequence[TrialRecord]) -> str:
    by_trial = names(trials)
    statuses = Counter(record.status for record in ordered(trials))
    counts = ", ".join(f"{number} {STATUSES[status].words}" for status, number in statuses.items()) or "none planned"
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
        return f"; no searched configuration does better, and the closest, {closest.name}, has {_pair(closest)}."
    if others:
        return f"; next comes {with_role(others[0].name, others[0])}, with {_pair(others[0])}."
    return "; there is no other configuration to compare it with."


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
