"""A study in an Optuna storage, for optuna-dashboard and `optuna.visualization`."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from bts_tune.errors import ConfigError, RunError
from bts_tune.export.context import ExportContext
from bts_tune.export.formats.base import EXPORTS, Export, Exported
from bts_tune.export.whole import whole
from bts_tune.plugins import missing_plugins
from bts_tune.results.ranking.leaderboard import total_seconds
from bts_tune.results.ranking.settings import setting, varied_fields
from bts_tune.results.record.objective import Objective
from bts_tune.results.record.run_folder import Stage, TrialRecord
from bts_tune.results.record.status import TrialStatus
from bts_tune.results.storage.sqlite import file_of, is_in_memory, sqlite_url
from bts_tune.space import Space
from bts_tune.space.parameter import Parameter
from bts_tune.text import first_line, plural
from bts_tune.version import __version__

_STATES: Mapping[TrialStatus, TrialState] = {
    "complete": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "diverged": TrialState.FAIL,
    "oom": TrialState.FAIL,
    "failed": TrialState.FAIL,
    "interrupted": TrialState.RUNNING,  # it goes on where it was when the run is resumed
    "running": TrialState.RUNNING,
    "waiting": TrialState.WAITING,
}


@EXPORTS.register("optuna")
class Optuna(Export):
    """A study of the run's search, named like the run, and one of its final stage, where there is one.

    Trials have Optuna's state, the running best at each epoch as intermediate values, the parameters that are searched
    with the space's ranges, and as user attributes what the record says of them besides. Of a trial that has a value
    outside of a range, as a baseline may, that parameter is an attribute alone.
    """

    title = "a study in an Optuna storage (--storage sqlite:///study.db), for optuna-dashboard"

    def write(self, context: ExportContext, output: str | None) -> Exported:
        """Write the studies; `output` is the URL of a storage, or the path of a journal file."""
        if context.trial is not None:
            raise ConfigError("--trial: a study has all trials of the run; leave the option out.")
        storage = output or sqlite_url(context.folder.path / "exports" / "optuna.db")
        if is_in_memory(storage):
            raise ConfigError(f"--storage {storage}: keeps nothing; name a file, such as sqlite:///study.db.")
        parameters, notes = _parameters(context)
        stages: list[Stage] = [stage for stage in ("search", "final") if _of(context, stage)]
        if not stages:
            raise RunError(f"{context.folder}: no trial of this run is planned yet, so there is nothing to export.")
        with _opened(storage) as opened:
            written = []
            try:
                for stage in stages:
                    name = context.run_name if stage == "search" else f"{context.run_name} (final stage)"
                    _write_study(opened, storage, name, context, stage, parameters)
                    written.append(name)
            except BaseException as error:
                for name in written:
                    with contextlib.suppress(optuna.exceptions.StorageInternalError, OSError):  # as below
                        optuna.delete_study(study_name=name, storage=opened)
                if isinstance(error, optuna.exceptions.StorageInternalError | OSError):
                    raise RunError(
                        f"--storage {_without_password(storage)}: cannot be written: {first_line(error)}"
                    ) from None
                raise
        counts = (
            f"study {name!r}: {plural(len(_of(context, stage)), 'trial')}"
            for name, stage in zip(written, stages, strict=True)
        )
        return Exported(_without_password(storage), (*counts, *notes))


def _of(context: ExportContext, stage: Stage) -> list[TrialRecord]:
    return [record for record in context.trials if record.stage == stage]


def _parameters(context: ExportContext) -> tuple[dict[str, Parameter], list[str]]:
    """Return what was searched, and a note where that is not known; without a search, what differs between trials."""
    options: Any = context.run.get("options") or {}
    notes = []
    if context.run.get("space"):
        try:
            space = Space.from_document(context.run["space"])
            overrides = options.get("overrides")
            if not isinstance(overrides, dict):
                overrides = {}
            search = space.resolve(overrides=overrides, demo=context.run.get("profile") == "demo").search
            if search is not None:
                return search.parameters, []
        except ConfigError as error:
            notes = [
                f"Ranges are those of the trials' values, since the space's cannot be read: {error} "
                f"{missing_plugins(context.run.get('plugins'))}".strip()
            ]
    return {name: _seen(context.trials, name) for name in varied_fields(context.trials) if name != "seed"}, notes


def _seen(trials: Sequence[TrialRecord], name: str) -> Parameter:
    """Return the range of the values that a field has in a run's trials."""
    values = [setting(record, name) for record in trials]
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) == len(values) and any(isinstance(one, float) for one in values):
        return Parameter(float=[float(min(numbers)), float(max(numbers))])
    if len(numbers) == len(values):
        return Parameter(int=[min(numbers), max(numbers)])
    return Parameter(choices=list({repr(one): one for one in values}.values()))


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.float_:
        low, high = parameter.float_
        return FloatDistribution(low, high, log=parameter.log, step=parameter.step)
    if parameter.int_:
        low, high = parameter.int_
        return IntDistribution(low, high, log=parameter.log, step=int(parameter.step or 1))
    return CategoricalDistribution(tuple(parameter.choices or ()))


