"""What cannot be run is refused before anything begins."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import bts_tune as bt
from bts_tune.errors import BtsTuneError, ConfigError, DataError, RunError
from bts_tune.testing.runs import make_baselines, make_run, write_run
from tests.api.studies import FIELDS, small_space


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_trails": 3}, "num_trails: is no option here. Did you mean 'num_trials'"),
        ({"final_seeds": "many"}, "--final-seeds: .* got 'many'"),
        ({"only": {"unet": 1}}, "--only: .* got {'unet': 1}"),
        ({"only": "unett"}, "Did you mean 'unet'"),
        ({"only": ["unett"]}, "Did you mean 'unet'"),
        ({"overrides": {"learning_rat": 1}}, "Did you mean 'learning_rate'"),
        ({"split": "grouqed"}, "Did you mean 'grouped'"),
        ({"plugins": [Path("nowhere.py")]}, "nowhere.py: cannot be read"),
        ({"name": "../up"}, "--name '../up': allowed are letters"),
        ({"device": "cuda" if not torch.cuda.is_available() else "tpu"}, "--device"),
    ],
)
def test_unknown_options_and_names_are_refused_in_one_sentence(
    slices: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(BtsTuneError, match=sentence) as refused:
        bt.tune(small_space(), slices, progress=False, dashboard=False, **options)
    assert "\n" not in str(refused.value)
    assert not Path("results").exists()


def test_what_is_no_folder_and_no_run_is_refused(slices: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'baseline'"):
        bt.tune("basline", slices, progress=False)
    with pytest.raises(ConfigError, match="data: must be a dataset's folder, got Dataset"):
        bt.tune("baseline", bt.open_dataset(slices), progress=False)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="nowhere: does not exist"):
        bt.tune(small_space(), "nowhere", progress=False)
    with pytest.raises(RunError, match="nothing: no such run"):
        bt.open_run("nothing")
    write_run(tmp_path / "results" / "run", make_baselines(epochs=2), make_run())
    for call in (bt.resume, bt.train_final):
        with pytest.raises(ConfigError, match="overrides: cannot be given to a run that goes on; allowed: "):
            call("run", overrides={"epochs": 3})
        with pytest.raises(ConfigError, match="Did you mean 'concurrent'"):
            call("run", concurent=3)
        with pytest.raises(RunError, match="nothing: no such run"):
            call("nothing")
    with pytest.raises(ConfigError, match="num_trials: must be a whole number, got 'many'"):
        bt.extend("run", "many")  # type: ignore[arg-type]


UNTYPED: Any = bt
"""The API for those who do not check types."""


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: UNTYPED.tune("baseline", name=5), "name: must be a text or None, got 5."),
        (lambda: UNTYPED.tune(5), "space: must be a text or a pathlib.Path, got 5."),
        (lambda: UNTYPED.tune("baseline", results=5), "results: 5: is no path; give a text or a pathlib.Path."),
        (lambda: UNTYPED.open_run(None), "run: must be a text or a pathlib.Path, got None."),
        (lambda: UNTYPED.open_run("run").best_model(5), "trial: must be a text or None, got 5."),
        (
            lambda: UNTYPED.open_run("run").predict(5, "out"),
            "images: must be a text, a pathlib.Path or several of them, got 5.",
        ),
        (
            lambda: UNTYPED.open_run("run").predict("a.png", "out", formats=5),
            "formats: must be a text, a pathlib.Path or",
        ),
        (lambda: UNTYPED.open_run("run").predict("a.png", 5), "out: 5: is no path"),
        (
            lambda: UNTYPED.open_run("run").predict("a.png", "out", batch_size=2.5),
            "batch_size: must be a whole number, got 2.5.",
        ),
        (lambda: UNTYPED.open_run("run").export(5), "to: must be a text, got 5."),
        (lambda: UNTYPED.open_run("run").export("optuna", 5), "output: must be a text or a pathlib.Path, got 5."),
        (lambda: UNTYPED.open_run("run").send(5), "tracker: must be a text, got 5."),
        (lambda: UNTYPED.resume("run", retry_failed="no"), "retry_failed: must be True or False, got 'no'."),
        (lambda: UNTYPED.extend("run", True), "num_trials: must be a whole number, got True."),
        (lambda: UNTYPED.train_final("run", top=1.5), "top: must be a whole number or None, got 1.5."),
        (lambda: UNTYPED.load_model(5), "folder: 5: is no path"),
        (lambda: UNTYPED.load_plugin(5), "plugin: must be a text or a pathlib.Path, got 5."),
        (lambda: UNTYPED.load_space(5), "space: must be a text or a pathlib.Path, got 5."),
        (lambda: UNTYPED.benchmark(5), "file: 5: is no path"),
        (lambda: UNTYPED.open_dataset(None), "root: None: is no path"),
        (lambda: UNTYPED.open_dataset(".", split_seed="x"), "split_seed: must be a whole number, got 'x'."),
        (lambda: UNTYPED.open_dataset(".", empty_slices="x"), "empty_slices: must be a number, got 'x'."),
        (lambda: UNTYPED.check_dataset(5), "data: 5: is no path"),
        (
            lambda: UNTYPED.open_dataset(".", tumor_categories=True),
            "tumor_categories: must be a text, a number or several",
        ),
        (lambda: UNTYPED.open_dataset(".", tumor_labels=[None]), "tumor_labels: must be a text, a number or several"),
        (
            lambda: UNTYPED.TrialConfig.parse(None),
            "configuration: must be a mapping of fields to their values, got None.",
        ),
        (lambda: UNTYPED.train([1], "slices"), "configuration: must be a mapping of fields to their values, got [1]."),
        (lambda: UNTYPED.Space.from_document(5), "the document of a search space must name its 'source'."),
        (lambda: UNTYPED.load_space("baseline").resolve(only=5), "space 'baseline' has no named trial 5."),
        (lambda: UNTYPED.load_space("baseline").resolve(overrides=["a"]), "--set: must be a mapping of fields"),
        (
            lambda: UNTYPED.load_space("baseline").resolve(seeds=3),
            "seeds: must be one or more different numbers, got 3.",
        ),
        (
            lambda: UNTYPED.load_space("extended").resolve(num_trials="x"),
            "--num-trials: must be a whole number, got 'x'.",
        ),
        (
            lambda: UNTYPED.load_space("extended").resolve(final_top="x"),
            "final stage: top: input should be a valid integer",
        ),
        (lambda: UNTYPED.LOSSES.get(5), "unknown loss 5."),
        (lambda: UNTYPED.open_run("run").export("folder", "s3://bucket/a"), "--output s3://bucket/a: is an address"),
        (lambda: UNTYPED.train({}, "slices", device=5), "device: must be a text, got 5."),
        (lambda: UNTYPED.train({}, "slices", cache=5), "cache: 5: is no path"),
    ],
)
def test_an_argument_of_another_type_is_refused_in_one_sentence(
    tmp_path: Path, call: Callable[[], object], sentence: str
) -> None:
    write_run(tmp_path / "results" / "run", make_baselines(epochs=2), make_run())
    with pytest.raises(ConfigError) as refused:
        call()
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


def test_a_home_folder_is_found_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write_run(tmp_path / "home" / "runs" / "mine", make_baselines(epochs=2), make_run())
    assert bt.open_run("~/runs/mine").path == bt.open_run("mine", "~/runs").path
    bt.open_run("~/runs/mine").export("optuna", "~/mine.journal")
    assert (tmp_path / "home" / "mine.journal").is_file()
    for call in (bt.open_dataset, bt.check_dataset, bt.load_model, lambda path: bt.train({}, path), bt.benchmark):
        with pytest.raises(BtsTuneError, match=f"^{tmp_path}/home/nothing"):
            call("~/nothing")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a run that begins is given: its options and its space's document; it goes no further."""
    given: dict[str, Any] = {}

    def begin(options: Any, *, space: bt.Space | None, command: list[str], **_: Any) -> None:
        given.update(options.to_dict(), document=space and space.document, command=command)
        raise RunError("It begins.")

    monkeypatch.setattr("bts_tune.experiment.run.start", begin)
    return given


