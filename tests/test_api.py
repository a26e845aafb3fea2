"""The Python API, as a script or a notebook uses it: whole studies in this process, on a few phantoms."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

import bts_tune as bt
from bts_tune import api
from bts_tune.data.synthetic.phantom import write_phantom
from bts_tune.errors import BtsTuneError, ConfigError, DataError, RunError
from bts_tune.registry import METRICS
from bts_tune.testing.runs import make_baselines, make_run, write_run
from bts_tune.training.prediction.segmenter import Segmenter

FIELDS: dict[str, Any] = {
    "image_size": 32,
    "epochs": 2,
    "batch_size": 8,
    "encoder": "tu-test_efficientnet",
    "encoder_weights": "none",
}
OPTIONS: dict[str, Any] = {"dashboard": False, "device": "cpu", "concurrent": 1, "progress": False}
EXAMPLES = Path(__file__).parents[1] / "docs" / "examples" / "plugins"


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 40 slices."""
    root = tmp_path_factory.mktemp("api") / "slices"
    write_phantom(root, count=40, image_size=48, slices_per_patient=2, seed=3, workers=1)
    return root


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BTS_TUNE_CACHE", str(tmp_path / "cache"))


@contextlib.contextmanager
def output_in(file: Path) -> Iterator[None]:
    """Write what this process and those that it starts print into a file."""
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    with file.open("wb") as target:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor in (1, 2):
            os.dup2(target.fileno(), descriptor)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, before in zip((1, 2), kept, strict=True):
                os.dup2(before, descriptor)
                os.close(before)


def small_space(**changes: Any) -> bt.Space:
    content: dict[str, Any] = {
        "name": "small",
        "description": "Two decoders, and a search.",
        "defaults": FIELDS,
        "trials": {
            "unet": {"baseline": True, "config": {"decoder": "unet"}},
            "fpn": {"config": {"decoder": "fpn", "learning_rate": 1e-6}},
        },
        "search": {
            "num_trials": 1,
            "parameters": {"learning_rate": {"float": [1e-4, 1e-2], "log": True}},
            "final": {"top": 0},
        },
    }
    return bt.build_space(**{**content, **changes})


class Study:
    """A run that `tune` carried out, and what was printed meanwhile."""

    def __init__(self, run: bt.Run, printed: str) -> None:
        self.run, self.printed = run, printed


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, slices: Path) -> Study:
    root = tmp_path_factory.mktemp("study")
    with output_in(root / "printed"):
        run = bt.tune(
            small_space(),
            slices,
            name="study",
            results=root / "results",
            cache=root / "cache",
            **OPTIONS,
        )
    return Study(run, (root / "printed").read_text())


# The module itself


def test_the_examples_in_the_docstrings_run() -> None:
    failed, tried = doctest.testmod(api)
    assert tried > 0
    assert failed == 0


def test_every_public_function_has_an_example_and_says_what_it_raises() -> None:
    for name in bt.__all__:
        found = getattr(bt, name)
        if inspect.isfunction(found):
            text = inspect.getdoc(found) or ""
            assert "Examples:" in text, name
            assert "Raises:" in text or "as for" in text, name


