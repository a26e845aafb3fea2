"""Carries out a run from its options to its report; goes on with one that was cut off."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bts_tune.config import PreprocessingPart
from bts_tune.data.cache import default_cache
from bts_tune.data.check import CheckReport, check_dataset, render
from bts_tune.data.demo import PATIENT, demo_dataset
from bts_tune.data.prepare import PreparedData, bytes_to_prepare, prepare
from bts_tune.data.records import Dataset
from bts_tune.data.scan import scan_dataset
from bts_tune.data.sources import open_dataset
from bts_tune.data.splitting import (
    Split,
    cross_validation,
    folded,
    make_split,
    read_folds,
    read_split,
    reassigned,
    split_hash,
)
from bts_tune.errors import BrokenDatasetError, ConfigError, RunError, RunStoppedError
from bts_tune.experiment.changes import changes_since, code_hash, device_changes, refuse
from bts_tune.experiment.cluster import Cluster, Share, connected, lost_sentence, share_out
from bts_tune.experiment.disk import needed_by, require_room, written
from bts_tune.experiment.environment import hardware, versions
from bts_tune.experiment.evaluation import evaluate_models
from bts_tune.experiment.final import announcement, plan_final, repeated
from bts_tune.experiment.interruption import sigterm_as_ctrl_c
from bts_tune.experiment.locate import find_run
from bts_tune.experiment.options import RunOptions
from bts_tune.experiment.packing import packed
from bts_tune.experiment.plan import Plan, encoders, models, plan_rest_of_final, plan_search, preprocessings
from bts_tune.experiment.preview import preview
from bts_tune.experiment.progress import ProgressView
from bts_tune.experiment.recorder import Recorder
from bts_tune.experiment.tuning import Materials, Outcome, tune_trials
from bts_tune.experiment.warm_start import earlier_trials, read_earlier
from bts_tune.progress_bar import bar
from bts_tune.report.words import demo_sentence
from bts_tune.report.write import ReportFiles, write_report
from bts_tune.space import Final, ResolvedSearch, ResolvedSpace, Space, load_space
from bts_tune.store import RunFolder
from bts_tune.training.encoders import first_line
from bts_tune.training.model import parameters_of
from bts_tune.training.scores import METRICS_VERSION
from bts_tune.training.weights import resolve_weights

_NO_FINAL_WITH_FOLDS = "a final stage cannot go with folds; --seeds N runs each fold with several seeds."

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Finished:
    """How a run ended, and where its report is."""

    folder: RunFolder
    outcome: Outcome
    report: ReportFiles


def start(
    options: RunOptions, *, results: Path, name: str | None, command: Sequence[str], console: Console
) -> Finished:
    """Begin a run and carry it out.

    Raises:
        BtsTuneError: something that the user can mend; nothing was trained.
    """
    with sigterm_as_ctrl_c():
        return _start(_absolute(options), results, name, command, console)


def _start(options: RunOptions, results: Path, name: str | None, command: Sequence[str], console: Console) -> Finished:
    space = load_space(options.space)
    resolved = _resolve(space, options)
    demo = options.data is None
    path = _new_path(results, name, space.name, demo)
    opened = _open_checked(options, console)
    dataset, split = opened.dataset, opened.split
    warm_start = _warm_start(options, resolved, dataset, results, console)
    materials, _held = _materials(opened.folds, resolved, options, console)
    run = {
        "run": path.name,
        "created": _now(),
        "command": list(command),
        "status": "running",
        "ended": None,
        "profile": "demo" if demo else "data",
        "metrics": METRICS_VERSION,
        "versions": versions(),
        "code": code_hash(),
        "hardware": hardware(),
        "dataset": {
            "path": str(dataset.root.absolute()),
            "layout": dataset.layout,
            "fingerprint": dataset.fingerprint(),
            "content": dataset.fingerprint(splits=False),
            "splits": {split: len(records) for split, records in dataset.records.items()},
            "categories": {str(number): label for number, label in dataset.categories.items()},
            "split": split.to_dict(),
            "check": opened.checked.to_dict(),
        },
        "weights": _used(materials),
        "space": space.document,
        "options": options.model_dump(mode="json"),
        "seeds": sorted({named.config.seed for named in resolved.named}),
        "warm_start": warm_start,
    }
    split.write(RunFolder(path).split_file)
    folder = RunFolder.create(path, run)
    return _carry_out(folder, resolved, materials, options, console)


def resume(
    folder: RunFolder,
    given: dict[str, Any],
    *,
    console: Console,
    extend_by: int | None = None,
    allow_changed: bool = False,
) -> Finished:
    """Go on with a run: what it finished stays, what was cut off goes on from its last epoch.

    Args:
        folder: the run.
        given: options of how it is carried out that were given anew, and where the dataset is now.
        extend_by: how many trials to add to its search; a final stage then trains what is best of all.
        allow_changed: go on although data, weights, code, versions or device are not what the run began with; what
            changed is recorded.

    Raises:
        BtsTuneError: something that the user can mend, such as a dataset that is no longer the same.
    """
    with sigterm_as_ctrl_c():
        run, options = _recorded(folder, given)
        if (
            "final" not in (run["space"].get("search") or {})
            and options.final_top is None
            and options.final_seeds is None
        ):
            # Of a version without a final stage: the run goes on as it began, and `add_final` adds the stage.
            options = options.model_copy(update={"final_top": 0})
        resolved = _resolve(Space.from_document(run["space"]), options)
        if extend_by is not None:
            options = _extended(folder, resolved, options, extend_by)
            resolved = _resolve(Space.from_document(run["space"]), options)
        return _go_on(folder, run, options, resolved, console, extend_by=extend_by, allow_changed=allow_changed)


def add_final(
    folder: RunFolder,
    top: int | None,
    seeds: int | None,
    given: dict[str, Any],
    *,
    console: Console,
    allow_changed: bool = False,
) -> Finished:
    """Add a final stage to a run, or what its final stage lacks; a search that is not finished is closed.

    Args:
        folder: the run.
        top: configurations of the stage; by default those that the run or its space asks for.
        seeds: fresh seeds of each, likewise.
        given: options of how it is carried out that were given anew.
        allow_changed: as for `resume`.

    Raises:
        BtsTuneError: something that the user can mend; nothing was trained.
    """
    if top == 0:
        raise ConfigError("--final-top 0: adds nothing; it must be at least 1 here.")
    asked = {name: value for name, value in (("final_top", top), ("final_seeds", seeds)) if value is not None}
    run, options = _recorded(folder, {**given, **asked})
    if options.folds is not None:
        raise ConfigError(f"{folder}: this run cross-validates; {_NO_FINAL_WITH_FOLDS}")
    space = Space.from_document(run["space"])
    final = _resolve(space, options).final or Final(seeds=options.final_seeds or Final().seeds)
    trials = folder.trials()
    planned = [record for record in trials if record.stage == "final"]
    if planned:
        # What is planned stays, and a report must not call the stage smaller than it is.
        own = {record.name for record in planned if not record.baseline}
        all_seeds = {record.config["seed"] for record in planned}
        final = Final(top=max(final.top, len(own)), seeds=max(final.seeds, len(all_seeds)))
    if not repeated(trials, final.top):
        raise RunError(f"{folder}: has no baseline, and no other trial with an epoch on record, to train again.")
    options = options.model_copy(update={"final_top": final.top, "final_seeds": final.seeds})
    with sigterm_as_ctrl_c():
        resolved = _resolve(space, options)
        return _go_on(folder, run, options, resolved, console, closes=True, allow_changed=allow_changed)


def _recorded(folder: RunFolder, given: Mapping[str, Any]) -> tuple[dict[str, Any], RunOptions]:
    """Return what a run is, and its options with those that were given anew."""
    run = folder.read_run()
    for field in ("options", "space", "dataset"):
        if not run.get(field):
            raise RunError(f"{folder.run_file}: {field}: must be given, or the run cannot go on.")
    stored = dict(run["options"])
    if stored.get("data") is not None and isinstance(run["dataset"].get("path"), str):
        stored["data"] = run["dataset"]["path"]  # an earlier version kept it as it was typed, in some other folder
    if given.get("data") is not None and run.get("profile") == "demo":
        raise ConfigError("--data: this run is a demo on generated slices; start a new run on the dataset.")
    return run, _absolute(RunOptions.parse({**stored, **given}))


def _extended(folder: RunFolder, space: ResolvedSpace, options: RunOptions, by: int) -> RunOptions:
    if space.search is None:
        raise ConfigError(f"--extend {folder}: this run has no search, so there are no trials to add.")
    if by < 1:
        raise ConfigError(f"--num-trials {by}: must be at least 1; it is how many trials --extend adds.")
    trials = folder.trials()
    if any(record.stage == "final" for record in trials):
        # Its search was closed, by a time budget perhaps before it had tried all that it might have.
        named = {named.trial for named in space.named}
        before = sum(record.stage == "search" and record.trial not in named for record in trials)
    else:
        before = space.search.num_trials
    return options.model_copy(update={"num_trials": before + by})


@dataclass(frozen=True)
class _GoingOn:
    """What the `run.json` of a run that goes on is to say besides."""

    changed: list[str]
    allow_changed: bool
    extended_by: int | None
    dataset: dict[str, Any]
    weights: list[dict[str, Any]]


def _go_on(
    folder: RunFolder,
    run: Mapping[str, Any],
    options: RunOptions,
    space: ResolvedSpace,
    console: Console,
    *,
    extend_by: int | None = None,
    closes: bool = False,
    allow_changed: bool,
) -> Finished:
    if options.data is not None and not Path(options.data).exists():
        raise RunError(f"{options.data}: the run's dataset is not there; if it has moved, name its folder with --data.")
    dataset, folds = _reopen(folder, run, options, console)
    materials, _held = _materials(folds, space, options, console)
    changed = changes_since(
        run,
        fingerprint=dataset.fingerprint(),
        weights=_used(materials),
        versions=versions(),
        code=code_hash(),
        named=space.named if options.folds is None else [],
        trials=folder.trials(),
    )
    if changed and not allow_changed:
        raise refuse(folder, changed)
    record = {**run["dataset"], "path": str(dataset.root.absolute()), "fingerprint": dataset.fingerprint()}
    going_on = _GoingOn(changed, allow_changed, extend_by, record, _used(materials))
    return _carry_out(folder, space, materials, options, console, going_on, closes=closes)


def _used(materials: Materials) -> list[dict[str, Any]]:
    return [weights.to_dict() for weights in materials.weights.values()]


def _absolute(options: RunOptions) -> RunOptions:
    """Make paths independent of the folder that the command runs in: a resume may be given in another."""
    paths = {name: getattr(options, name) for name in ("data", "weights_dir", "cache")}
    absolute = {name: str(Path(path).expanduser().absolute()) for name, path in paths.items() if path is not None}
    return options.model_copy(update=absolute)


def _reopen(
    folder: RunFolder, run: Mapping[str, Any], options: RunOptions, console: Console
) -> tuple[Dataset, dict[int | None, Dataset]]:
    """Return the dataset of a recorded run, split as it was when the run began, and that of each of its folds."""
    dataset = _open(options, console)
    if run["dataset"].get("split", {}).get("method") == "grouped":
        # Read rather than dealt anew: another version of scikit-learn may deal otherwise.
        dataset = reassigned(dataset, read_split(folder.split_file))
    if options.folds is None:
        return dataset, {None: dataset}
    folds = read_folds(folder.split_file)
    if split_hash({one.name: one.split for one in dataset}, folds) != run["dataset"].get("split", {}).get("hash"):
        raise RunError(
            f"{folder.split_file}: the folds are no longer what run {folder.path.name} began with; put the file back "
            "as it was, or start a new run."
        )
    return dataset, dict(enumerate(folded(dataset, folds), start=1))


def dry_run(options: RunOptions, console: Console) -> None:
    """Print what a run would do and cost; train nothing, write nothing but a demo dataset into the cache."""
    space = load_space(options.space)
    resolved = _resolve(space, options)
    # What a grouped split or a fold is depends on every image; the split that the dataset has does not.
    if options.split == "provided" and options.folds is None:
        folds: Mapping[int | None, Dataset] = {None: _open(options, console)}
    else:
        folds = _open_checked(options, console).folds
    console.print(f"Dry run of space {space.name!r}; nothing is trained.", highlight=False)
    text = preview(resolved, [len(dataset.records["train"]) for dataset in folds.values()])
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _resolve(space: Space, options: RunOptions) -> ResolvedSpace:
    first = space.resolve()
    resolved = space.resolve(
        overrides=options.overrides,
        only=options.only,
        seeds=options.seed_list([named.config.seed for named in first.named] or [0]),
        demo=options.data is None,
        num_trials=options.num_trials,
        final_top=options.final_top,
        final_seeds=options.final_seeds,
    )
    if options.folds is not None:
        if resolved.search is not None:
            raise ConfigError(
                f"--folds {options.folds}: cannot go with a search, whose choice would have seen the images that the "
                "folds validate on; pick named trials (--only NAME), or take a space without a search."
            )
        if resolved.final is not None:
            raise ConfigError(f"--folds {options.folds}: {_NO_FINAL_WITH_FOLDS}")
    return resolved


def _warm_start(
    options: RunOptions, resolved: ResolvedSpace, dataset: Dataset, results: Path, console: Console
) -> dict[str, Any] | None:
    if options.warm_start is None:
        return None
    folder = find_run(options.warm_start, results)
    run = folder.read_run()
    if not run.get("options") or not run.get("space"):
        raise RunError(f"--warm-start {folder}: its run.json does not say what it searched.")
    earlier = _resolve(Space.from_document(run["space"]), RunOptions.parse(run["options"]))
    warm_start = read_earlier(folder, earlier.search, resolved.search, dataset.fingerprint())
    count = len(warm_start["trials"])
    console.print(f"Warm start: the search learns from {count} trials of {folder}", highlight=False, soft_wrap=True)
    return warm_start


def _open(options: RunOptions, console: Console) -> Dataset:
    cache = Path(options.cache) if options.cache else default_cache()
    if options.data is None:
        console.print(demo_sentence({"profile": "demo"}), style="bold yellow", highlight=False, soft_wrap=True)
        with bar(console, "generating phantoms") as progress:
            root = demo_dataset(cache, progress)
        return open_dataset(root)
    return open_dataset(Path(options.data), tumor_categories=options.tumor_categories, split_seed=options.split_seed)


@dataclass(frozen=True)
class _Opened:
    dataset: Dataset
    folds: dict[int | None, Dataset]  # the dataset itself, as None, where there are no folds
    checked: CheckReport
    split: Split


def _open_checked(options: RunOptions, console: Console) -> _Opened:
    dataset = _open(options, console)
    with bar(console, "checking the dataset") as progress:
        scan = scan_dataset(dataset, progress=progress)
    group_by = PATIENT if options.data is None and options.group_by is None else options.group_by
    dataset, split = make_split(dataset, scan, options.split, seed=options.split_seed, group_by=group_by)
    checked = check_dataset(dataset, scan=scan, groups=split.labels(scan))
    if checked.errors:
        console.print(render(checked), highlight=False, markup=False, soft_wrap=True)
        raise BrokenDatasetError(
            f"{dataset.root}: the dataset has {len(checked.errors)} error(s), listed above; nothing was trained."
        )
    folds: dict[int | None, Dataset] = {None: dataset}
    if options.folds is not None:
        datasets, split = cross_validation(dataset, split, scan, options.folds)
        folds = dict(enumerate(datasets, start=1))
    counts = ", ".join(f"{len(records)} {split}" for split, records in dataset.records.items())
    warnings = len(checked.warnings)
    also = f"; {warnings} warning{'s' if warnings != 1 else ''}: bts-tune data check {dataset.root}" if warnings else ""
    console.print(f"Dataset {dataset.root}: {counts}{also}", highlight=False, markup=False, soft_wrap=True)
    console.print(split.sentence(), highlight=False, markup=False, soft_wrap=True)
    return _Opened(dataset, folds, checked, split)


def _materials(
    datasets: Mapping[int | None, Dataset], space: ResolvedSpace, options: RunOptions, console: Console
) -> tuple[Materials, list[PreparedData]]:
    """Find everything that trials need before the first one starts: weights first, since they fail fastest.

    Raises:
        ConfigError: SMP cannot build a model that a trial may ask for.
        WeightsError: weights that a trial may ask for cannot be had.
        DataError, RunError: the dataset cannot be prepared; there is no room for it.
    """
    parameters = {pair: parameters_of(*pair) for pair in models(space)}
    weights_dir = Path(options.weights_dir) if options.weights_dir else None
    weights = {pair: resolve_weights(*pair, weights_dir) for pair in encoders(space)}
    cache = Path(options.cache) if options.cache else default_cache()
    parts = preprocessings(space)
    to_prepare = sum(bytes_to_prepare(data, part, cache=cache) for part in parts for data in datasets.values())
    require_room(cache, to_prepare, "the prepared data")
    prepared: dict[tuple[PreprocessingPart, int | None], PreparedData] = {}
    for part in preprocessings(space):
        for fold, dataset in datasets.items():
            which = f", fold {fold}" if fold is not None else ""
            with bar(console, f"preparing {part.image_size} px, equalisation {part.equalization}{which}") as progress:
                prepared[part, fold] = prepare(dataset, part, cache=cache, progress=progress)
    # The caller holds the prepared data, so that nobody clears it from the cache during the run.
    folders = {key: str(data.folder) for key, data in prepared.items()}
    return Materials(folders, weights, parameters), list(prepared.values())


def _carry_out(
    folder: RunFolder,
    space: ResolvedSpace,
    materials: Materials,
    options: RunOptions,
    console: Console,
    going_on: _GoingOn | None = None,
    *,
    closes: bool = False,
) -> Finished:
    """Run the search stage and the final stage, evaluate, and report.

    Args:
        going_on: of a run that had begun before.
        closes: whether the search stage is left as it is.
    """
    with folder.locked(), contextlib.ExitStack() as signals:
        stages = _Stages(folder, materials, options, console)
        outcome: Outcome = "complete"
        began = False
        try:
            with connected(options, resume=folder.resume_command) as cluster:
                # Ray took SIGTERM over when it started.
                signals.enter_context(sigterm_as_ctrl_c())
                stages = replace(stages, options=_packed(options, space, materials, cluster, console))
                _record_start(folder, options, stages.share(cluster, Plan((), (), 0, 0)), going_on)
                began = True
                folder.update_run(gpus_per_trial=stages.options.gpus_per_trial)
                plan = Plan((), (), 0, 0) if closes else plan_search(folder, space, options.folds)
                share = stages.share(cluster, plan)
                needed = needed_by(space, materials.parameters, share.concurrent, options.folds or 1)
                to_write = max(0, needed.total - written([folder.path]))
                room = require_room(folder.path, to_write, "results, checkpoints and models")
                console.print(f"Disk: {room}", highlight=False, markup=False, soft_wrap=True)
                _announce(folder, cluster.dashboard, share, plan.trials, console)
                outcome = stages.train(cluster, plan, space.search, options.time_budget)
                if outcome == "complete":
                    outcome = stages.conclude(cluster, space.final, "the search was closed")
            if outcome == "out-of-time" and space.final is not None and repeated(folder.trials(), space.final.top):
                console.print("The time budget is spent: the search is closed, and its final stage follows.")
                # What was still training holds its cores and GPUs until Ray ends.
                with connected(options, resume=folder.resume_command) as cluster:
                    signals.enter_context(sigterm_as_ctrl_c())
                    outcome = stages.conclude(cluster, space.final, "the time budget of the search was spent")
            if outcome == "complete":
                # Ray's own logs and states are a cache of the record; of a complete run nothing needs them.
                shutil.rmtree(folder.path / "ray", ignore_errors=True)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):  # the second one: at once, without a report
                if began or going_on is None:
                    folder.update_run(status="interrupted", ended=_now())
                _say_how_to_go_on(folder, console)
            elif began or going_on is None:  # a resume that was refused leaves the run as it was
                with contextlib.suppress(OSError, RunError):  # on a full disk, which `error` tells of
                    folder.update_run(status="failed", ended=_now(), reason=first_line(error))
                    write_report(folder)
            raise
        # Ray gave SIGTERM back to the system when it ended, behind Python's back.
        signals.enter_context(sigterm_as_ctrl_c())
        folder.update_run(status=outcome, ended=_now())
        try:
            return Finished(folder, outcome, write_report(folder))
        except KeyboardInterrupt:
            _say_how_to_go_on(folder, console)
            raise


def _record_start(folder: RunFolder, options: RunOptions, share: Share, going_on: _GoingOn | None) -> None:
    """Record that the run goes on from here, on what, and with what changed.

    Raises:
        RunError: trials would run on another kind of device than before.
    """
    run = folder.read_run()
    updates: dict[str, Any] = {"status": "running", "ended": None, "reason": None, "device": _device(share)}
    if going_on is not None:
        changed = going_on.changed + device_changes(run, updates["device"])
        if changed and not going_on.allow_changed:
            raise refuse(folder, changed)
        updates |= {"options": options.model_dump(mode="json"), "dataset": going_on.dataset}
        if changed:
            updates["changes"] = [*run.get("changes", []), {"time": _now(), "changed": changed}]
            # What is there now is what the next resume is compared with; `changes` tells what was there before.
            updates |= {"versions": versions(), "code": code_hash(), "weights": going_on.weights}
        if going_on.extended_by is not None:
            extension = {"time": _now(), "trials": going_on.extended_by}
            updates["extensions"] = [*run.get("extensions", []), extension]
    folder.update_run(**updates)


def _device(share: Share) -> str:
    gpus = sorted({gpu["name"] for gpu in hardware()["gpus"]}) if share.device == "cuda" else []
    return f"{share.device} ({', '.join(gpus)})" if gpus else share.device


def _say_how_to_go_on(folder: RunFolder, console: Console) -> None:
    console.print(f"The run can go on: {folder.resume_command}", highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class _Stages:
    """The stages of one run, on a cluster that is connected to."""

    folder: RunFolder
    materials: Materials
    options: RunOptions
    console: Console

    def share(self, cluster: Cluster, plan: Plan) -> Share:
        # By the trials of the whole run, not by those that are left: on CPUs a trial's figures depend on its threads.
        trials = max(1, len(self.folder.trials()) + plan.to_search)
        return share_out(self.options, cpus=cluster.cpus, gpus=cluster.gpus, trials=trials)

    def train(self, cluster: Cluster, plan: Plan, search: ResolvedSearch | None, time_budget: float | None) -> Outcome:
        """Run the trials of one stage."""
        if not plan.trials:
            return "complete"
        share = self.share(cluster, plan)
        epochs = sum(trial.config.epochs - trial.recorded for trial in plan.fixed)
        epochs += plan.to_search * search.epochs if search is not None else 0
        view = ProgressView(self.console, trials=plan.trials, epochs=epochs, concurrent=share.concurrent)
        with view, Recorder(self.folder, view, time.time) as recorder:
            outcome = tune_trials(
                self.folder,
                plan,
                search,
                self.materials,
                share,
                recorder,
                time_budget=time_budget,
                max_failures=self.options.max_failures,
                trial_timeout=self.options.trial_timeout,
                cluster_lost=cluster.lost,
                earlier=earlier_trials(self.folder.read_run()) if search is not None else (),
            )
        if outcome == "lost":
            raise RunStoppedError(lost_sentence(self.folder.resume_command))
        return outcome

    def conclude(self, cluster: Cluster, final: Final | None, reason: str) -> Outcome:
        """Run the final stage, where there is one, and measure the models.

        Args:
            final: what is trained again.
            reason: why the search was closed, for its unfinished trials.
        """
        plan = Plan((), (), 0, 0)
        if final is not None:
            plan_final(self.folder, final, reason)
            plan = plan_rest_of_final(self.folder)
            text = announcement(self.folder.trials())
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)
            # The time budget is the search's.
            outcome = self.train(cluster, plan, None, None)
            if outcome != "complete":
                return outcome
        try:
            evaluate_models(self.folder, self.materials, self.share(cluster, plan), self.console)
        except KeyboardInterrupt:
            return "interrupted"
        return "complete"


def _packed(
    options: RunOptions, space: ResolvedSpace, materials: Materials, cluster: Cluster, console: Console
) -> RunOptions:
    # The folds of a dataset are of a size.
    folders = {part: folder for (part, _), folder in materials.prepared.items()}

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    return packed(options, space, folders, gpus=cluster.gpus, say=say)


def _announce(folder: RunFolder, dashboard: str | None, share: Any, trials: int, console: Console) -> None:
    where = f"{share.gpus:g} GPU and {share.cpus} cores" if share.gpus else f"{share.cpus} CPU cores"
    console.print(
        f"Run {folder}: {trials} trial{'s' if trials != 1 else ''}, {share.concurrent} at a time, each on {where}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if dashboard is not None:
        console.print(
            f"Ray dashboard: {dashboard} (it asks for a token: ray get-auth-token)", highlight=False, soft_wrap=True
        )
    console.print(f"TensorBoard logs: {folder.path / 'tensorboard'}", highlight=False, soft_wrap=True)


def _new_path(results: Path, name: str | None, space: str, demo: bool) -> Path:
    if name is not None:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"--name {name!r}: allowed are letters, digits, '.', '_' and '-', a letter or digit first."
            )
        path = results / name
        if (path / "run.json").exists():
            raise RunError(f"{path}: a run of this name exists already; choose another --name, or --resume {path}.")
        return path
    stem = f"{datetime.now():%Y-%m-%d_%H%M%S}_{space}{'_demo' if demo else ''}"
    number, path = 2, results / stem
    while path.exists():
        number, path = number + 1, results / f"{stem}_{number}"
    return path


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