def test_numbers_of_numpy_are_recorded_as_plain_ones(slices: Path, begun: dict[str, Any]) -> None:
    space = small_space(
        seeds=np.array([3, 4]),
        defaults={**FIELDS, "epochs": np.int64(2), "head_dropout": np.float64(0.1)},
        search={
            "num_trials": np.int64(3),
            "parameters": {"learning_rate": {"float": np.array([1e-4, 1e-2])}},
            "final": {"top": np.int8(0)},
        },
    )
    overrides = {"learning_rate": np.float64(1e-3), "batch_size": np.int64(4), "freeze": np.str_("all")}
    with pytest.raises(RunError, match="It begins"):
        bt.tune(
            space,
            slices,
            overrides=overrides,
            seeds=np.int64(2),
            num_trials=np.int32(5),
            tumor_labels=np.array([1, 4]),
            memory_per_trial=np.float32(0.5),
        )
    assert begun["overrides"] == {"learning_rate": 1e-3, "batch_size": 4, "freeze": "all"}
    assert (begun["seeds"], begun["num_trials"], begun["tumor_labels"]) == (2, 5, ["1", "4"])
    assert begun["document"]["seeds"] == [3, 4]
    assert "np." not in " ".join(begun["command"])
    assert begun["command"][0] == "bts_tune.tune"
    assert {"space=small", "num_trials=5", "results=results"} <= {*begun["command"]}
    json.dumps(begun)


def test_a_number_of_numpy_extends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path / "run", make_baselines(epochs=2), make_run())
    asked: dict[str, Any] = {}

    def resume(*_: Any, **given: Any) -> SimpleNamespace:
        asked.update(given)
        return SimpleNamespace(folder=folder, report=None)

    monkeypatch.setattr("bts_tune.experiment.run.resume", resume)
    bt.extend(folder.path, np.int64(3))  # type: ignore[arg-type]
    assert json.dumps(asked["extend_by"]) == "3"


def test_paths_are_taken_wherever_an_option_names_one(slices: Path, tmp_path: Path, begun: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="It begins"):
        bt.tune(
            Path("mine.yaml"), slices, weights_dir=tmp_path, cache=tmp_path, plugins=(Path("a.py"),), only=("a", "b")
        )
    assert begun["space"] == "mine.yaml"
    assert (begun["weights_dir"], begun["cache"], begun["data"]) == (str(tmp_path), str(tmp_path), str(slices))
    assert (begun["plugins"], begun["only"]) == (["a.py"], ["a", "b"])
    json.dumps(begun)
    with pytest.raises(RunError, match="It begins"):
        bt.tune("mine.yaml", slices, plugins=Path("a.py"), only="a")
    assert (begun["plugins"], begun["only"]) == (["a.py"], ["a"])
