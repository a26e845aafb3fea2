"""What a run that goes on finds other than it began with: data, weights, code, versions, device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from bts_tune.errors import RunError
from bts_tune.experiment.planning.plan import PlannedTrial
from bts_tune.imports import PACKAGE
from bts_tune.plugins import Plugin
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.text import quoted

# What a trial's figures and a search's decisions are made by. Reports, progress and the command line may change.
SOURCES = (
    "config.py",
    "space/**/*.py",
    "data/**/*.py",
    "augmentation/**/*.py",
    "losses/**/*.py",
    "metrics/**/*.py",
    "results/record/scores.py",  # the formulas of Dice loss and IoU
    "models/**/*.py",
    "training/**/*.py",
    "results/record/objective.py",
    "experiment/search/tpe.py",
    "experiment/search/searcher.py",
    "experiment/search/scheduler.py",
    "experiment/search/learning_curve_stopper.py",
)

# By major and minor version: patch releases mend faults and keep results as a rule. Of the others (pandas, rich, …) no
# figure depends, and Python itself draws no random number here.
_PACKAGES = (
    "torch",
    "segmentation-models-pytorch",
    "timm",
    "albumentations",
    "opencv-python-headless",
    "numpy",
    "optuna",
    "ray",
)


@cache
def code_hash() -> str:
    """Return the SHA-256 of this package's source files that figures depend on, as 64 hexadecimal digits."""
    whole = hashlib.sha256()
    for file in sorted({file for pattern in SOURCES for file in PACKAGE.glob(pattern)}):
        content = file.read_bytes()
        whole.update(f"{file.relative_to(PACKAGE).as_posix()} {len(content)}\n".encode())
        whole.update(content)
    return whole.hexdigest()


def changes_since(
    run: Mapping[str, Any],
    *,
    fingerprint: str,
    weights: Sequence[Mapping[str, Any]],
    versions: Mapping[str, str],
    code: str,
    plugins: Sequence[Plugin] = (),
    named: Sequence[PlannedTrial] = (),
    trials: Sequence[TrialRecord] = (),
) -> list[str]:
    """Return a clause for each thing that is not as it was when the run began; what was not recorded is passed over.

    Args:
        run: the content of `run.json`.
        fingerprint: of the dataset.
        weights: `EncoderWeights.to_dict()` of each encoder.
        versions: as `environment.versions` returns them.
        code: as `code_hash` returns it.
        plugins: those that are loaded now.
        named: the named trials that the run's space and options give now; of a cross-validation, those of each fold.
        trials: the run's trials, as recorded.
    """
    found = list(_of_versions(run.get("versions") or {}, versions))
    if run.get("code") is not None and run["code"] != code:
        found.append("bts-tune's own source code")
    found += _of_plugins(run.get("plugins"), plugins)
    began = run["dataset"].get("fingerprint")
    if began != fingerprint:
        found.append(f"the dataset (fingerprint {_short(began)}, now {_short(fingerprint)})")
    before: dict[str, list[Any]] = {}  # an encoder may begin from several weights: with and without pretraining
    for one in run.get("weights") or []:
        before.setdefault(one.get("encoder"), []).append(one.get("sha256"))
    for one in weights:
        encoder, now = one["encoder"], one["sha256"]
        if encoder in before and now not in before[encoder]:
            was = " or ".join(map(_short, before[encoder]))
            found.append(f"the weights of {encoder} ({was}, now {_short(now)})")
    recorded = {record.trial: record.config_id for record in trials}
    for trial in named:
        if trial.trial in recorded and recorded[trial.trial] != trial.config.config_id:
            found.append(f"the configuration of {trial.trial}, as the space and the options give it")
    return found


def device_changes(run: Mapping[str, Any], device: str) -> list[str]:
    """Return a clause if trials would run on another kind of device than before."""
    began = run.get("device")
    return [f"the device ({quoted(began)}, now {quoted(device)})"] if began not in (None, device) else []


def changed_run_error(folder: object, found: Sequence[str]) -> RunError:
    """Return the error for a run that would go on with something changed."""
    return RunError(
        f"{folder}: this run began with something else than there is now: {'; '.join(found)}. What it has yet to train "
        "could not be compared with what it has; put it back as it was, start a new run, or go on in spite of it with "
        "--allow-changed, which the report will say."
    )


def _of_versions(before: Mapping[str, Any], now: Mapping[str, str]) -> Iterator[str]:
    if "bts-tune" in before and before["bts-tune"] != now["bts-tune"]:
        yield f"bts-tune ({quoted(before['bts-tune'])}, now {quoted(now['bts-tune'])})"
    for package in _PACKAGES:
        if package in before and _minor(before[package]) != _minor(now[package]):
            yield f"{package} ({quoted(before[package])}, now {quoted(now[package])})"


def _of_plugins(before: Any, now: Sequence[Plugin]) -> Iterator[str]:
    if before is None:  # a run of an earlier version
        return
    recorded = {one["name"]: one["sha256"] for one in before}
    loaded = {plugin.name: plugin.sha256 for plugin in now}
    moved = set(recorded.values()) & set(loaded.values())  # the same code is the same plugin, wherever its file lies
    recorded, loaded = ({name: sha for name, sha in of.items() if sha not in moved} for of in (recorded, loaded))
    for name in sorted({*recorded, *loaded}):
        if recorded.get(name) != loaded.get(name):
            what = "is new" if name not in recorded else "is not loaded" if name not in loaded else "has changed"
            yield f"plugin {name}, which {what}"


def _minor(version: object) -> str:
    return ".".join(str(version).partition("+")[0].split(".")[:2])


def _short(digest: object) -> str:
    return str(digest)[:12] if digest else "none"
