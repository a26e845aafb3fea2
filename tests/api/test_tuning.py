"""What cannot be run is refused before anything begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import bts_tune as bt
from bts_tune.errors import BtsTuneError, ConfigError, DataError, RunError
from bts_tune.testing.runs import make_baselines, make_run, write_run
from tests.api.studies import small_space


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
    with pytest.raises(RunError, match="It begins"):
        bt.tune("mine.yaml", slices, plugins=Path("a.py"), only="a")
    assert (begun["plugins"], begun["only"]) == (["a.py"], ["a"])
