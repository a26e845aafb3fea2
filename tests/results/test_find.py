from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bts_tune.errors import RunError
from bts_tune.results.find import best_model, chosen_postprocessing, ensemble_models, find_run, plane_of_slices
from bts_tune.results.ranking.configurations import configurations
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.testing.runs import make_baselines, make_final, make_run, make_search, write_run
from tests.results.benchmarks import make_benchmark


def with_model(folder: RunFolder, *trials: TrialRecord) -> None:
    for record in trials:
        folder.model_folder(record.trial).mkdir(parents=True)
        (folder.model_folder(record.trial) / "model.json").write_text("{}")


def test_a_run_is_found_by_folder_and_by_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "results" / "mine", make_baselines())
    assert find_run(str(folder.path), tmp_path).path == folder.path
    assert find_run("mine", tmp_path / "results").path == folder.path
    with pytest.raises(RunError, match="other: no such run"):
        find_run("other", tmp_path / "results")


def test_a_benchmark_is_told_with_its_runs_where_a_run_is_asked_for(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "bench", {"one": {"plain": 0.2}, "two": {"plain": 0.2}}, begun=1, scored=False)
    for name in (str(folder), "bench"):
        with pytest.raises(RunError, match=rf"bench: is a benchmark, .* name one of its runs: {folder}/one\.$"):
            find_run(name, tmp_path)
    assert find_run("bench/one", tmp_path).path == folder.run_path("one")


def test_the_best_model_is_that_of_the_first_configuration_that_has_one(tmp_path: Path) -> None:
    trials = make_baselines()
    folder = write_run(tmp_path / "mine", trials)
    with pytest.raises(RunError, match="no trial of this run has left a model"):
        best_model(folder)
    first, second, *_ = (one.best for one in configurations(trials))
    with_model(folder, second)
    assert best_model(folder) == folder.model_folder(second.trial)
    with_model(folder, first)
    assert best_model(folder) == folder.model_folder(first.trial)


def test_a_model_is_found_by_its_trial(tmp_path: Path) -> None:
    trials = make_baselines()
    folder = write_run(tmp_path / "mine", trials)
    with_model(folder, trials[1])
    assert best_model(folder, trials[1].trial) == folder.model_folder(trials[1].trial)
    with pytest.raises(RunError, match=f"kept no model of that name; it has {trials[1].trial}"):
        best_model(folder, trials[0].trial)


@pytest.mark.parametrize(
    ("options", "plane"),
    [({"plane": "coronal"}, "coronal"), ({"epochs": 3}, "axial"), ({"plane": 3}, "axial"), ({}, "axial")],
)
def test_the_plane_is_the_recorded_one_or_axial(tmp_path: Path, options: object, plane: str) -> None:
    """Runs of earlier versions recorded none."""
    folder = write_run(tmp_path / "mine", make_baselines(), make_run(options=options))
    assert plane_of_slices(folder) == plane


def test_an_ensemble_needs_several_models_of_the_winner(tmp_path: Path) -> None:
    search = make_search(epochs=3)
    trials = search + make_final(search, top=1, seeds=3)
    folder = write_run(tmp_path / "mine", trials)
    winner = configurations(trials)[0]
    with_model(folder, winner.trials[0])
    with pytest.raises(RunError, match=r"an ensemble needs at least two .* kept 1; run with --ensemble"):
        ensemble_models(folder)
    with_model(folder, winner.trials[1])
    assert {model.name for model in ensemble_models(folder)} == {one.trial for one in winner.trials[:2]}


def test_a_postprocessing_is_that_of_the_model(tmp_path: Path) -> None:
    trials = make_baselines()
    folder = write_run(tmp_path / "mine", trials)
    model = folder.model_folder(trials[0].trial)
    with pytest.raises(RunError, match="no postprocessing was chosen for"):
        chosen_postprocessing(folder, model)
    how: dict[str, Any] = {"seconds": 1.0, "members": [trials[0].trial], "threshold": 0.4}
    folder.append_event("variant", trials[0].trial, variant="postprocessed", metrics={}, **how)
    with pytest.raises(RunError, match="no postprocessing was chosen for"):  # a record that was edited
        chosen_postprocessing(folder, model)
    how["smallest_region"] = 0.001
    folder.append_event("variant", trials[0].trial, variant="postprocessed", metrics={}, **how)
    assert chosen_postprocessing(folder, model) == {"threshold": 0.4, "smallest_region": 0.001}
