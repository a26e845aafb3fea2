"""After the trials: test figures, scores of each image and sample predictions of those that the result rests on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import ray
from rich.console import Console

from bts_tune.config import TrialConfig
from bts_tune.data.prepared.prepare import load_prepared
from bts_tune.errors import BtsTuneError
from bts_tune.experiment.execution.resources import TrialResources
from bts_tune.experiment.planning.trial_inputs import TrialInputs
from bts_tune.plugins import plugins_to_restore, restore
from bts_tune.results.configurations import configurations, result_stage
from bts_tune.results.files import write_atomically
from bts_tune.results.find import kept_replicate
from bts_tune.results.leaderboard import ranking
from bts_tune.results.run_folder import RunFolder, TrialRecord
from bts_tune.results.scores import SPLITS
from bts_tune.training.evaluation import (
    Evaluation,
    Variant,
    evaluate_model,
    evaluate_postprocessed,
    evaluate_variant,
)


def evaluate_models(
    folder: RunFolder,
    inputs: TrialInputs,
    resources: TrialResources,
    console: Console,
    *,
    tta: bool = False,
    ensemble: bool = False,
    postprocess: bool = False,
) -> None:
    """Measure the models that the result rests on, once each, and drop the weights that nobody will ask for.

    With `tta` they are measured with test-time augmentation too, with `postprocess` with a threshold chosen on the
    validation split, and with `ensemble` the trainings of the winner as one model; see `TrialRecord.variants`.

    Measured are all complete trials of the final stage, or of a cross-validation; in a run with neither, the best trial
    and the baselines. The test split is looked at here alone, after all is chosen, and chooses nothing.
    """
    trials = folder.trials()
    measured = _measured(trials)
    kept = _kept(folder, trials, ensemble)
    _drop_others(folder, measured + kept)
    # The scores are written last. A run of an earlier version lacks them: the same weights give the same figures again.
    waiting = [
        record
        for record in measured
        if not folder.scores_file(record.trial).is_file()
        or (record in kept and not folder.samples_file(record.trial).is_file())
    ]
    pending = {_submit(folder, record, inputs, resources): record for record in waiting}
    while pending:
        (done,), _ = ray.wait(list(pending))
        record = pending.pop(done)
        try:
            result: Evaluation = ray.get(done)
        except (BtsTuneError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[-1]
            console.print(f"{record.trial} could not be evaluated: {reason}", highlight=False, markup=False)
            continue
        if record in kept:
            write_atomically(folder.samples_file(record.trial), result.samples)
        if result.test:
            folder.append_event("evaluated", record.trial, metrics=result.test)
        write_atomically(folder.scores_file(record.trial), result.scores.to_bytes())
    variants = _variants(folder, measured, tta=tta, ensemble=ensemble, postprocess=postprocess)
    evaluated = {_submit_variant(folder, one, inputs, resources): one for one in variants}
    while evaluated:
        (done,), _ = ray.wait(list(evaluated))
        variant = evaluated.pop(done)
        try:
            found: Variant = ray.get(done)
        except (BtsTuneError, ray.exceptions.RayError) as error:
            reason = str(error).strip().splitlines()[-1]
            console.print(f"{variant.trial} could not be evaluated: {reason}", highlight=False, markup=False)
            continue
        write_atomically(folder.variant_scores_file(variant.trial, variant.name), found.scores.to_bytes())
        members = [record.trial for record in variant.members]
        folder.append_event(
            "variant",
            variant.trial,
            variant=variant.name,
            metrics=found.metrics,
            seconds=found.seconds,
            members=members,
            **({} if found.postprocessing is None else asdict(found.postprocessing)),
        )
    _drop_others(folder, kept + [record for record in measured if not folder.scores_file(record.trial).is_file()])
    for samples in (folder.path / "samples").glob("*.npz"):
        if samples.stem not in {record.trial for record in kept}:
            samples.unlink()


@dataclass(frozen=True)
class _Variant:
    """One way to use trained models that is measured: with test-time augmentation, or several as one.

    Attributes:
        name: as in `TrialRecord.variants`.
        members: the trials whose models it is made of; the record keeps it with the first.
    """

    name: str
    members: tuple[TrialRecord, ...]

    @property
    def trial(self) -> str:
        return self.members[0].trial


def _variants(
    folder: RunFolder,
    measured: Sequence[TrialRecord],
    *,
    tta: bool = False,
    ensemble: bool = False,
    postprocess: bool = False,
) -> list[_Variant]:
    """Return what is to be measured, and was not yet, of models whose weights are there."""
    there = [record for record in measured if (folder.model_folder(record.trial) / "model.json").is_file()]
    names = [name for name, wanted in (("tta", tta), ("postprocessed", postprocess)) if wanted]
    found = [_Variant(name, (record,)) for name in names for record in there]
    best = next(iter(configurations(folder.trials())), None)
    if ensemble and best is not None:
        own = {record.trial for record in best.trials}
        members = tuple(record for record in there if record.trial in own)
        if len(members) > 1:
            found.append(_Variant("ensemble", members))
            found += [_Variant("ensemble-tta", members)] if tta else []
    recorded = {record.trial: record.variants for record in folder.trials()}
    return [one for one in found if one.name not in recorded[one.trial]]


def _submit_variant(
    folder: RunFolder, variant: _Variant, inputs: TrialInputs, resources: TrialResources
) -> ray.ObjectRef:
    first = variant.members[0]
    config = TrialConfig.parse(first.config, f"trial {first.trial}")
    task = ray.remote(_evaluate_variant).options(
        name=f"evaluate {variant.name} {first.trial}", num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=1
    )
    models = [str(folder.model_folder(record.trial).resolve()) for record in variant.members]
    # A validation image of one fold is a training image of the others.
    folds = len({record.fold for record in variant.members}) > 1
    return task.remote(
        models,
        inputs.prepared_for(config, first.fold),
        plugins_to_restore(),
        variant.name,
        ["test"] if folds else list(SPLITS),
        resources.device,
        resources.cpus,
    )


def _evaluate_variant(
    models: list[str],
    prepared: str,
    plugins: list[dict[str, str]],
    variant: str,
    splits: list[str],
    device: str,
    threads: int,
) -> Variant:
    restore(plugins)
    folders = [Path(model) for model in models]
    data = load_prepared(Path(prepared))
    if variant == "postprocessed":
        return evaluate_postprocessed(folders[0], data, device=device, threads=threads)
    augmented = variant.endswith("tta")
    return evaluate_variant(folders, data, augmented=augmented, splits=splits, device=device, threads=threads)


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


def _submit(folder: RunFolder, record: TrialRecord, inputs: TrialInputs, resources: TrialResources) -> ray.ObjectRef:
    config = TrialConfig.parse(record.config, f"trial {record.trial}")
    task = ray.remote(_evaluate).options(
        name=f"evaluate {record.trial}", num_cpus=resources.cpus, num_gpus=resources.gpus, max_retries=1
    )
    prepared = inputs.prepared_for(config, record.fold)
    plugins = plugins_to_restore()
    return task.remote(
        str(folder.model_folder(record.trial).resolve()), prepared, plugins, resources.device, resources.cpus
    )


def _evaluate(model: str, prepared: str, plugins: list[dict[str, str]], device: str, threads: int) -> Evaluation:
    restore(plugins)
    return evaluate_model(Path(model), load_prepared(Path(prepared)), device=device, threads=threads)


def _drop_others(folder: RunFolder, kept: Sequence[TrialRecord]) -> None:
    names = {record.trial for record in kept}
    models = folder.path / "models"
    if models.is_dir():
        for model in models.iterdir():
            if model.is_dir() and model.name not in names:
                shutil.rmtree(model, ignore_errors=True)
