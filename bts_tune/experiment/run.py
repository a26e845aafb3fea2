"""What can be done with a run: start it, resume it, extend its search, add a final stage, or only show its plan."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bts_tune.console import say
from bts_tune.data.records import Dataset
from bts_tune.data.training_share import count_shares
from bts_tune.errors import ConfigError, RunError
from bts_tune.experiment.callbacks.trackers.base import Tracker
from bts_tune.experiment.callbacks.tracking import choose_trackers
from bts_tune.experiment.execution.cluster.address import cluster_address, in_submitted_job
from bts_tune.experiment.execution.cluster.signals import signals_as_ctrl_c
from bts_tune.experiment.execution.duration import duration_here
from bts_tune.experiment.execution.final_stage import configurations_to_repeat
from bts_tune.experiment.execution.nodes.resources import require_possible, require_room_here
from bts_tune.experiment.execution.run_record import NewRun, ResumedRun, free_path, now
from bts_tune.experiment.planning.changes import changed_run_error, changes_since, code_hash
from bts_tune.experiment.planning.definitions import definitions_of_losses, definitions_of_metrics, objective_of_space
from bts_tune.experiment.planning.environment import hardware, versions
from bts_tune.experiment.planning.inputs import (
    cache_folder,
    check_and_split,
    count_parameters,
    find_models,
    open_data,
    prepare_inputs,
    reopen_dataset,
    require_batches,
)
from bts_tune.experiment.planning.left_out import encoders_to_download, leave_out_missing, weights_again
from bts_tune.experiment.planning.options import RunOptions, declarations
from bts_tune.experiment.planning.plan import named_trials, preprocessings
from bts_tune.experiment.planning.preview import DryRun
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.experiment.search.warm_start import read_earlier
from bts_tune.paths import user_path
from bts_tune.plugins import full_name, load_installed, load_plugins, loaded_plugins
from bts_tune.results.find import find_run
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.leaks import write_leaks
from bts_tune.results.record.run_folder import RunFolder, refuse_existing
from bts_tune.results.record.scores import METRICS_VERSION
from bts_tune.results.storage.remote import require_place, require_writable
from bts_tune.results.trial_count import search_was_extended
from bts_tune.space import Final, ResolvedSpace, Space, load_space
from bts_tune.space.layers import with_paths_beside

if TYPE_CHECKING:
    # Where Ray is needed: importing it takes longer than a mistake or a dry run should.
    from bts_tune.experiment.execution.execute import FinishedRun, Report

_NO_FINAL_WITH_FOLDS = "a final stage cannot go with folds; --seeds N runs each fold with several seeds."

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def start(
    options: RunOptions,
    *,
    results: Path,
    name: str | None,
    command: Sequence[str],
    console: Console,
    report: Report,
    space: Space | None = None,
) -> FinishedRun:
    """Begin a run and execute it.

    Args:
        options: what is asked for.
        results: where run folders are.
        name: of the run's folder; by default date, time and space.
        command: for the record: how the run was asked for.
        console: where progress is shown.
        report: called with the run's folder when it has ended, whichever way.
        space: the search space, where it is no file; by default the one that `options.space` names.

    Raises:
        BtsTuneError: something that the user can mend; nothing was trained.
    """
    with signals_as_ctrl_c():
        results = lasting(results, console)
        options = _from_here(options)
        return _start(options, results, name, command, console, report, space)


def lasting(results: Path, console: Console) -> Path:
    """Return where run folders are: of a job that was submitted to Ray, in the home folder of the node it runs on.

    Its working folder is unpacked anew when it connects to the cluster, and removed when nobody uses it any more.
    """
    if not in_submitted_job() or results.is_absolute():
        return results
    found = Path.home() / "bts-tune" / results
    say(
        console,
        f"Results: {found} on {socket.gethostname()}; a job's own folder does not last (--results DIR names another)",
    )
    return found


def _start(
    options: RunOptions,
    results: Path,
    name: str | None,
    command: Sequence[str],
    console: Console,
    report: Report,
    space: Space | None,
) -> FinishedRun:
    load_installed()
    load_plugins(options.plugins)
    space = space or load_space(options.space, run_plugins=True)
    options.require_known_names()  # a method may come from a plugin of the space
    require_possible(options)
    if cluster_address(options.address) is None:
        require_room_here(options)
    options = options.replaced(plugins=[plugin.name for plugin in loaded_plugins() if plugin.kind != "class"])
    trackers = _trackers(space, options)
    resolved = _resolve(space, options)
    demo = options.data is None
    path = _new_path(results, name, space.name, demo)
    refuse_existing(path)
    if options.storage is not None:
        require_writable(options.storage, "--storage")
    dataset = open_data(options, console)
    at_hand = leave_out_missing(space, options, cache_folder(options), lambda left: _resolve(left, options))
    if at_hand.sentence is not None:
        say(console, at_hand.sentence, style="yellow")
    space, options = at_hand.space, at_hand.options
    resolved = _resolve(space, options)
    models = find_models(resolved, options, at_hand.weights)
    opened = check_and_split(dataset, options, console, {part.channels for part in preprocessings(resolved)}, draw=True)
    dataset, split = opened.dataset, opened.split
    warm_start = _warm_start(options, resolved, dataset, results, console)
    inputs, _held = prepare_inputs(opened.folds, resolved, options, console, models)
    run = {
        "created": now(),
        "command": list(command),
        "status": "running",
        "ended": None,
        "profile": "demo" if demo else "data",
        "metrics": METRICS_VERSION,
        "versions": versions(),
        "code": code_hash(),
        "plugins": [plugin.describe() for plugin in loaded_plugins()],
        "objective": objective_of_space(resolved).to_dict(),
        "losses": definitions_of_losses(resolved, cache_folder(options)),
        "metrics_defined": definitions_of_metrics(),
        "hardware": hardware(),
        "dataset": {
            **_content_of(dataset),
            "train_shares": _shares_of(opened.folds, resolved),
            "layout": dataset.layout,
            "categories": {str(number): label for number, label in dataset.categories.items()},
            "masks": None if opened.checked.masks.number == 0 else opened.checked.masks.rule.to_dict(),
            "split": split.to_dict(),
            "check": opened.checked.to_dict(),
        },
        "weights": _weights_used(inputs),
        "left_out": at_hand.left_out,
        "space": space.document,
        "options": options.to_dict(),
        "seeds": _seeds(resolved),
        "warm_start": warm_start,
    }

    def fill(folder: RunFolder) -> None:
        split.write(folder.split_file)
        write_leaks(folder.leaks_file, opened.leaks)
        if opened.sheet is not None:
            write_atomically(folder.sheet_file, opened.sheet)

    from bts_tune.experiment.execution.execute import execute

    new = NewRun(path, run, fill, named=name is not None)
    return execute(new, resolved, inputs, options, console, trackers=trackers, report=report)


def resume(
    folder: RunFolder,
    given: dict[str, Any],
    *,
    console: Console,
    report: Report,
    extend_by: int | None = None,
    allow_changed: bool = False,
    retry_failed: bool = False,
    space_file: Path | None = None,
) -> FinishedRun:
    """Go on with a run: what it finished stays, what was cut off goes on from its last epoch.

    Args:
        folder: the run.
        given: options of how it is carried out that were given anew, and where the dataset is now.
        extend_by: how many trials to add to its search; a final stage then trains what is best of all.
        allow_changed: go on although data, weights, code, versions or device are not what the run began with; what
            changed is recorded.
        retry_failed: run again, from their beginning, the trials that failed or ran out of memory.
        space_file: where the file of its space is now; weights that moved with it are found there.

    Raises:
        BtsTuneError: something that the user can mend, such as a dataset that is no longer the same.
    """
    with signals_as_ctrl_c():
        run, options = _recorded(folder, given)
        if (
            "final" not in (run["space"].get("search") or {})
            and options.final_top is None
            and options.final_seeds is None
        ):
            # Of a version without a final stage: the run goes on as it began, and `add_final` adds the stage.
            options = options.replaced(final_top=0)
        resolved = _resolve(Space.from_document(run["space"]), options)
        if extend_by is not None:
            options = _extended(folder, resolved, options, extend_by)
            resolved = _resolve(Space.from_document(run["space"]), options)
        return _execute_resumed(
            folder,
            run,
            options,
            resolved,
            console,
            report,
            extend_by=extend_by,
            allow_changed=allow_changed,
            retry_failed=retry_failed,
            space_file=space_file,
        )


def add_final(
    folder: RunFolder,
    top: int | None,
    seeds: int | None,
    given: dict[str, Any],
    *,
    console: Console,
    report: Report,
    allow_changed: bool = False,
) -> FinishedRun:
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
    usual = space.own_final(demo=options.data is None)
    final = _resolve(space, options).final or Final(
        top=usual.top or Final().top, seeds=options.final_seeds or usual.seeds
    )
    trials = folder.trials()
    planned = [record for record in trials if record.stage == "final"]
    if planned:
        # What is planned stays, and a report must not call the stage smaller than it is.
        own = {record.name for record in planned if not record.baseline}
        all_seeds = {record.config["seed"] for record in planned}
        final = Final(top=max(final.top, len(own)), seeds=max(final.seeds, len(all_seeds)))
    if not configurations_to_repeat(trials, final.top):
        raise RunError(f"{folder}: has no baseline, and no other trial with an epoch on record, to train again.")
    options = options.replaced(final_top=final.top, final_seeds=final.seeds)
    with signals_as_ctrl_c():
        resolved = _resolve(space, options)
        return _execute_resumed(
            folder, run, options, resolved, console, report, skip_search=True, allow_changed=allow_changed
        )


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
    try:
        RunOptions.parse({name: value for name, value in stored.items() if name not in given})
    except ConfigError as error:
        raise RunError(f"{folder.run_file}: options: {error}") from None
    options = _absolute(RunOptions.parse({**stored, **given}))
    load_installed()
    load_plugins(options.plugins)
    return run, options


def _extended(folder: RunFolder, space: ResolvedSpace, options: RunOptions, by: int) -> RunOptions:
    if space.search is None:
        raise ConfigError(f"--extend {folder}: this run has no search, so there are no trials to add.")
    if by < 1:
        raise ConfigError(f"--num-trials {by}: must be at least 1; it is how many trials --extend adds.")
    trials = folder.trials()
    if any(record.stage == "final" for record in trials) and not search_was_extended(folder.read_run()):
        # Its search was closed, by a time budget perhaps before it had tried all that it might have.
        named = {named.trial for named in space.named}
        before = sum(record.stage == "search" and record.trial not in named for record in trials)
    else:
        before = space.search.num_trials
    return options.replaced(num_trials=before + by)


def _execute_resumed(
    folder: RunFolder,
    run: Mapping[str, Any],
    options: RunOptions,
    space: ResolvedSpace,
    console: Console,
    report: Report,
    *,
    extend_by: int | None = None,
    skip_search: bool = False,
    allow_changed: bool,
    retry_failed: bool = False,
    space_file: Path | None = None,
) -> FinishedRun:
    if options.data is not None and not Path(options.data).exists():
        raise RunError(f"{options.data}: the run's dataset is not there; if it has moved, name its folder with --data.")
    began = Space.from_document(run["space"])
    trackers = _trackers(began, options)
    grouped = any(part.train_share < 1 for part in preprocessings(space))
    dataset, folds = reopen_dataset(folder, run, options, console, grouped=grouped)
    weights = weights_again(space, options, cache_folder(options), began.source, space_file)
    models = find_models(space, options, weights)
    inputs, _held = prepare_inputs(folds, space, options, console, models)
    changed = changes_since(
        run,
        fingerprint=dataset.fingerprint(),
        weights=_weights_used(inputs),
        versions=versions(),
        code=code_hash(),
        plugins=loaded_plugins(),
        named=named_trials(space, options.folds),
        trials=folder.trials(),
    )
    if changed and not allow_changed:
        raise changed_run_error(folder, changed)
    from bts_tune.experiment.execution.execute import execute

    record = {**run["dataset"], **_content_of(dataset), "train_shares": _shares_of(folds, space)}
    resumed = ResumedRun(changed, allow_changed, extend_by, record, _weights_used(inputs), retry_failed)
    return execute(
        folder,
        space,
        inputs,
        options,
        console,
        resumed,
        trackers=trackers,
        skip_search=skip_search,
        report=report,
    )


def _trackers(space: Space, options: RunOptions) -> list[Tracker]:
    return choose_trackers(options.tracker, space.file.trackers, space.source)


def _seeds(space: ResolvedSpace) -> list[int]:
    """Return the seeds of the named trials and of the search; those of a final stage are chosen when it is planned."""
    of_search = {space.search.fields["seed"]} if space.search else set()
    return sorted({named.config.seed for named in space.named} | of_search)


def _content_of(dataset: Dataset) -> dict[str, Any]:
    return {
        "path": str(dataset.root.absolute()),
        "fingerprint": dataset.fingerprint(),
        "content": dataset.fingerprint(splits=False),
        "splits": {split: len(records) for split, records in dataset.records.items()},
    }


def _shares_of(folds: Mapping[int | None, Dataset], space: ResolvedSpace) -> list[dict[str, Any]]:
    shares = (part.train_share for part in preprocessings(space))
    counted = count_shares(shares, list(folds.values()))
    return [{"share": share, "images": images} for share, images in counted.items()]


def _weights_used(inputs: TrialInputs) -> list[dict[str, Any]]:
    return [weights.to_dict() for weights in inputs.weights.values()]


def _absolute(options: RunOptions) -> RunOptions:
    """Make paths independent of the folder that the command runs in: a resume may be given in another."""
    paths = {name: getattr(options, name) for name, one in declarations().items() if one.kind == "path"}
    absolute = {name: str(Path(path).absolute()) for name, path in paths.items() if path is not None}
    if options.storage is not None and "://" not in options.storage:
        absolute["storage"] = str(user_path(options.storage, "--storage").absolute())
    return options.replaced(**absolute, plugins=[full_name(name) for name in options.plugins])


def _from_here(options: RunOptions) -> RunOptions:
    """Make all paths of a new run absolute.

    Those of overrides stay on record as they are: the configurations of a run that goes on are told apart by them.
    """
    return _absolute(options).replaced(overrides=with_paths_beside(options.overrides, Path.cwd()))


def dry_run(
    options: RunOptions,
    console: Console,
    space: Space | None = None,
    *,
    results: Path,
    name: str | None = None,
    timed: bool = True,
) -> DryRun:
    """Return what a run would do and cost; train nothing, write nothing but into the cache.

    What a run refuses before its first trial is refused here too, but for what a dry run cannot know: whether a storage
    elsewhere can be written, weights can be downloaded and a cluster answers; and what this machine lacks is told, as
    the run may be for another one.

    Args:
        options: what is asked for.
        console: where progress is shown.
        space: the search space, where it is no file; by default the one that `options.space` names.
        results: where run folders are.
        name: of the run's folder; by default date, time and space.
        timed: whether models whose speed on this machine is not known are timed, a few of them.

    Raises:
        BtsTuneError: something that the user can mend.
    """
    load_installed()
    load_plugins(options.plugins)
    options = _from_here(options)
    options.require_known_names()
    require_possible(options)
    cluster = cluster_address(options.address)
    space = space or load_space(options.space)
    _trackers(space, options)
    resolved = _resolve(space, options)
    refuse_existing(_new_path(results, name, space.name, options.data is None))
    if options.warm_start is not None:
        find_run(options.warm_start, results)
    if options.storage is not None:
        require_place(options.storage, "--storage")
    downloads = encoders_to_download(resolved, options, cache_folder(options))
    count_parameters(resolved, options)
    dataset = open_data(options, console)
    opened = check_and_split(dataset, options, console, {part.channels for part in preprocessings(resolved)})
    # Without the weights that are not here yet, a run may have to search fewer encoders than this.
    if not downloads:
        _warm_start(options, resolved, opened.dataset, results, console)
    folds = list(opened.folds.values())
    require_batches(resolved, folds)
    splits = [(len(one.records["train"]), len(one.records.get("valid", ()))) for one in folds]
    counted = count_shares((part.train_share for part in preprocessings(resolved)), folds)
    duration, lacking = None, ""
    if cluster is None:  # of a cluster, this machine tells nothing
        try:
            require_room_here(options)
        except ConfigError as error:
            lacking = str(error)
        duration = duration_here(resolved, splits, options, console, timed=timed, counted=counted)
    return DryRun(space.name, resolved, [train for train, _ in splits], duration, downloads, lacking, counted)


def _resolve(space: Space, options: RunOptions) -> ResolvedSpace:
    resolved = space.resolve(
        overrides=options.overrides,
        only=options.only,
        seeds=options.seed_list(space.file.seeds),
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
    say(console, f"Warm start: the search learns from {len(warm_start['trials'])} trials of {folder}")
    return warm_start


def _new_path(results: Path, name: str | None, space: str, demo: bool) -> Path:
    if name is not None:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"--name {name!r}: allowed are letters, digits, '.', '_' and '-', a letter or digit first."
            )
        return results / name
    return free_path(results / f"{datetime.now():%Y-%m-%d_%H%M%S}_{space}{'_demo' if demo else ''}")
