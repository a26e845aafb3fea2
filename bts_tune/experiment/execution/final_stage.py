"""The final stage: the best configurations of the search and all baselines again, full budget, fresh seeds.

A search chooses by the same figure that it then reports, of one seed: its best is partly its luckiest. Here seeds are
used that chose nothing, the same ones for every configuration, so that configurations can be compared in pairs.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from dataclasses import replace

from bts_tune.config import TrialConfig
from bts_tune.experiment.planning.plan import PlannedTrial, from_record
from bts_tune.results.ranking.leaderboard import ordered
from bts_tune.results.record.run_folder import FINISHED, RunFolder, TrialRecord
from bts_tune.space import Final
from bts_tune.text import plural


def configurations_to_repeat(trials: Sequence[TrialRecord], top: int) -> list[TrialRecord]:
    """Return the trials of the search stage whose configurations the final stage trains again.

    All baselines, each once, in the order of planning; then the best `top` others by `results.leaderboard.ordered`:
    full-budget ones first, then those that were stopped early or cut off. One that diverged, failed or has no epoch on
    record is never among them, and no recipe is there twice.
    """
    # What was cut off counts as stopped, as it will once the search is closed: a final stage whose planning was itself
    # cut off then chooses the same.
    searched = [
        record if record.status in FINISHED else replace(record, status="stopped")
        for record in trials
        if record.stage == "search"
    ]
    chosen: dict[str, TrialRecord] = {}
    for record in ordered(searched):
        if record.baseline:
            chosen.setdefault(record.name, record)
    baselines = sorted(chosen.values(), key=lambda record: record.index)
    recipes = {_recipe(record) for record in baselines}
    best = []
    for record in ordered(searched):
        if record.status in ("complete", "stopped") and record.rows and _recipe(record) not in recipes:
            recipes.add(_recipe(record))
            best.append(record)
    return [*baselines, *best[:top]]


def _recipe(record: TrialRecord) -> str:
    """Return what names the configuration that is trained again: in full, where the search was at a lower fidelity."""
    return _in_full(record).recipe_id if record.full else record.recipe_id


def _in_full(record: TrialRecord) -> TrialConfig:
    return TrialConfig.parse(record.config, f"trial {record.trial}").replaced(record.full, f"trial {record.trial}")


def fresh_seeds(trials: Sequence[TrialRecord], count: int) -> list[int]:
    """Return the lowest seeds that no trial of the search stage used; more of them begin with the same ones."""
    used = {record.config["seed"] for record in trials if record.stage == "search"}
    return list(itertools.islice((seed for seed in itertools.count() if seed not in used), count))


def plan_final(folder: RunFolder, final: Final, reason: str) -> None:
    """Record what the final stage still lacks as planned, and close the search: what it left unfinished is ended.

    The trials come seed by seed, so that a stage that is cut off has about as many seeds of one configuration as of
    another. Planned and closed once, the same call changes nothing; with more seeds or configurations it adds them.

    Args:
        folder: the run, which the caller holds.
        final: what is trained again.
        reason: why the search was closed, for its unfinished trials.
    """
    trials = folder.trials()
    known = {record.trial for record in trials}
    origins = configurations_to_repeat(trials, final.top)
    if not origins:
        return
    # First: a process that is killed in between leaves no search open that was closed.
    folder.update_run(extensions_closed=len(folder.read_run().get("extensions") or []))
    index = len(trials)
    for seed in fresh_seeds(trials, final.seeds):
        for origin in origins:
            planned = _with_seed(origin, seed, index)
            if planned.trial not in known:
                folder.append_event("planned", planned.trial, **planned.event())
                index += 1
    for record in trials:
        if record.stage == "search" and record.status not in FINISHED:
            done = (
                f"after {len(record.rows)} of {record.config['epochs']} epochs"
                if record.rows
                else "before its first epoch ended"
            )
            folder.append_event("ended", record.trial, status="stopped", reason=f"{done}: {reason}")
            shutil.rmtree(folder.model_folder(record.trial), ignore_errors=True)


def final_stage_lacks(trials: Sequence[TrialRecord], final: Final) -> bool:
    """Whether `plan_final` would add a trial."""
    known = {record.trial for record in trials}
    origins = configurations_to_repeat(trials, final.top)
    return any(
        _with_seed(origin, seed, 0).trial not in known
        for seed in fresh_seeds(trials, final.seeds)
        for origin in origins
    )


def _with_seed(origin: TrialRecord, seed: int, index: int) -> PlannedTrial:
    planned = from_record(origin)
    return replace(
        planned,
        trial=f"final-{origin.name}-s{seed}",
        index=index,
        config=_in_full(origin).model_copy(update={"seed": seed}),
        stage="final",
        origin=origin.trial,
        recorded=0,
        full={},
    )


def describe_final_stage(trials: Sequence[TrialRecord]) -> str:
    """Return what the final stage consists of, in one sentence."""
    final = [record for record in trials if record.stage == "final"]
    if not final:
        return "Final stage: nothing to train again; no trial of the search was trained and there are no baselines"
    counts = {
        noun: len({record.name for record in final if record.baseline == baseline})
        for noun, baseline in (("configuration", False), ("baseline", True))
    }
    what = " and ".join(plural(count, noun) for noun, count in counts.items() if count)
    seeds = plural(len({record.config["seed"] for record in final}), "seed")
    left = sum(record.status not in FINISHED for record in final)
    rest = f", {left} left to run" if left < len(final) else ""
    return f"Final stage: {what}, {seeds} each: {plural(len(final), 'trial')}{rest}"
