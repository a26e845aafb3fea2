"""The file of a benchmark: what it makes, and the sentence for each mistake in it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bts_tune.api.run import Run
from bts_tune.errors import ConfigError
from bts_tune.experiment.planning.benchmark_file import Benchmark, load_benchmark
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.space import load_space
from bts_tune.testing.runs import make_row, make_run, make_trial, write_run

SMALL = {
    "name": "small",
    "configurations": {"unet-b0": {"space": "baseline"}, "light": {"config": {"decoder": "fpn"}}},
    "datasets": {"a": "clinic_a", "b": {"data": "clinic_b", "plane": "coronal"}},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("clinic_a", "clinic_b", "results"):
        (tmp_path / name).mkdir()
    return tmp_path


def load(
    folder: Path, recorded: Mapping[str, Any] | None = None, *, run_plugins: bool = True, **changes: Any
) -> Benchmark:
    path = folder / "bench.yaml"
    path.write_text(yaml.safe_dump({**SMALL, **changes}, sort_keys=False))
    return load_benchmark(path, folder / "results", recorded, run_plugins=run_plugins)


def test_a_run_for_each_dataset_and_split_with_every_configuration_and_seed(folder: Path) -> None:
    found = load(folder, splits=["provided", "grouped"], seeds=[4, 7], folds=3, set={"epochs": 5})
    assert [run.name for run in found.runs] == ["a__provided", "a__grouped", "b__provided", "b__grouped"]
    options = found.runs[3].options
    assert options["data"] == str(folder / "clinic_b")
    assert (options["plane"], options["split"], options["folds"], options["overrides"]) == (
        *("coronal", "grouped", 3),
        {"epochs": 5},
    )
    resolved = found.space().resolve(overrides=options["overrides"])
    assert [(one.name, one.config.seed, one.config.epochs) for one in resolved.named] == [
        *(("unet-b0", 4, 5), ("unet-b0", 7, 5), ("light", 4, 5), ("light", 7, 5)),
    ]
    assert all(one.baseline for one in resolved.named)
    assert resolved.search is None
    # A documented model that the benchmark changes is marked as changed in its runs.
    assert resolved.named[0].changed == ("epochs",)


@pytest.mark.parametrize("name", ["patients.csv", "PATIENTS.TSV", "patients.txt"])
def test_a_table_of_patients_begins_at_the_benchmark_s_folder(folder: Path, name: str) -> None:
    (folder / name).touch()
    found = load(folder, datasets={"a": {"data": "clinic_a", "group_by": name}})
    assert found.runs[0].options["group_by"] == str(folder / name)
    for other in ("none", "(p[0-9]+)[.]txt"):
        found = load(folder, datasets={"a": {"data": "clinic_a", "group_by": other}})
        assert found.runs[0].options["group_by"] == other


def test_without_splits_each_dataset_has_its_own(folder: Path) -> None:
    found = load(folder)
    assert [(run.name, run.split, "split" in run.options) for run in found.runs] == [
        ("a", None, False),
        ("b", None, False),
    ]
    assert found.seeds == [0, 1, 2]


def test_a_named_trial_is_what_its_space_says(folder: Path) -> None:
    found = load(folder).configurations["unet-b0"]
    (documented,) = load_space("baseline").resolve(only=["unet-b0"]).named
    fields = {name: value for name, value in documented.config.to_dict().items() if name not in ("seed", "objective")}
    assert found.config == fields
    assert (found.origin, found.changed) == ("space baseline, trial unet-b0", ())


def test_published_metrics_stay_with_what_is_unchanged(folder: Path) -> None:
    chosen = {
        "as-it-is": {"space": "baseline", "trial": "unetplusplus-b5"},
        "changed": {"space": "baseline", "trial": "unetplusplus-b5", "set": {"decoder": "unet"}},
    }
    found = load(folder, configurations=chosen).configurations
    assert found["as-it-is"].published is not None
    assert (found["changed"].published, found["changed"].changed) == (None, ("decoder",))


def test_the_winner_of_a_run_and_one_of_its_configurations(folder: Path) -> None:
    trials = [
        make_trial("t1", rows=[make_row("t1", 1, 0.2)], decoder="manet", epochs=1, seed=5),
        make_trial("t2", index=1, rows=[make_row("t2", 1, 0.3)], decoder="fpn", epochs=1),
    ]
    write_run(folder / "results" / "earlier", trials, make_run(run="earlier", status="interrupted"))
    chosen = {"winner": {"run": "earlier"}, "second": {"run": "results/earlier", "trial": "t2"}}
    found = load(folder, configurations=chosen)
    assert found.configurations["winner"].config["decoder"] == "manet"
    assert found.configurations["second"].config["decoder"] == "fpn"
    assert found.configurations["winner"].origin == "run earlier, its winner, which was not complete"
    assert found.configurations["winner"].chosen_on == "77aa77aa"
    assert {one.config.seed for one in found.space().resolve().named} == {0, 1, 2}
    # Once the benchmark has begun, the winner stays what it was, whatever becomes of the run.
    (folder / "results" / "earlier" / "run.json").unlink()
    again = load(folder, found.to_dict(), configurations=chosen)
    assert again.configurations == found.configurations


def test_the_winner_of_a_search_at_a_lower_fidelity_is_taken_in_full(folder: Path) -> None:
    lower = make_trial("t", rows=[make_row("t", 1, 0.2)], epochs=1, image_size=32, train_share=0.5)
    lower.full = {"image_size": 64, "train_share": 1.0}
    write_run(folder / "results" / "earlier", [lower], make_run(run="earlier"))
    chosen = {"winner": {"run": "earlier"}, "light": {"config": {"decoder": "fpn"}}}
    config = load(folder, configurations=chosen).configurations["winner"].config
    assert (config["image_size"], config["train_share"]) == (64, 1.0)
    best = Run(RunFolder.open(folder / "results" / "earlier")).best_config
    assert (best.image_size, best.train_share) == (64, 1.0)


def test_files_of_weights_begin_at_the_file(folder: Path) -> None:
    given = {"config": {"encoder_weights": "mine.pth"}}
    found = load(folder, configurations={"a": given, "b": {"space": "baseline", "trial": "unet-b0"}}, set={"epochs": 2})
    assert found.configurations["a"].config["encoder_weights"] == str(folder / "mine.pth")
    assert found.configurations["b"].config["encoder_weights"] == "imagenet"
    assert load(folder, set={"encoder_weights": "x/y.pth"}).runs[0].options["overrides"] == {
        "encoder_weights": str(folder / "x" / "y.pth")
    }


def test_datasets_and_splits_may_be_added_and_a_dataset_may_move(folder: Path) -> None:
    began = load(folder, datasets={"a": "clinic_a"}, splits=["provided"]).to_dict()
    again = load(folder, began, datasets={"a": "clinic_b", "b": "clinic_b"}, splits=["provided", "grouped"])
    assert len(again.runs) == 4


def test_the_file_may_move_with_what_lies_beside_it(folder: Path) -> None:
    given: dict[str, Any] = {
        "configurations": {
            "own": {"config": {"encoder_weights": "mine.pth"}},
            "light": {"config": {}, "set": {"decoder": "fpn"}},
        },
        "datasets": {"a": {"data": "clinic_a", "group_by": "patients.csv"}},
        "set": {"encoder_weights": "weights/theirs.pth"},
    }
    began = load(folder, **given).to_dict()
    moved = folder / "moved" / "study"
    shutil.copytree(folder / "clinic_a", moved / "clinic_a")
    (options,) = [run.options for run in load(moved, began, **given).runs]
    assert options["group_by"] == str(moved / "patients.csv")
    given["datasets"]["a"]["group_by"] = "others.csv"
    with pytest.raises(ConfigError, match=r"datasets\.a is not as it was"):
        load(moved, began, **given)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"seeds": 4}, "seeds is not as it was"),
        ({"set": {"epochs": 3}}, "set is not"),
        ({"objective": "iou"}, "objective is not"),
        ({"folds": 3}, "folds is not"),
        ({"configurations": {**SMALL["configurations"], "more": {"config": {}}}}, "configurations.more is not"),  # type: ignore[dict-item]
        (
            {"configurations": {**SMALL["configurations"], "light": {"config": {"decoder": "unet"}}}},  # type: ignore[dict-item]
            "configurations.light is not",
        ),
        ({"datasets": {"a": "clinic_a"}}, "the run b, whose dataset or split is missing, is not"),
        ({"datasets": {"a": "clinic_a", "b": "clinic_b"}}, "datasets.b is not"),
    ],
)
def test_nothing_else_may_change_once_it_has_begun(folder: Path, changes: dict[str, Any], what: str) -> None:
    began = load(folder).to_dict()
    with pytest.raises(ConfigError) as error:
        load(folder, began, **changes)
    assert what in str(error.value)
    assert "Datasets and splits may be added." in str(error.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "Not this"}, "name:"),
        ({"configuration": {}}, "unknown key 'configuration'. Did you mean 'configurations'"),
        ({"configurations": {"one": {"space": "baseline"}}}, "configurations:"),
        (
            {"configurations": {"a": {}, "b": {"config": {}}}},
            "configurations.a: must have one of 'space', 'run' and 'config'",
        ),
        (
            {"configurations": {"a": {"space": "baseline", "run": "x"}, "b": {"config": {}}}},
            "configurations.a: must have one of 'space', 'run' and 'config', got space and run.",
        ),
        (
            {"configurations": {"unet-b1": {"space": "baseline"}, "b": {"config": {}}}},
            "space 'baseline' has no named trial 'unet-b1'. Did you mean 'unet-b0'",
        ),
        ({"configurations": {"a": {"space": "bassline"}, "b": {"config": {}}}}, "Did you mean 'baseline'?"),
        (
            {"configurations": {"a": {"run": "nowhere"}, "b": {"config": {}}}},
            "configurations.a.run: nowhere: no such run",
        ),
        (
            {"configurations": {"a": {"config": {"decoder": "unett"}}, "b": {"config": {}}}},
            "configurations.a.config.decoder: should be one of",
        ),
        (
            {"configurations": {"a": {"config": {}, "trial": "x"}, "b": {"config": {}}}},
            "configurations.a.trial: goes with 'space' or 'run', not with 'config'.",
        ),
        (
            {"configurations": {"a": {"config": {}, "set": {"seed": 1}}, "b": {"config": {}}}},
            "configurations.a.set.seed: must not be given here",
        ),
        ({"set": {"learning_rat": 1}}, "set: unknown key 'learning_rat'. Did you mean 'learning_rate'?"),
        ({"datasets": {}}, "datasets:"),
        ({"datasets": {"a": {"reader": "coco"}}}, "datasets.a.data: must be the dataset's folder, got None."),
        ({"datasets": {"a": "clinic_c"}}, "datasets.a.data: there is no folder"),
        (
            {"datasets": {"a": {"data": "clinic_a", "plan": "axial"}}},
            "datasets.a: unknown key 'plan'. Did you mean 'plane'?",
        ),
        ({"datasets": {"a": {"data": "clinic_a", "plane": "up"}}}, "datasets.a: --plane: input should be 'axial'"),
        ({"splits": ["groupt"]}, "splits: unknown split method 'groupt'. Did you mean 'grouped'?"),
        ({"splits": ["grouped", "grouped"]}, "splits: every split must be given once"),
        ({"seeds": [1, 1]}, "seeds: must be one or more different numbers, got [1, 1]."),
        ({"seeds": 0}, "seeds"),
        ({"folds": 1}, "folds: input should be greater than or equal to 2"),
        ({"objective": "dice"}, "objective: should be one of"),
        ({"plugins": ["nowhere.py"]}, "nowhere.py"),
    ],
)
def test_a_mistake_gets_one_sentence(folder: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(folder, **changes)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_none(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_benchmark(folder / "missing.yaml", folder)
    (folder / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="must be a mapping with the keys name, description, plugins"):
        load_benchmark(folder / "list.yaml", folder)


def test_a_plugin_lies_beside_the_file_and_is_not_run_where_it_is_only_shown(folder: Path) -> None:
    (folder / "own.py").write_text(
        "from pathlib import Path\n\nPath(__file__).with_name('ran').touch()\n", encoding="utf-8"
    )
    assert load(folder, run_plugins=False, plugins=["own.py"]).runs[0].options["plugins"] == [str(folder / "own.py")]
    assert not (folder / "ran").exists()
    load(folder, plugins=["own.py"])
    assert (folder / "ran").exists()
