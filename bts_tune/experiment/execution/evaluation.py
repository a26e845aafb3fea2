"""After the trials: test figures, scores of each image and sample predictions of those that the result rests on."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from rich.console import Console

from bts_tune.config import TrialConfig
from bts_tune.data.prepared.prepare import PreparedData, load_prepared
from bts_tune.errors import BtsTuneError
from bts_tune.experiment.execution.node_files import Shipping
from bts_tune.experiment.execution.resources import TrialResources
from bts_tune.experiment.execution.trainable import anywhere_but
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.plugins import plugins_to_restore, restore
from bts_tune.results.configurations import configurations, result_stage
from bts_tune.results.files import write_atomically
from bts_tune.results.find import is_whole, kept_replicate
from bts_tune.results.leaderboard import ranking
from bts_tune.results.run_folder import RunFolder, TrialRecord
from bts_tune.results.scores import SPLITS

if TYPE_CHECKING:
    # In the processes that measure alone: importing torch takes seconds.
    from bts_tune.training.evaluation import Evaluation, Variant


@dataclass(frozen=True)
class Nodes:
    """Where models are measured.

    Attributes:
        resources: what each trial had, and each measuring has.
        left_out: nodes that nothing runs on, by their ids.
        shipping: how files reach the nodes of a cluster that is not the run's own.
    """

    resources: TrialResources
    left_out: Sequence[str] = ()
    shipping: Shipping | None = None

    def submit(self, name: str, job: Callable[..., Any], models: Sequence[str], prepared: str, *more: Any) -> Any:
        """Start `job(models, data, *more)` on a node; both are there when it begins. Return Ray's reference."""
        task = ray.remote(_on_node).options(
            name=name,
            num_cpus=self.resources.cpus,
            num_gpus=self.resources.gpus,
            max_retries=1,
            **({"label_selector": anywhere_but(self.left_out)} if self.left_out else {}),
        )
        return task.remote(job, list(models), prepared, more, plugins_to_restore(), self.shipping)


def _on_node(
    job: Callable[..., Any],
    models: list[str],
    prepared: str,
    more: tuple[Any, ...],
    plugins: list[dict[str, str]],
    shipping: Shipping | None,
) -> Any:
    restore(plugins)
    if shipping is None:
        return job([Path(model) for model in models], load_prepared(Path(prepared)), *more)
    with contextlib.ExitStack() as held:
        here = [held.enter_context(shipping.model(model)) for model in models]
        return job(here, shipping.prepared(prepared), *more)


def evaluate_models(
    folder: RunFolder, inputs: TrialInputs, nodes: Nodes, options: RunOptions, console: Console
) -> None:
    """Measure the models that the result rests on, once each, and drop the weights that nobody will ask for.

    Measured are all complete trials of the final stage, or of a cross-validation; in a run with neither, the best trial
    and the baselines. The test split is looked at here alone, after all is chosen, and chooses nothing. What else is
    asked for (`tta`, `postprocess`, `ensemble`) is measured beside; see `TrialRecord.variants`.

    Args:
        folder: the run.
        inputs: what its trials were made from.
        nodes: where.
        options: of the run.
        console: where to say what could not be measured.
    """
    trials = folder.trials()
    measured = _measured(trials)
    kept = _kept(folder, trials, options.ensemble)
    _drop_others(folder, measured + kept)
    # The scores are written last. A run of an earlier version lacks them: the same weights give the same figures again.
    waiting = [
        record
        for record in measured
        if not folder.scores_file(record.trial).is_file()
        or (record in kept and not folder.samples_file(record.trial).is_file())
    ]
    for record, result in _finished({_submit(folder, one, inputs, nodes): one for one in waiting}, console):
        if record in kept:
            write_atomically(folder.samples_file(record.trial), result.samples)
        if result.test:
            folder.append_event("evaluated", record.trial, metrics=result.test)
        write_atomically(folder.scores_file(record.trial), result.scores.to_bytes())
    _evaluate_variants(folder, _variants(folder, measured, options), inputs, nodes, console)
    _drop_others(folder, kept + [record for record in measured if not folder.scores_file(record.trial).is_file()])
    for samples in (folder.path / "samples").glob("*.npz"):
        if samples.stem not in {record.trial for record in kept}:
            samples.unlink()


