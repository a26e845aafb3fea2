"""After the trials: test figures, scores of each image and sample predictions of those that the result rests on."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import ray
from rich.console import Console

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.console import say
from bts_tune.data.prepared.prepare import PreparedData, load_prepared
from bts_tune.errors import BtsTuneError
from bts_tune.experiment.execution.files.node_files import Shipping
from bts_tune.experiment.execution.nodes.preflight import versions_here
from bts_tune.experiment.execution.nodes.resources import TrialResources
from bts_tune.experiment.execution.trials.faults import (
    BrokenProcessError,
    anywhere_but,
    node_faults,
    require_able_node,
    restore_on_node,
)
from bts_tune.experiment.execution.trials.node_watch import NodeWatch
from bts_tune.experiment.planning.options import DEFAULT_MAX_FAILURES, RunOptions
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.plugins import plugins_to_restore, restore
from bts_tune.results.find import is_whole, kept_replicate
from bts_tune.results.ranking.configurations import Configuration, configurations, result_stage
from bts_tune.results.ranking.leaderboard import ranking
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.results.record.scores import SPLITS
from bts_tune.text import last_line

_PATIENCE = 5.0  # seconds between two looks at the nodes

Subject = TypeVar("Subject")


class Measured(NamedTuple):
    """What a process that measures gives back.

    Plain values: to unpickle an object of a module with torch would import it here, for seconds.

    Attributes:
        metrics: by column name.
        scores: the file of every image's scores.
        samples: the file of sample predictions.
        more: what else goes on record.
    """

    metrics: dict[str, float | None]
    scores: bytes
    samples: bytes
    more: dict[str, Any]


@dataclass(frozen=True)
class Job(Generic[Subject]):
    """Something to measure on a node: `work(models, data, *more)`.

    Attributes:
        subject: what the result is of.
        name: how Ray shows it.
        work: does it, and imports torch itself.
        models: folders of models.
        prepared: folder of the prepared data.
        more: what else `work` is given.
    """

    subject: Subject
    name: str
    work: Callable[..., Any]
    models: list[str]
    prepared: str
    more: tuple[Any, ...]


@dataclass(frozen=True)
class Nodes:
    """Where models are measured.

    Attributes:
        resources: what each trial had, and each measuring has.
        watch: over the cluster's nodes.
        shipping: how files reach the nodes of a cluster that is not the run's own.
        max_failures: how often a model is measured again after its process died.
    """

    resources: TrialResources
    watch: NodeWatch
    shipping: Shipping | None = None
    max_failures: int = DEFAULT_MAX_FAILURES

    def measure(self, jobs: Sequence[Job[Subject]], console: Console) -> Iterator[tuple[Subject, Any]]:
        """Yield what each job is about and its result, as they come; what fails is said, and is missing.

        What is wrong with a node is not the model's fault: it is measured elsewhere.

        Raises:
            RunStoppedError: no node is left.
        """
        pending = {self._submit(job): job for job in jobs}
        while pending:
            done, _ = ray.wait(list(pending), timeout=_PATIENCE)
            self.watch.update(running=len(done), silence="No model was measured")
            for reference in done:
                job = pending.pop(reference)
                try:
                    result = ray.get(reference)
                except (BtsTuneError, ray.exceptions.RayError) as error:
                    cause = getattr(error, "cause", None)
                    if isinstance(cause, BrokenProcessError):
                        self.watch.leave_out(cause.node, str(cause))
                        pending[self._submit(job)] = job
                        continue
                    say(console, f"{job.name}: could not be done: {last_line(error)}")
                    continue
                yield job.subject, result

    def _submit(self, job: Job[Subject]) -> Any:
        left_out = self.watch.left_out()
        task = ray.remote(_on_node).options(
            name=job.name,
            num_cpus=self.resources.cpus,
            num_gpus=self.resources.gpus,
            max_retries=self.max_failures,
            **({"label_selector": anywhere_but(left_out)} if left_out else {}),
        )
        required = None if self.shipping is None else (versions_here(), self.resources.device)
        return task.remote(job.work, job.models, job.prepared, job.more, plugins_to_restore(), self.shipping, required)


def _on_node(
    work: Callable[..., Any],
    models: list[str],
    prepared: str,
    more: tuple[Any, ...],
    plugins: list[dict[str, str]],
    shipping: Shipping | None,
    required: tuple[dict[str, str], str] | None,
) -> Any:
    """Do a job, its models and its data being there.

    Raises:
        BrokenProcessError: this node cannot do it.
    """
    if shipping is None or required is None:
        restore(plugins)
        return work([Path(model) for model in models], load_prepared(Path(prepared)), *more)
    with node_faults(), contextlib.ExitStack() as held:
        require_able_node(*required)
        restore_on_node(plugins)
        here = [held.enter_context(shipping.model(model)) for model in models]
        return work(here, shipping.prepared(prepared), *more)


def evaluate_models(
    folder: RunFolder, inputs: TrialInputs, nodes: Nodes, options: RunOptions, console: Console
) -> None:
    """Measure the models that the result rests on, once each, and drop the weights that nobody will ask for.

    Measured are all complete trials of the final stage, or of a cross-validation; in a run with neither, every seed of
    the best configuration and of the baselines. The test split is looked at here alone, after all is chosen, and
    chooses nothing. What else is asked for (`tta`, `postprocess`, `ensemble`) is measured beside; see
    `TrialRecord.variants`.

    Args:
        folder: the run.
        inputs: what its trials were made from.
        nodes: where.
        options: of the run.
        console: where to say what could not be measured.

    Raises:
        RunStoppedError: no node is left.
    """
    left = left_to_measure(folder, options)
    kept = left.kept
    _drop_others(folder, [*left.measured, *kept])
    jobs = [_job(folder, one, inputs, nodes.resources) for one in left.waiting]
    for record, result in nodes.measure(jobs, console):
        if record in kept:
            write_atomically(folder.samples_file(record.trial), result.samples)
        if result.metrics:
            folder.append_event("evaluated", record.trial, metrics=_finite(result.metrics, record.trial, console))
        write_atomically(folder.scores_file(record.trial), result.scores)
    left.say_if_no_ensemble(console)
    _evaluate_variants(folder, _variants(folder, left.measured, left.members, options), inputs, nodes, console)
    _drop_others(folder, [*kept, *(one for one in left.measured if not folder.scores_file(one.trial).is_file())])
    for samples in (folder.path / "samples").glob("*.npz"):
        if samples.stem not in {record.trial for record in kept}:
            samples.unlink()


@dataclass(frozen=True)
class LeftToMeasure:
    """What is to be measured of a run, and what is left of it.

    Attributes:
        measured: the trials whose models are measured.
        kept: those whose weights stay.
        members: those that are averaged; empty where nobody asked for an ensemble.
        lost: trainings of the ensemble whose weights are gone.
        ensemble: whether somebody did.
        waiting: those that were not measured yet.
        variants: whether there are ways to use the models that were not measured yet.
    """

    measured: list[TrialRecord]
    kept: list[TrialRecord]
    members: list[TrialRecord]
    lost: list[TrialRecord]
    ensemble: bool
    waiting: list[TrialRecord]
    variants: bool

    def say_if_no_ensemble(self, console: Console) -> None:
        """Say why there is no ensemble, where one was asked for and cannot be."""
        if self.ensemble and len(self.members) < 2:
            names = ", ".join(record.trial for record in self.lost)
            why = (
                f"the weights of {names} were not kept; bts-tune final RUN "
                "--final-seeds N --ensemble trains the best configuration again."
                if self.lost
                else "the best configuration was trained once; --seeds, --final-seeds or --folds train it several "
                "times."
            )
            say(console, f"--ensemble: there is nothing to average, because {why}")


def left_to_measure(folder: RunFolder, options: RunOptions) -> LeftToMeasure:
    """Return what `evaluate_models` has to do for a run whose trainings have ended."""
    trials = folder.trials()
    measured = _measured(trials)
    wanted = options.ensemble or options.ensemble_top is not None
    asked = ensemble_members(trials, options.ensemble_top or 1) if wanted else []
    members = [record for record in asked if _has_weights(folder, record)]
    lost = [record for record in asked if record not in members]
    kept = _kept(folder, trials, members)
    # The scores are written last. A run of an earlier version lacks them: the same weights give the same figures again.
    waiting = [
        record
        for record in measured
        if _has_weights(folder, record)
        and (
            not folder.scores_file(record.trial).is_file()
            or (record in kept and not folder.samples_file(record.trial).is_file())
        )
    ]
    variants = bool(_variants(folder, measured, members, options))
    return LeftToMeasure(measured, kept, members, lost, wanted, waiting, variants)


def _has_weights(folder: RunFolder, record: TrialRecord) -> bool:
    return (folder.model_folder(record.trial) / "model.json").is_file()


def _job(folder: RunFolder, record: TrialRecord, inputs: TrialInputs, resources: TrialResources) -> Job[TrialRecord]:
    config = TrialConfig.parse(record.config, f"trial {record.trial}")
    models = [str(folder.model_folder(record.trial).resolve())]
    prepared = inputs.prepared_for(config, record.fold)
    return Job(record, f"evaluate {record.trial}", _evaluate, models, prepared, (resources.device, resources.cpus))


def _evaluate(models: list[Path], data: PreparedData, device: str, threads: int) -> Measured:
    from bts_tune.training.evaluation import evaluate_model

    found = evaluate_model(models[0], data, device=device, threads=threads)
    return Measured(found.test, found.scores.to_bytes(), found.samples, {})


@dataclass(frozen=True)
class _Variant:
    """One way to use trained models that is measured: augmented, postprocessed, or several as one.

    Attributes:
        name: as in `TrialRecord.variants`.
        members: the trials whose models it is made of; the record keeps it with the first.
    """

    name: str
    members: tuple[TrialRecord, ...]

    @property
    def trial(self) -> str:
        return self.members[0].trial


def ensemble_members(trials: Sequence[TrialRecord], top: int = 1) -> list[TrialRecord]:
    """Return the trials that are averaged: all trainings of the best configurations.

    A configuration whose images are prepared in another way than the winner's is left out: one image is shown to all.
    """
    ranked = configurations(trials)[:top]

    def prepared(one: Configuration) -> tuple[PreprocessingPart, int]:
        config = TrialConfig.parse(one.best.config, f"trial {one.best.trial}")
        return config.part(PreprocessingPart), config.channels

    return [record for one in ranked if prepared(one) == prepared(ranked[0]) for record in one.trials]


def _variants(
    folder: RunFolder, measured: Sequence[TrialRecord], members: Sequence[TrialRecord], options: RunOptions
) -> list[_Variant]:
    """Return what is to be measured, and was not yet, of models whose weights are there."""
    there = [record for record in measured if _has_weights(folder, record)]
    names = [name for name, wanted in (("tta", options.tta), ("postprocessed", options.postprocess)) if wanted]
    found = [_Variant(name, (record,)) for name in names for record in there]
    averaged = tuple(record for record in members if record in there)
    if len(averaged) > 1:
        found.append(_Variant("ensemble", averaged))
        found += [_Variant("ensemble-tta", averaged)] if options.tta else []
    recorded = {record.trial: record.variants for record in folder.trials()}

    def is_measured(one: _Variant) -> bool:
        before = recorded[one.trial].get(one.name)
        if before is None:
            return False
        names = [record.trial for record in one.members]
        measured_with = before.get("members", names)
        # More seeds, or another `--ensemble-top`, make another ensemble; weights that are lost make no better one.
        lost = [name for name in measured_with if not (folder.model_folder(name) / "model.json").is_file()]
        return measured_with == names or (bool(lost) and set(names) < set(measured_with))

    return [one for one in found if not is_measured(one)]


def _finite(metrics: Mapping[str, float | None], what: str, console: Console) -> dict[str, float | None]:
    """Return metrics with None for what is no finite number, which the record has no place for, and say which."""
    lost = [name for name, value in metrics.items() if value is not None and not math.isfinite(value)]
    if lost:
        say(console, f"{what}: not a finite number, so left empty: {', '.join(lost)}.")
    return {name: None if name in lost else value for name, value in metrics.items()}


def _evaluate_variants(
    folder: RunFolder, variants: Sequence[_Variant], inputs: TrialInputs, nodes: Nodes, console: Console
) -> None:
    jobs = []
    for one in variants:
        first = one.members[0]
        config = TrialConfig.parse(first.config, f"trial {first.trial}")
        models = [str(folder.model_folder(record.trial).resolve()) for record in one.members]
        # A validation image of one fold is a training image of the others.
        splits = ["test"] if len({record.fold for record in one.members}) > 1 else list(SPLITS)
        more = (one.name, splits, nodes.resources.device, nodes.resources.cpus)
        prepared = inputs.prepared_for(config, first.fold)
        jobs.append(Job(one, f"evaluate {one.name} {one.trial}", _evaluate_variant, models, prepared, more))
    for one, found in nodes.measure(jobs, console):
        write_atomically(folder.variant_scores_file(one.trial, one.name), found.scores)
        folder.append_event(
            "variant",
            one.trial,
            variant=one.name,
            metrics=_finite(found.metrics, f"{one.name} {one.trial}", console),
            members=[record.trial for record in one.members],
            **found.more,
        )


def _evaluate_variant(
    models: list[Path], data: PreparedData, name: str, splits: list[str], device: str, threads: int
) -> Measured:
    from bts_tune.training.evaluation import evaluate_postprocessed, evaluate_variant

    if name == "postprocessed":
        found = evaluate_postprocessed(models[0], data, device=device, threads=threads)
    else:
        augmented = name.endswith("tta")
        found = evaluate_variant(models, data, augmented=augmented, splits=splits, device=device, threads=threads)
    chosen = {} if found.postprocessing is None else asdict(found.postprocessing)
    return Measured(found.metrics, found.scores.to_bytes(), b"", {"seconds": found.seconds, **chosen})


def _measured(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    stage = result_stage(trials)
    complete = [record for record in ranking(trials) if record.stage == stage]
    if stage == "final" or any(record.fold is not None for record in complete):
        return complete
    best = [record for one in configurations(trials)[:1] for record in (one.best, *one.trials)]
    chosen = [*best, *(record for record in complete if record.baseline)]
    return list({record.trial: record for record in chosen}.values())


def _kept(folder: RunFolder, trials: Sequence[TrialRecord], members: Sequence[TrialRecord] = ()) -> list[TrialRecord]:
    """Return the trials whose weights stay: the best replicate of the winning configuration and of each baseline.

    So do those of an ensemble's `members`.

    In a run without a final stage and without folds, every seed of a baseline.
    """
    measured = _measured(trials)
    if measured and all(record.stage == "search" and record.fold is None for record in measured):
        return [record for record in measured if record.baseline or record is measured[0] or record in members]
    # Where no trial of the final stage came to its end, the best of the search is what there is.
    ranked = configurations(trials) or configurations(trials, "search")
    replicates = [kept_replicate(folder, one) for place, one in enumerate(ranked) if place == 0 or one.baseline]
    return list({record.trial: record for record in (*replicates, *members) if record is not None}.values())


def models_that_lack(folder: RunFolder) -> list[str]:
    """Return the trials whose models a complete run should have and has not, or not whole: winner and baselines."""
    trials = folder.trials()
    # Where no trial of the final stage came to its end, the best of the search is what there is.
    ranked = configurations(trials) or configurations(trials, "search")
    lacking = []
    for place, one in enumerate(ranked):
        if place and not one.baseline:
            continue
        kept = kept_replicate(folder, one)
        if kept is None or not is_whole(folder.model_folder(kept.trial)):
            lacking.append((kept or one.best).trial)
    return lacking


def _drop_others(folder: RunFolder, kept: Sequence[TrialRecord]) -> None:
    names = {record.trial for record in kept}
    models = folder.path / "models"
    if models.is_dir():
        for model in models.iterdir():
            if model.is_dir() and model.name not in names:
                shutil.rmtree(model, ignore_errors=True)
