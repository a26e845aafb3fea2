"""Which trials a run consists of, as the record knows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.results.record.run_folder import FINISHED, RunFolder, Stage, TrialRecord
from bts_tune.results.trial_count import search_was_extended
from bts_tune.space import NamedTrial, ResolvedSearch, ResolvedSpace


@dataclass(frozen=True)
class PlannedTrial:
    """One trial that is to be run.

    Attributes:
        trial: identifier, unique in the run and safe as a file name.
        name: what a reader calls it.
        index: position in the order of planning.
        baseline: whether it is protected from early stopping and compared with.
        config: everything it depends on.
        stage, origin, fold: as in `results.run_folder.TrialRecord`.
        recorded: how many epochs the record already holds.
        full: as in `results.run_folder.TrialRecord`.
    """

    trial: str
    name: str
    index: int
    baseline: bool
    config: TrialConfig
    changed: tuple[str, ...] = ()
    published: dict[str, Any] | None = None
    stage: Stage = "search"
    origin: str | None = None
    fold: int | None = None
    recorded: int = 0
    full: dict[str, Any] = field(default_factory=dict)

    def event(self) -> dict[str, Any]:
        """Return what the record's `planned` event holds."""
        return {
            "name": self.name,
            "index": self.index,
            "baseline": self.baseline,
            "changed": list(self.changed),
            "published": self.published,
            "config": self.config.to_dict(),
            "config_id": self.config.config_id,
            "recipe_id": self.config.recipe_id,
            "stage": self.stage,
            "origin": self.origin,
            "fold": self.fold,
            **({"full": self.full} if self.full else {}),
        }


def from_named(trial: NamedTrial, index: int, fold: int | None = None) -> PlannedTrial:
    """Plan a named trial of the space, on one of the folds where there are any."""
    return PlannedTrial(
        trial.trial if fold is None else f"{trial.trial}-fold{fold}",
        trial.name,
        index,
        trial.baseline,
        trial.config,
        tuple(trial.changed),
        trial.published,
        fold=fold,
        full=trial.full,
    )


def named_trials(space: ResolvedSpace, folds: int | None = None) -> list[PlannedTrial]:
    """Plan the named trials of a space; of a cross-validation, each once on every fold, fold by fold."""
    of_folds: list[int | None] = [*range(1, folds + 1)] if folds else [None]
    return [from_named(one, 0, fold) for fold in of_folds for one in space.named]


def from_search(config: TrialConfig, number: int, index: int, full: dict[str, Any] | None = None) -> PlannedTrial:
    """Plan the `number`-th searched trial (from 1); `full` are the fields that a lower fidelity has replaced in it."""
    trial = f"search-{number:04d}"
    return PlannedTrial(trial, trial, index, False, config, full=full or {})


def from_record(record: TrialRecord) -> PlannedTrial:
    """Plan again what an earlier process planned and did not finish."""
    return PlannedTrial(
        record.trial,
        record.name,
        record.index,
        record.baseline,
        TrialConfig.parse(record.config, f"trial {record.trial}"),
        tuple(record.changed),
        record.published,
        record.stage,
        record.origin,
        record.fold,
        recorded=len(record.rows),
        full=record.full,
    )


@dataclass(frozen=True)
class Plan:
    """What is left to do in one stage of a run.

    Attributes:
        fixed: trials that are decided: named ones, and those an earlier process left unfinished.
        finished: what earlier processes finished, for the searcher and the scheduler to learn from.
        searched: how many configurations the search has tried, or begun to.
        to_search: how many more it may try.
    """

    fixed: tuple[PlannedTrial, ...]
    finished: tuple[TrialRecord, ...]
    searched: int
    to_search: int

    @property
    def trials(self) -> int:
        """How many trials are left to run."""
        return len(self.fixed) + self.to_search


NOTHING = Plan((), (), 0, 0)
"""Nothing is left to do."""


RETRIED: frozenset[str] = frozenset({"failed", "oom"})
"""What `--retry-failed` tries again. A trial that diverged would do so again: every epoch follows from the seed."""