@pytest.mark.parametrize("module", ["bts_tune", "bts_tune.registry", "bts_tune.errors"])
def test_importing_it_imports_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print(sorted({{'torch', 'ray', 'pandas', 'numpy', 'pydantic'}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there_and_others_are_not() -> None:
    assert set(bt.__all__) < set(dir(bt))
    assert {name for name in bt.__all__ if not name.isupper()} == {*api.__all__, "BtsTuneError"}
    with pytest.raises(AttributeError, match="no attribute 'tun'"):
        bt.tun  # type: ignore[attr-defined] # noqa: B018


def test_every_public_name_is_typed(tmp_path: Path) -> None:
    """`mypy --strict` on a user's script: nothing is `Any` that need not be, and a wrong argument is told."""
    script = tmp_path / "script.py"
    script.write_text(
        f"from bts_tune import (\n    {', '.join(bt.__all__)},\n)\n"
        + """
import bts_tune


def study() -> None:
    load_plugin("mine.py")
    dataset = open_dataset("slices", tumor_categories=["1"])
    count: int = len(check_dataset(dataset).errors)
    config = TrialConfig.parse({"encoder": "resnet18"})
    for epoch in train(config, dataset, folder="kept"):
        loss: float = epoch.val_dice_loss
    space: Space = build_space(name="a", description="b", trials={"c": {}})
    run: Run = tune(space, "slices", num_trials=3)
    run = resume(run, concurrent=2)
    run = extend(run, 5)
    run = train_final(open_run("results/a"), top=2, seeds=3)
    print(bts_tune.load_spaec("baseline"))
    reveal_type(run.leaderboard)
    reveal_type(run.best_config)
    reveal_type(run.best_model())
    reveal_type(run.predict("a.png", "out"))
    reveal_type(run.report())
    reveal_type(load_space("baseline"))
    names: tuple[str, ...] = METRICS.names() + LOSSES.names() + DECODERS.names() + READERS.names()
    names += SECTIONS.names() + SPLIT_METHODS.names() + AUGMENTATION_STEPS.names() + TRACKERS.names()
    try:
        tune(3)
    except BtsTuneError as error:
        print(error, count, loss, names)
"""
    )
    # Reading these takes most of the time, and nothing here depends on them.
    skipped = [f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in ("torch", "ray", "optuna", "matplotlib")]
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\nfollow_imports = silent\n" + "".join(skipped))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-incremental", str(script)],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    lines = [line.removeprefix("script.py:") for line in done.stdout.splitlines()]
    errors = [line for line in lines if ": error: " in line]
    assert len(errors) == 2, done.stdout
    assert 'Module has no attribute "load_spaec"' in errors[0]
    assert 'Argument 1 to "tune" has incompatible type "int"' in errors[1]
    revealed = " ".join(line for line in lines if "Revealed type" in line)
    for kind in ("DataFrame", "TrialConfig", "Segmenter", "list[bts_tune", "ReportFiles", "Space"):
        assert kind in revealed
    assert '"Any"' not in revealed


# Datasets


def test_a_dataset_is_opened_and_checked(slices: Path, tmp_path: Path) -> None:
    for root in (slices, str(slices)):
        dataset = bt.open_dataset(root)
        assert {split: len(records) for split, records in dataset.records.items()} == {
            "train": 28,
            "valid": 8,
            "test": 4,
        }
    assert bt.check_dataset(dataset).errors == bt.check_dataset(slices).errors == ()
    with pytest.raises(DataError, match="nowhere: does not exist"):
        bt.check_dataset("nowhere")
    with pytest.raises(DataError, match="'stroke'"):
        bt.open_dataset(slices, tumor_categories=["stroke"])
    with pytest.raises(ConfigError, match="unknown reader 'minc'"):
        bt.open_dataset(slices, reader="minc")


# Search spaces


def test_a_space_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert bt.load_space("extended").name == "extended"
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ndescription: d\ntrials: {a: {}}\n")
    assert bt.load_space(file).name == bt.load_space(str(file)).name == "mine"
    with pytest.raises(ConfigError, match="Did you mean 'extended'"):
        bt.load_space("extendet")


def test_a_built_space_is_the_same_as_its_file(tmp_path: Path) -> None:
    content = {"name": "mine", "description": "d", "include": ["baseline"], "trials": {"a": {"config": FIELDS}}}
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(content))
    built, loaded = bt.build_space(**content).document, bt.load_space(file).document
    assert {**built, "source": ""} == {**loaded, "source": ""}
    assert list(built["trials"]) == ["unet-b0", "unet-b0-frozen", "unetplusplus-b5", "a"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"trails": {}}, "build_space: unknown key 'trails'. Did you mean 'trials'"),
        ({"trials": {"a": {"config": {"learning_rat": 1}}}}, "Did you mean 'learning_rate'"),
        ({"trials": {"a": {"config": {"learning_rate": -1}}}}, "learning_rate: .* got -1"),
        ({"include": ["basline"]}, "Did you mean 'baseline'"),
        ({"plugins": ["nowhere.py"]}, "nowhere.py: cannot be read"),
        ({"plugins": "nowhere.py"}, "plugins: .* valid list"),
        ({}, "has nothing to run"),
    ],
)
def test_a_mistake_in_a_built_space_gets_one_sentence(content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        bt.build_space(**{"name": "mine", "description": "d", **content})
    assert "\n" not in str(refused.value)


# Plugins


def test_a_plugin_s_loss_can_be_named_once_it_is_loaded() -> None:
    """In a process of its own, since what is registered stays."""
    code = f"""
import pathlib
import bts_tune as bt
examples = pathlib.Path({str(EXAMPLES)!r})
space = dict(name="a", description="d", trials={{"b": {{"config": {{"loss": "boundary-bce"}}}}}})
try:
    bt.build_space(**space)
except bt.BtsTuneError as error:
    assert "boundary-bce" in str(error)
else:
    raise SystemExit("it is known already")
plugin = bt.load_plugin(examples / "boundary_loss.py")
assert "boundary-bce" in bt.LOSSES and plugin.kind == "file"
bt.build_space(**space)
bt.build_space(**space, plugins=[str(examples / "ghosting.py")])
assert "ghosting" in bt.AUGMENTATION_STEPS
print("done")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


# Training without Ray


def test_training_yields_epochs_and_goes_on_where_it_was_cut_off(slices: Path, tmp_path: Path) -> None:
    fields = {**FIELDS, "epochs": 3}
    whole = [epoch.to_dict() for epoch in bt.train(fields, slices, device="cpu", folder=tmp_path / "whole")]
    assert [epoch["epoch"] for epoch in whole] == [1, 2, 3]
    assert all(math.isfinite(epoch["val_dice_loss"]) for epoch in whole)

    cut_off = bt.train(fields, bt.open_dataset(slices), device="cpu", folder=tmp_path / "cut")
    next(cut_off)
    cut_off.close()  # type: ignore[attr-defined]
    again = [epoch.to_dict() for epoch in bt.train(bt.TrialConfig.parse(fields), str(slices), folder="cut")]
    clock = {"seconds", "train_seconds", "images_per_second"}
    assert [{name: value for name, value in epoch.items() if name not in clock} for epoch in again] == [
        {name: value for name, value in epoch.items() if name not in clock} for epoch in whole
    ]
    best = min(whole, key=lambda epoch: epoch["val_dice_loss"])
    assert Segmenter.load(tmp_path / "cut").epoch == best["epoch"]

    weights = (tmp_path / "cut" / "model.safetensors").read_bytes()
    with pytest.raises(RunError, match="cut: its checkpoint is of another configuration"):
        next(bt.train({**fields, "learning_rate": 0.5}, slices, folder=tmp_path / "cut"))
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == weights


def test_what_cannot_be_trained_is_refused_before_the_first_epoch_is_asked_for(slices: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'encoder'"):
        bt.train({"encodr": "resnet18"}, slices)
    with pytest.raises(DataError, match="nowhere: does not exist"):
        bt.train(FIELDS, "nowhere")
    with pytest.raises(BtsTuneError, match=r"nowhere\.pth"):
        bt.train({**FIELDS, "encoder_weights": "nowhere.pth"}, slices)
    with pytest.raises(ConfigError, match="device"):
        next(bt.train(FIELDS, slices, device="tpu"))


# Runs


def test_a_study_runs_in_this_process_and_leaves_no_ray(study: Study) -> None:
    import ray

    assert not ray.is_initialized()
    assert study.run.status == "complete"
    assert list(study.run.trials["stage"]) == ["search"] * 3
    assert set(study.run.trials["status"]) <= {"complete", "stopped"}
    assert study.run.path.name == "study"
    assert repr(study.run) == f"open_run({str(study.run.path)!r})"


def test_a_study_prints_nothing_where_no_progress_is_asked_for(study: Study) -> None:
    assert study.printed == ""


@pytest.mark.parametrize(
    ("name", "file"),
    [("leaderboard", "leaderboard.csv"), ("epochs", "epochs.csv"), ("configurations", "configurations.csv")],
)
def test_tables_are_the_files(study: Study, name: str, file: str) -> None:
    frame = getattr(bt.open_run(study.run.path), name)
    assert len(frame) > 0
    written = study.run.path / file
    read = pd.read_csv(written)
    assert list(read.columns.drop("profile")) == list(frame.columns)
    for column in frame.columns:
        assert [_cell(value) for value in frame[column]] == [_cell(value) for value in read[column]], column


def _cell(value: Any) -> Any:
    """A cell whatever type it has: missing, a number, or text."""
    if value is None or value is pd.NA or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    return float(value) if isinstance(value, int | float | np.number) else str(value)


def test_trials_are_in_the_order_of_planning_with_the_leaderboard_s_columns(study: Study) -> None:
    trials, board = study.run.trials, study.run.leaderboard
    assert list(trials.columns) == list(board.columns)
    assert list(trials["trial"])[:2] == ["unet", "fpn"]
    assert sorted(trials["trial"]) == sorted(board["trial"])


def test_the_best_model_is_a_module_that_predicts(study: Study, slices: Path) -> None:
    model = study.run.best_model(device="cpu")
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    assert model.config == study.run.best_config
    assert study.run.best_config.config_id == study.run.leaderboard["config_id"][0]
    file = next((slices / "test").glob("*.png"))
    array = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    assert array is not None
    mask = model.predict(file)
    assert mask.shape == (48, 48)
    assert mask.dtype == np.uint8
    assert set(mask.flat) <= {0, 1}
    np.testing.assert_array_equal(model.predict(array), mask)
    probability = model.probability(str(file))
    assert probability.shape == (48, 48)
    assert probability.dtype == np.float32
    np.testing.assert_array_equal(probability > 0.5, mask == 1)
    of_trials = dict(zip(study.run.trials["trial"], study.run.trials["config_id"], strict=True))
    assert study.run.best_model("unet", device="cpu").config.config_id == of_trials["unet"]
    with pytest.raises(RunError, match="kept no model of that name"):
        study.run.best_model("manet")


def test_images_are_predicted_into_a_folder(study: Study, slices: Path, tmp_path: Path) -> None:
    files = sorted((slices / "test").glob("*.png"))
    written = study.run.predict([files[0], str(files[1])], tmp_path / "two", device="cpu")
    assert [one.image for one in written] == files[:2]
    mask = cv2.imread(str(written[0].mask), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    np.testing.assert_array_equal(mask // 255, study.run.best_model(device="cpu").predict(files[0]))
    assert written[0].tumor_share == pytest.approx((mask > 0).mean())
    assert len(study.run.predict(slices / "test", "all", device="cpu")) == len(files)
    assert [one.image for one in study.run.predict(str(files[0]), "one", device="cpu")] == files[:1]
    with pytest.raises(DataError, match="no such image or folder"):
        study.run.predict("nowhere.png", "none")


def test_a_model_is_exported_into_the_run_s_folder_and_opened_again(study: Study, slices: Path, tmp_path: Path) -> None:
    # On a copy, so that the other tests find the run as it was.
    run = bt.Run(type(study.run.folder)(Path(shutil.copytree(study.run.path, tmp_path / "copy"))))
    exported = run.export("folder")
    best = run.leaderboard["trial"][0]
    assert exported.output == str(run.path / "exports" / best)
    assert all("\n" not in note for note in exported.notes)
    file = next((slices / "test").glob("*.png"))
    np.testing.assert_array_equal(
        bt.load_model(exported.output, device="cpu").predict(file), run.best_model(device="cpu").predict(file)
    )
    assert run.export("folder", "unet", trial="unet").output == "unet"
    with pytest.raises(RunError, match="unet: exists already"):
        run.export("folder", Path("unet"))
    with pytest.raises(ConfigError, match=r"unknown export 'onxx'\. Did you mean 'onnx'"):
        run.export("onxx")
    with pytest.raises(RunError, match="nowhere: the saved model cannot be read"):
        bt.load_model("nowhere")


def test_the_report_is_written_anew(study: Study) -> None:
    run = bt.open_run("study", study.run.path.parent)
    assert run.report_files is None
    page = study.run.path / "report.html"
    before = page.read_bytes()
    page.unlink()
    files = run.report()
    assert files is run.report_files
    assert files.page == page
    assert page.read_bytes() == before


def test_a_complete_run_that_goes_on_trains_nothing(study: Study) -> None:
    before = (study.run.path / "rows.jsonl").read_bytes()
    resumed = bt.resume(study.run, **OPTIONS)
    assert resumed.status == "complete"
    assert (study.run.path / "rows.jsonl").read_bytes() == before
    assert resumed.report_files is not None


def test_trials_are_added_to_a_search(study: Study, tmp_path: Path) -> None:
    # On a copy, so that the other tests find the run as it was.
    copy = tmp_path / "results" / "study"
    shutil.copytree(study.run.path, copy)
    assert len(bt.open_run("study").trials) == 3
    extended = bt.extend("study", 1, **OPTIONS)
    assert len(extended.trials) == 4
    assert extended.status == "complete"


def test_a_run_without_a_trial_to_the_full_budget_has_no_best_configuration(tmp_path: Path) -> None:
    run = api.Run(write_run(tmp_path / "run", [], make_run(status="interrupted")))
    assert run.status == "interrupted"
    assert len(run.leaderboard) == len(run.trials) == len(run.epochs) == len(run.configurations) == 0
    with pytest.raises(RunError, match="no trial has been trained to the full budget yet"):
        _ = run.best_config
    with pytest.raises(RunError, match="no trial of this run has left a model yet"):
        run.best_model()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_trails": 3}, "num_trails: is no option here. Did you mean 'num_trials'"),
        ({"final_seeds": "many"}, "--final-seeds: .* got 'many'"),
        ({"only": "unet"}, "--only: .* valid list, got 'unet'"),
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


def test_paths_are_taken_wherever_an_option_names_one(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to where the run begins."""
    begun: dict[str, Any] = {}

    def begin(options: Any, **_: Any) -> None:
        begun.update(options.to_dict())
        raise RunError("It begins.")

    monkeypatch.setattr("bts_tune.experiment.run.start", begin)
    with pytest.raises(RunError, match="It begins"):
        bt.tune(
            Path("mine.yaml"), slices, weights_dir=tmp_path, cache=tmp_path, plugins=(Path("a.py"),), only=("a", "b")
        )
    assert begun["space"] == "mine.yaml"
    assert (begun["weights_dir"], begun["cache"], begun["data"]) == (str(tmp_path), str(tmp_path), str(slices))
    assert (begun["plugins"], begun["only"]) == (["a.py"], ["a", "b"])
    json.dumps(begun)


def test_metrics_are_found_through_the_registry() -> None:
    assert bt.METRICS is METRICS
    assert "dice-loss" in bt.METRICS
