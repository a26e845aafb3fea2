"""What a run that begins or goes on is to carry out, seen without Ray: up to where trials would train."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
import yaml
from rich.console import Console
from safetensors.torch import save_file

from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_grey
from bts_tune.errors import RunError, WeightsError
from bts_tune.experiment.benchmark import run_benchmark
from bts_tune.experiment.execution.nodes.resources import TrialResources
from bts_tune.experiment.execution.run_record import NewRun, ResumedRun, record_start
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.experiment.planning.plan import named_trials, plan_search
from bts_tune.experiment.run import add_final, resume, start
from bts_tune.models.encoders import build_encoder
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.space import ResolvedSpace
from tests.experiment.conftest import PATIENT, with_final_stage

QUIET: dict[str, Any] = {"console": Console(quiet=True), "report": lambda folder: None}
ENCODER = "tu-test_efficientnet"
FOLDS = {"split": "grouped", "group_by": PATIENT, "folds": 2}


@dataclass(frozen=True)
class Carried:
    """What a run was asked to carry out."""

    folder: RunFolder
    space: ResolvedSpace
    options: RunOptions
    weights: set[str | None]


@pytest.fixture
def carried(monkeypatch: pytest.MonkeyPatch) -> list[Carried]:
    """Every run that would have trained, in order; each has its folder and its plan, and is complete at once."""
    found: list[Carried] = []

    def execute(
        run: NewRun | RunFolder,
        space: ResolvedSpace,
        inputs: Any,
        options: RunOptions,
        console: Console,
        resumed: ResumedRun | None = None,
        *,
        skip_search: bool = False,
        **_: Any,
    ) -> SimpleNamespace:
        folder = run.create_folder() if isinstance(run, NewRun) else run
        record_start(folder, options, TrialResources(1, 0, 1, "cpu"), resumed)
        if not skip_search:
            plan_search(folder, space, options.folds)
        folder.update_run(status="complete")
        found.append(Carried(folder, space, options, {one.path for one in inputs.weights.values()}))
        return SimpleNamespace(folder=folder, outcome="complete", report=None)

    monkeypatch.setattr("bts_tune.experiment.execution.execute.execute", execute)
    return found


Begin = Callable[..., RunFolder]


@pytest.fixture
def begin(carried: list[Carried], small_data: Path, cache: Path, tmp_path: Path) -> Begin:
    """Begins a run of a space's file on the small dataset."""

    def begin(space: Path, **given: Any) -> RunFolder:
        options = RunOptions.parse({"space": str(space), "data": str(small_data), "cache": str(cache), **given})
        start(options, results=tmp_path / "results", name="run", command=[], **QUIET)
        return carried[-1].folder

    return begin


@pytest.mark.parametrize("given", [{}, FOLDS])
def test_a_run_whose_space_gives_other_configurations_does_not_go_on(
    begin: Begin, carried: list[Carried], space_file: Callable[..., Path], given: dict[str, Any]
) -> None:
    folder = begin(space_file(), **given)
    resume(folder, {}, **QUIET)
    assert carried[-1].options.folds == given.get("folds")
    space = folder.read_run()["space"]
    space["trials"]["frozen"]["config"]["learning_rate"] = 0.5
    folder.update_run(space=space)
    with pytest.raises(RunError, match=r"the configuration of frozen.*, as the space and the options give it"):
        resume(folder, {}, **QUIET)
    resume(folder, {}, allow_changed=True, **QUIET)
    assert len(carried) == 3


def test_data_that_changed_and_were_allowed_are_what_the_run_records(
    begin: Begin, space_file: Callable[..., Path], small_data: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(small_data, tmp_path / "changed"))
    folder = begin(space_file(), data=str(root))
    began = folder.read_run()["dataset"]
    image = open_dataset(root).records["train"][0].image
    cv2.imwrite(str(image), 255 - read_grey(image))
    with pytest.raises(RunError, match="the dataset"):
        resume(folder, {}, **QUIET)
    assert folder.read_run()["dataset"] == began
    resume(folder, {}, allow_changed=True, **QUIET)
    now, recorded = open_dataset(root), folder.read_run()["dataset"]
    assert recorded["fingerprint"] == now.fingerprint()
    assert recorded["content"] == now.fingerprint(splits=False) != began["content"]
    assert recorded["splits"] == {split: len(records) for split, records in now.records.items()}
    resume(folder, {}, **QUIET)


@pytest.mark.parametrize(
    ("named", "search", "seeds"), [(True, False, [3, 5]), (True, True, [3, 5]), (False, True, [3])]
)
def test_the_seeds_on_record_are_those_that_trials_are_trained_with(
    begin: Begin, space_file: Callable[..., Path], named: bool, search: bool, seeds: list[int]
) -> None:
    file = space_file(search=search)
    content = yaml.safe_load(file.read_text()) | {"seeds": [3, 5]}
    file.write_text(yaml.safe_dump(content if named else {**content, "trials": {}}))
    assert begin(file).read_run()["seeds"] == seeds


def test_each_extension_adds_to_the_one_before(
    begin: Begin, carried: list[Carried], space_file: Callable[..., Path]
) -> None:
    folder = begin(space_file(search=True))
    for by, wanted in ((2, 6), (3, 9)):
        resume(folder, {}, extend_by=by, **QUIET)
        assert carried[-1].options.num_trials == wanted
    resume(folder, {}, **QUIET)
    assert carried[-1].options.num_trials == 9
    assert [one["trials"] for one in folder.read_run()["extensions"]] == [2, 3]