def plan_search(
    folder: RunFolder, space: ResolvedSpace, folds: int | None = None, *, retry_failed: bool = False
) -> Plan:
    """Return what is left to do in the search stage, recording the named trials of a new run as planned.

    Nothing is left once trials of the final stage are planned: they were chosen by what the search had found. A search
    that was extended since is open until it has tried what was added.

    Args:
        folder: the run, which the caller holds.
        space: its trials.
        folds: of a cross-validation; the named trials are run once on each, fold by fold.
        retry_failed: whether trials that failed are run again, from their beginning.
    """
    finished = FINISHED - RETRIED if retry_failed else FINISHED
    records = folder.trials()
    known = {record.trial for record in records}
    planned = named_trials(space, folds)
    wanted = space.search.num_trials if space.search else 0
    searched = len(
        {record.trial for record in records if record.stage == "search"} - {trial.trial for trial in planned}
    )
    open_trials = any(record.stage == "search" and record.status not in finished for record in records)
    extended = search_was_extended(folder.read_run()) and (searched < wanted or open_trials)
    closed = any(record.stage == "final" for record in records) and not extended
    index = len(records)
    for trial in planned:
        if trial.trial not in known and not closed:
            folder.append_event("planned", trial.trial, **replace(trial, index=index).event())
            index += 1
    records = [record for record in folder.trials() if record.stage == "search"]
    return Plan(
        fixed=() if closed else _unfinished(records, finished),
        finished=tuple(record for record in records if record.status in finished),
        searched=searched,
        to_search=0 if closed else max(0, wanted - searched),
    )


def plan_rest_of_final(folder: RunFolder, *, retry_failed: bool = False) -> Plan:
    """Return what is left to do in the final stage, in the order in which it was planned."""
    finished = FINISHED - RETRIED if retry_failed else FINISHED
    return Plan(_unfinished([record for record in folder.trials() if record.stage == "final"], finished), (), 0, 0)


def _unfinished(records: Sequence[TrialRecord], finished: frozenset[str]) -> tuple[PlannedTrial, ...]:
    return tuple(from_record(record) for record in records if record.status not in finished)


def preprocessings(space: ResolvedSpace) -> list[PreprocessingPart]:
    """Return every preprocessing that a trial of the space can ask for, each once."""
    wanted = [config.part(PreprocessingPart) for one in space.named for config in (one.config, one.in_full)]
    for search in _searches(space):
        wanted += search.all_preprocessing()
    return list(dict.fromkeys(wanted))


def _searches(space: ResolvedSpace) -> list[ResolvedSearch]:
    """Return the search, and where it runs at a lower fidelity also what the final stage trains of it."""
    if space.search is None:
        return []
    return [space.search, space.search.in_full] if space.search.full else [space.search]


def largest_batches(space: ResolvedSpace) -> dict[float, int]:
    """Return the largest batch size of the trials on each share of the training images."""
    configs = [config for one in space.named for config in (one.config, one.in_full)]
    pairs = [(config.train_share, config.batch_size) for config in configs]
    for search in _searches(space):
        pairs += search.all_batches()
    found: dict[float, int] = {}
    for share, batch_size in pairs:
        found[share] = max(batch_size, found.get(share, 0))
    return found


def models(space: ResolvedSpace) -> list[tuple[str, str]]:
    """Return every (decoder, encoder) that a trial of the space can ask for, each once."""
    wanted: list[tuple[str, str]] = [(named.config.decoder, named.config.encoder) for named in space.named]
    if space.search is not None:
        wanted += space.search.all_models()
    return list(dict.fromkeys(wanted))


def encoders(space: ResolvedSpace) -> list[tuple[str, str]]:
    """Return every (encoder, encoder_weights) that a trial of the space can ask for, each once."""
    wanted = [(named.config.encoder, named.config.encoder_weights) for named in space.named]
    if space.search is not None:
        wanted += space.search.all_encoders()
    return list(dict.fromkeys(wanted))
