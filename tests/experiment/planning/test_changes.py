"""What a run that goes on is compared with, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import bts_tune
from bts_tune.experiment.planning.changes import SOURCES, changed_run_error, changes_since, code_hash, device_changes
from bts_tune.experiment.planning.environment import versions
from bts_tune.experiment.planning.plan import named_trials
from bts_tune.plugins import Plugin
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.space import load_space

WEIGHTS = {"encoder": "resnet18", "path": "a.pth", "sha256": "a" * 64}


def began(**changes: Any) -> dict[str, Any]:
    return {
        "versions": versions(),
        "code": code_hash(),
        "dataset": {"fingerprint": "f" * 64},
        "weights": [WEIGHTS],
        **changes,
    }


def found(run: dict[str, Any], **now: Any) -> list[str]:
    here = {"fingerprint": "f" * 64, "weights": [WEIGHTS], "versions": versions(), "code": code_hash()}
    return changes_since(run, **{**here, **now})


def test_nothing_has_changed() -> None:
    assert found(began()) == []


def test_a_run_of_an_earlier_version_lacks_what_was_not_recorded() -> None:
    assert found({"dataset": {"fingerprint": "f" * 64}}) == []


@pytest.mark.parametrize("package", ["torch", "segmentation-models-pytorch", "timm", "albumentations", "optuna", "ray"])
def test_another_minor_version_of_what_figures_depend_on_is_a_change_and_a_patch_is_none(package: str) -> None:
    major, minor, *_ = versions()[package].split(".")
    patch, other = f"{major}.{minor}.99+cpu", f"{major}.{int(minor) + 1}.0"
    assert found(began(), versions={**versions(), package: patch}) == []
    (clause,) = found(began(), versions={**versions(), package: other})
    assert clause == f"{package} ({versions()[package]!r}, now {other!r})"


@pytest.mark.parametrize("package", ["python", "pandas"])
def test_what_no_figure_depends_on_may_change(package: str) -> None:
    assert found(began(), versions={**versions(), package: "99.0"}) == []


def test_a_plugin_that_has_moved_is_the_same_one() -> None:
    before = [{"name": f"/old/{name}.py", "kind": "file", "sha256": name} for name in ("loss", "metric")]
    now = [Plugin("/new/loss.py", "file", "loss"), Plugin("/old/metric.py", "file", "another")]
    assert found(began(plugins=before), plugins=now) == ["plugin /old/metric.py, which has changed"]


def test_any_other_version_of_bts_tune_is_a_change() -> None:
    assert "bts-tune (" in found(began(), versions={**versions(), "bts-tune": "0.1.99"})[0]


@pytest.mark.parametrize("pattern", SOURCES)
def test_each_part_of_the_code_that_figures_depend_on_is_there(pattern: str) -> None:
    assert list(Path(bts_tune.__file__).parent.glob(pattern))


def test_code_data_and_weights_are_compared_by_content() -> None:
    assert found(began(code="0" * 64)) == ["bts-tune's own source code"]
    assert found(began(), fingerprint="e" * 64) == ["the dataset (fingerprint ffffffffffff, now eeeeeeeeeeee)"]
    moved, changed = {**WEIGHTS, "path": "b.pth"}, {**WEIGHTS, "sha256": "b" * 64}
    assert found(began(), weights=[moved]) == []
    assert found(began(), weights=[changed]) == ["the weights of resnet18 (aaaaaaaaaaaa, now bbbbbbbbbbbb)"]


@pytest.mark.parametrize("folds", [None, 3])
def test_a_space_that_gives_another_configuration_than_was_planned_is_a_change(folds: int | None) -> None:
    named = named_trials(load_space("baseline").resolve(demo=True), folds)
    trials = [TrialRecord(trial=one.trial, **one.event()) for one in named]
    assert found(began(), named=named, trials=trials) == []
    trials[1].config_id = "other"
    (clause,) = found(began(), named=named, trials=trials)
    assert named[1].trial in clause


def test_another_device_is_a_change() -> None:
    assert device_changes({}, "cpu") == []
    assert device_changes({"device": "cpu"}, "cpu") == []
    assert device_changes({"device": "cuda (A)"}, "cuda (B)") == ["the device ('cuda (A)', now 'cuda (B)')"]


def test_the_refusal_names_every_change_and_the_way_on() -> None:
    text = str(changed_run_error("results/x", ["a", "b"]))
    assert "results/x" in text
    assert "a; b" in text
    assert "--allow-changed" in text


def test_an_encoder_may_begin_from_several_weights() -> None:
    weights = [{"encoder": "resnet18", "sha256": digest} for digest in ("aa", None)]
    run = {"dataset": {"fingerprint": "f"}, "weights": weights}
    given: dict[str, Any] = {"fingerprint": "f", "versions": {}, "code": ""}
    assert changes_since(run, weights=weights, **given) == []
    other = [{"encoder": "resnet18", "sha256": "bb"}]
    assert changes_since(run, weights=other, **given) == ["the weights of resnet18 (aa or none, now bb)"]