def test_a_search_that_its_final_stage_closed_is_extended_from_what_it_had_tried(
    begin: Begin, carried: list[Carried], space_file: Callable[..., Path]
) -> None:
    folder = begin(space_file(search=True))
    planned = named_trials(carried[-1].space)[0]
    tried = replace(planned, trial="search-0001", index=2)
    closing = replace(planned, trial="plain-final-1", index=3, stage="final", origin=planned.trial)
    for one in (tried, closing):
        folder.append_event("planned", one.trial, **one.event())
    resume(folder, {}, extend_by=3, **QUIET)
    assert carried[-1].options.num_trials == 1 + 3
    resume(folder, {}, extend_by=2, **QUIET)
    assert carried[-1].options.num_trials == 1 + 3 + 2


@pytest.mark.parametrize(
    ("asked", "top", "seeds"), [({}, 2, 4), ({"top": 1}, 1, 4), ({"seeds": 3}, 2, 3)], ids=["space", "top", "seeds"]
)
def test_a_final_stage_that_is_added_has_the_numbers_of_the_space(
    begin: Begin, carried: list[Carried], space_file: Callable[..., Path], asked: dict[str, int], top: int, seeds: int
) -> None:
    space = with_final_stage(space_file(search=True), trials=4, final="final: {top: 2, seeds: 4}")
    folder = begin(space, final_top=0)
    assert carried[-1].space.final is None
    add_final(folder, asked.get("top"), asked.get("seeds"), {}, **QUIET)
    final = carried[-1].space.final
    assert final is not None
    assert (final.top, final.seeds) == (top, seeds)


def test_a_benchmark_measures_complete_runs_in_ways_that_they_were_not(
    carried: list[Carried], small_data: Path, cache: Path, space_file: Callable[..., Path], tmp_path: Path
) -> None:
    file = tmp_path / "study.yaml"
    space = str(space_file())
    content = {
        "name": "study",
        "configurations": {name: {"space": space, "trial": name} for name in ("plain", "frozen")},
        "datasets": {"one": str(small_data)},
    }
    file.write_text(yaml.safe_dump(content))

    def benchmark(**ways: Any) -> None:
        given = {"cache": str(cache), **ways}
        report: dict[str, Any] = {"benchmark_report": lambda folder: None}
        run_benchmark(file, results=tmp_path, options=given, command=[], **report, **QUIET)

    benchmark()
    benchmark()
    assert len(carried) == 1
    benchmark(tta=True)
    assert (len(carried), carried[-1].options.tta) == (2, True)
    benchmark(tta=True)
    benchmark()
    assert len(carried) == 2
    benchmark(ensemble_top=2)
    assert (len(carried), carried[-1].options.ensemble_top) == (3, 2)
    assert json.loads((carried[-1].folder.path / "run.json").read_text())["options"]["tta"] is True


@pytest.mark.parametrize("named_by", ["config", "set"])
def test_a_benchmark_that_moved_with_its_weights_goes_on_with_them(
    carried: list[Carried], small_data: Path, cache: Path, tmp_path: Path, named_by: str
) -> None:
    folder = tmp_path / ("long" * 20)  # both places are told whole
    before, now = folder / "before", folder / "now"
    before.mkdir(parents=True)
    save_file(build_encoder(ENCODER).state_dict(), before / "own.safetensors")
    own: dict[str, Any] = {"encoder_weights": "own.safetensors"}
    fields = {"encoder": ENCODER, "encoder_weights": "none", "epochs": 1, "image_size": 32}
    content = {
        "name": "study",
        "configurations": {
            "unet": {"config": fields, "set": own if named_by == "config" else {}},
            "fpn": {"config": {**fields, "decoder": "fpn"}},
        },
        "datasets": {"one": str(small_data)},
        "set": own if named_by == "set" else {},
    }
    (before / "study.yaml").write_text(yaml.safe_dump(content))

    def benchmark(folder: Path) -> None:
        given: dict[str, Any] = {"options": {"cache": str(cache)}, "benchmark_report": lambda folder: None}
        run_benchmark(folder / "study.yaml", results=folder, command=[], **given, **QUIET)

    benchmark(before)
    (run,) = [one.folder.path.name for one in carried]
    before.rename(now)
    for _ in range(2):  # the first time writes down where the benchmark is now
        RunFolder.open(now / "study" / run).update_run(status="interrupted")
        benchmark(now)
    assert len(carried) == 3
    assert all(str(now / "own.safetensors") in one.weights for one in carried[1:])
    (now / "own.safetensors").rename(now / "other.safetensors")
    RunFolder.open(now / "study" / run).update_run(status="interrupted")
    with pytest.raises(RunError, match=r"the file that the run began with is not there.*before/own.*now/own"):
        benchmark(now)


def test_a_folder_of_weights_that_moved_may_be_named_anew(
    begin: Begin, carried: list[Carried], space_file: Callable[..., Path], tmp_path: Path
) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    before.mkdir()
    save_file(build_encoder(ENCODER).state_dict(), before / f"{ENCODER}.safetensors")
    pretrained = {"encoder": ENCODER, "encoder_weights": "imagenet"}
    folder = begin(space_file(), weights_dir=str(before), overrides=pretrained)
    before.rename(now)
    with pytest.raises(WeightsError, match=r"--weights-dir .*before: no such folder"):
        resume(folder, {}, **QUIET)
    resume(folder, {"weights_dir": str(now)}, **QUIET)
    resume(folder, {}, **QUIET)
    assert [one.options.weights_dir for one in carried] == [str(before), str(now), str(now)]
    save_file(build_encoder(ENCODER).state_dict(), now / f"{ENCODER}.safetensors")
    with pytest.raises(RunError, match=f"the weights of {ENCODER}"):
        resume(folder, {}, **QUIET)
