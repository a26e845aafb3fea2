"""The configurations of one run, measured on the same images; invented ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bts_tune.results.benchmark.within_run import BenchmarkRun, read_run
from bts_tune.results.record.benchmark_folder import BenchmarkFolder
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.results.statistics.intervals import Interval, holm, wilcoxon
from tests.results.benchmarks import make_benchmark

ORDER = {"plain": 0.20, "nested": 0.25, "light": 0.40}


def read(folder: BenchmarkFolder, name: str = "one") -> BenchmarkRun:
    return read_run(RunFolder.open(folder.run_path(name)), name, name, None)


def test_values_have_the_intervals_of_their_own_run(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER})
    result = read(folder)
    run = RunFolder.open(folder.run_path("one"))
    compared = compare_configurations(run, run.trials()).splits["test"]
    entry = result.results["test"].entry("nested")
    place = [one.name for one in compared.configurations].index("nested")
    assert entry is not None
    assert entry.interval == compared.resampled.dice_loss[place]
    assert (entry.trainings, entry.rank) == (2, 2)
    assert result.results["test"].images == 30


def test_pairs_are_wilcoxons_tests_with_holms_correction_over_all_of_them(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER})
    found = read(folder).results["valid"]
    run = RunFolder.open(folder.run_path("one"))
    compared = compare_configurations(run, run.trials()).splits["valid"]
    sums = dict(zip([one.name for one in compared.configurations], compared.sums, strict=True))
    raw = [wilcoxon(sums[pair.one], sums[pair.other], compared.units) for pair in found.pairs]
    assert [(pair.one, pair.other) for pair in found.pairs] == [
        ("plain", "nested"),
        ("plain", "light"),
        ("nested", "light"),
    ]
    assert [pair.p_value for pair in found.pairs] == holm([value for value in raw if value is not None])
    assert all(pair.gain > 0 for pair in found.pairs)
    assert found.pair("light", "plain") == found.pairs[1]


def test_groups_are_drawn_where_they_are_known(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER})
    split = folder.run_path("one") / "split.csv"
    names = [f"{split}/{number:03d}.png" for split, count in (("valid", 40), ("test", 30)) for number in range(count)]
    split.write_text("file,split,group\n" + "".join(f"{name},x,g{place // 5}\n" for place, name in enumerate(names)))
    one, two = (read(folder, name).results["test"] for name in ("one", "two"))
    assert (one.groups, two.groups) == (6, None)
    assert one.pairs[0].p_value != two.pairs[0].p_value


def test_without_scores_there_are_ranks_and_no_intervals(tmp_path: Path) -> None:
    run = read(make_benchmark(tmp_path / "b", {"one": ORDER}, scored=False))
    found = run.results["test"]
    assert [entry.rank for entry in found.entries] == [1, 2, 3]
    assert [entry.interval for entry in found.entries] == [None] * 3
    assert [pair.p_value for pair in found.pairs] == [None] * 3
    assert run.missing


@pytest.mark.parametrize("lost", ["plain-seed0", "plain-seed1"])
def test_a_training_without_scores_costs_the_interval_and_no_value(tmp_path: Path, lost: str) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER})
    RunFolder.open(folder.run_path("one")).scores_file(lost).unlink()
    run = read(folder)
    for measured_on, prefix in (("test", "test"), ("valid", "val")):
        entry, other = (run.results[measured_on].entry(name) for name in ("plain", "nested"))
        assert entry is not None
        assert other is not None
        assert (entry.trainings, entry.interval) == (2, None)
        assert entry.dice_loss == Interval(entry.value, None, None)
        records = [record for record in RunFolder.open(folder.run_path("one")).trials() if record.name == "plain"]
        rows = [record.test if prefix == "test" else record.best_row for record in records]
        assert entry.iou is not None
        assert entry.iou.value == pytest.approx(np.mean([row[f"{prefix}_iou"] for row in rows if row]))
        assert entry.iou.low is None
        assert other.interval is not None
    assert any(lost in sentence for sentence in run.missing)


def test_ranks_follow_the_objective(tmp_path: Path) -> None:
    objective = {"metric": "iou", "direction": "maximize", "title": "IoU", "worst": 0.0, "perfect": 1.0}
    run = read(make_benchmark(tmp_path / "b", {"one": ORDER}, changes={"one": {"objective": objective}}))
    entries = run.results["test"].entries
    assert [entry.name for entry in entries] == ["plain", "nested", "light"]
    assert list(np.diff([entry.value for entry in entries]) < 0) == [True, True]
    assert entries[0].interval == entries[0].iou