def _finished(pending: dict[Any, Any], console: Console) -> Iterator[tuple[Any, Any]]:
    """Yield what was submitted with its result, as it comes; what fails is said, and is missing."""
    while pending:
        (done,), _ = ray.wait(list(pending))
        one = pending.pop(done)
        try:
            result = ray.get(done)
        except (BtsTuneError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[-1]
            console.print(f"{one.trial} could not be evaluated: {reason}", highlight=False, markup=False)
            continue
        yield one, result


def _submit(folder: RunFolder, record: TrialRecord, inputs: TrialInputs, nodes: Nodes) -> Any:
    config = TrialConfig.parse(record.config, f"trial {record.trial}")
    models = [str(folder.model_folder(record.trial).resolve())]
    resources = nodes.resources
    prepared = inputs.prepared_for(config, record.fold)
    return nodes.submit(f"evaluate {record.trial}", _evaluate, models, prepared, resources.device, resources.cpus)


def _evaluate(models: list[Path], data: PreparedData, device: str, threads: int) -> Evaluation:
    from bts_tune.training.evaluation import evaluate_model

    return evaluate_model(models[0], data, device=device, threads=threads)


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


def _variants(folder: RunFolder, measured: Sequence[TrialRecord], options: RunOptions) -> list[_Variant]:
    """Return what is to be measured, and was not yet, of models whose weights are there."""
    there = [record for record in measured if (folder.model_folder(record.trial) / "model.json").is_file()]
    names = [name for name, wanted in (("tta", options.tta), ("postprocessed", options.postprocess)) if wanted]
    found = [_Variant(name, (record,)) for name in names for record in there]
    best = next(iter(configurations(folder.trials())), None)
    if options.ensemble and best is not None:
        own = {record.trial for record in best.trials}
        members = tuple(record for record in there if record.trial in own)
        if len(members) > 1:
            found.append(_Variant("ensemble", members))
            found += [_Variant("ensemble-tta", members)] if options.tta else []
    recorded = {record.trial: record.variants for record in folder.trials()}
    return [one for one in found if one.name not in recorded[one.trial]]


def _evaluate_variants(
    folder: RunFolder, variants: Sequence[_Variant], inputs: TrialInputs, nodes: Nodes, console: Console
) -> None:
    pending = {}
    for one in variants:
        first = one.members[0]
        config = TrialConfig.parse(first.config, f"trial {first.trial}")
        models = [str(folder.model_folder(record.trial).resolve()) for record in one.members]
        # A validation image of one fold is a training image of the others.
        splits = ["test"] if len({record.fold for record in one.members}) > 1 else list(SPLITS)
        more = (one.name, splits, nodes.resources.device, nodes.resources.cpus)
        prepared = inputs.prepared_for(config, first.fold)
        pending[nodes.submit(f"evaluate {one.name} {one.trial}", _evaluate_variant, models, prepared, *more)] = one
    for one, found in _finished(pending, console):
        write_atomically(folder.variant_scores_file(one.trial, one.name), found.scores.to_bytes())
        folder.append_event(
            "variant",
            one.trial,
            variant=one.name,
            metrics=found.metrics,
            seconds=found.seconds,
            members=[record.trial for record in one.members],
            **({} if found.postprocessing is None else asdict(found.postprocessing)),
        )


def _evaluate_variant(
    models: list[Path], data: PreparedData, name: str, splits: list[str], device: str, threads: int
) -> Variant:
    from bts_tune.training.evaluation import evaluate_postprocessed, evaluate_variant

    if name == "postprocessed":
        return evaluate_postprocessed(models[0], data, device=device, threads=threads)
    augmented = name.endswith("tta")
    return evaluate_variant(models, data, augmented=augmented, splits=splits, device=device, threads=threads)


def _measured(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    stage = result_stage(trials)
    complete = [record for record in ranking(trials) if record.stage == stage]
    if stage == "final" or any(record.fold is not None for record in complete):
        return complete
    best = [one.best for one in configurations(trials)[:1]]
    return best + [record for record in complete if record.baseline and record not in best]


def _kept(folder: RunFolder, trials: Sequence[TrialRecord], ensemble: bool = False) -> list[TrialRecord]:
    """Return the trials whose weights stay: the best replicate of the winning configuration and of each baseline.

    With `ensemble`, every replicate of the winner.

    In a run without a final stage and without folds, every seed of a baseline.
    """
    measured = _measured(trials)
    if measured and all(record.stage == "search" and record.fold is None for record in measured):
        return measured
    # Where no trial of the final stage came to its end, the best of the search is what there is.
    ranked = configurations(trials) or configurations(trials, "search")
    replicates = [kept_replicate(folder, one) for place, one in enumerate(ranked) if place == 0 or one.baseline]
    best = [record for one in ranked[:1] for record in one.trials] if ensemble else []
    return list({record.trial: record for record in (*replicates, *best) if record is not None}.values())


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