def _write_study(
    storage: BaseStorage,
    address: str,
    name: str,
    context: ExportContext,
    stage: Stage,
    parameters: Mapping[str, Parameter],
) -> None:
    objective = Objective.of_run(context.run)
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction=objective.direction)
    except optuna.exceptions.DuplicatedStudyError:
        shown = _without_password(address)
        remove = shlex.join(["optuna", "delete-study", "--storage", shown, "--study-name", name])
        raise ConfigError(
            f"--storage {shown}: has a study named {name!r} already; name another storage, or remove the study with: "
            f"{remove}"
        ) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([objective.column])
        dataset = context.run.get("dataset") or {}
        attributes = {
            "bts_tune": __version__,
            "run": context.run_name,
            "stage": stage,
            "status": context.run.get("status"),
            "profile": context.run.get("profile"),
            "dataset_fingerprint": dataset.get("fingerprint"),
        }
        for key, content in attributes.items():
            study.set_user_attr(key, content)
        study.add_trials([_frozen(record, parameters) for record in _of(context, stage)])
    except BaseException:
        with contextlib.suppress(
            optuna.exceptions.StorageInternalError, OSError
        ):  # it may be why nothing can be written
            optuna.delete_study(study_name=name, storage=storage)
        raise


def _frozen(record: TrialRecord, parameters: Mapping[str, Parameter]) -> FrozenTrial:
    state = _STATES[record.status]
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        content = setting(record, name)
        if parameter.holds(values) and _contains(parameter, content):
            values[name] = content
    column = record.objective.best_column  # as in the search itself
    reported = {row["epoch"]: row[column] for row in record.rows if row.get(column) is not None}
    best = record.best_row
    result = None
    if state is TrialState.COMPLETE and best is None:  # its rows are lost
        state = TrialState.FAIL
    elif state is TrialState.COMPLETE and best is not None:
        result = record.objective.value(best)
    elif state is TrialState.PRUNED and reported:
        result = reported[max(reported)]  # as `study.tell` has it
    started = _started(record)
    frozen = optuna.create_trial(
        state=TrialState.WAITING,
        params=values,
        distributions={name: _distribution(parameters[name]) for name in values},
        user_attrs=_attributes(record),
        intermediate_values=reported,
    )
    # `create_trial` would have taken the present for its times.
    frozen.state, frozen.values = state, None if result is None else [result]
    frozen.datetime_start = None if state is TrialState.WAITING else _moment(started)
    if state.is_finished():
        frozen.datetime_complete = _moment(max(started, _ended(record, started)))
    return frozen


def _contains(parameter: Parameter, content: Any) -> bool:
    try:
        return content is not None and parameter.contains(content)
    except TypeError:  # a text where the space has numbers: a record may be damaged
        return False


def _moment(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds)
    except (OverflowError, ValueError, OSError):  # a damaged record
        return datetime.fromtimestamp(0)


def _started(record: TrialRecord) -> float:
    """Return when a trial began; where nobody wrote that down, when it would have to end with its first epoch."""
    times = [record.started.get("time"), *(row.get("time") for row in record.rows)]
    return next((float(time) for time in times if isinstance(time, int | float)), 0.0)


def _ended(record: TrialRecord, started: float) -> float:
    last = record.rows[-1].get("time") if record.rows else None
    if isinstance(last, int | float):
        return float(last)
    if not record.rows and record.ended is not None:  # it failed before its first epoch ended
        return float(record.ended)
    return started + (total_seconds(record) or 0.0)


def _attributes(record: TrialRecord) -> dict[str, Any]:
    best = record.best_row or {}
    plain = {
        "trial": record.trial,
        "name": record.name,
        "status": record.status,
        "reason": record.reason,
        "baseline": record.baseline,
        "changed": record.changed,
        "origin": record.origin,
        "fold": record.fold,
        "seed": setting(record, "seed"),
        "config_id": record.config_id,
        "config": record.config,
        "best_epoch": best.get("epoch"),
        "epochs_run": len(record.rows),
        "parameters": record.started.get("parameters"),
    }
    metrics = {name: content for name, content in best.items() if name.startswith("val_")}
    return {name: content for name, content in {**plain, **metrics, **record.test}.items() if content not in (None, "")}


@contextlib.contextmanager
def _opened(address: str) -> Iterator[BaseStorage]:
    """Open a storage; a file of SQLite or a journal that is new appears when all is in it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    is_url = "://" in address
    file = file_of(address) if is_url else Path(address)
    if file is None or file.exists():
        with _storage(address, address) as storage:
            yield storage
        return
    with whole(file) as path, _storage(sqlite_url(path) if is_url else str(path), address) as storage:
        yield storage


@contextlib.contextmanager
def _storage(address: str, shown: str) -> Iterator[BaseStorage]:
    storage: BaseStorage
    try:
        if "://" in address:
            storage = RDBStorage(address)
        else:
            _require_journal(Path(address))
            storage = JournalStorage(JournalFileBackend(address))
            storage.get_all_studies()  # it is read no sooner
    except Exception as error:  # SQLAlchemy's, those of a database's driver, and a journal's JSON
        raise ConfigError(
            f"--storage {_without_password(shown)}: cannot be opened: {_without_password(first_line(error))}"
        ) from None
    try:
        yield storage
    finally:
        storage.remove_session()
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()


def _require_journal(path: Path) -> None:
    """Raise a ValueError where a file holds something else: Optuna would take its last line for a torn one."""
    first = path.open("rb").readline() if path.exists() else b""
    if first and "op_code" not in dict(json.loads(first)):
        raise ValueError("it is no journal of Optuna")


def _without_password(address: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//…@", address)
