"""What is decided of a benchmark's runs, on invented ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bts_tune.errors import RunError
from bts_tune.results.benchmark import BenchmarkFolder, BenchmarkReader, BenchmarkResult, partial_sentence
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.results.statistics.intervals import Interval, holm, wilcoxon
from tests.results.benchmarks import make_benchmark

ORDER = {"plain": 0.20, "nested": 0.25, "light": 0.40}
TURNED = {"plain": 0.40, "nested": 0.25, "light": 0.20}


def read(folder: BenchmarkFolder) -> BenchmarkResult:
    return BenchmarkReader(folder).read()


def test_configurations_are_ranked_within_a_run_and_ranks_averaged_over_datasets(tmp_path: Path) -> None:
    result = read(make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER, "three": TURNED}))
    assert result.split == "test"
    assert [entry.name for entry in result.runs[2].results["test"].entries] == ["light", "nested", "plain"]
    (ranking,) = result.rankings
    assert ranking.names == ("plain", "nested", "light")
    assert ranking.mean_ranks == pytest.approx((5 / 3, 2, 7 / 3))
    assert ranking.test is None  # three datasets are too few
    assert not ranking.left_out


def test_values_have_the_intervals_of_their_own_run(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER})
    result = read(folder)
    run = RunFolder.open(folder.run_path("one"))
    compared = compare_configurations(run, run.trials()).splits["test"]
    entry = result.runs[0].results["test"].entry("nested")
    place = [one.name for one in compared.configurations].index("nested")
    assert entry is not None
    assert entry.interval == compared.resampled.dice_loss[place]
    assert (entry.trainings, entry.rank) == (2, 2)
    assert result.runs[0].results["test"].images == 30


def test_pairs_are_wilcoxons_tests_with_holms_correction_over_all_of_them(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER})
    found = read(folder).runs[0].results["valid"]
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
    one, two = (run.results["test"] for run in read(folder).runs)
    assert (one.groups, two.groups) == (6, None)
    assert one.pairs[0].p_value != two.pairs[0].p_value


def test_six_datasets_are_enough_to_test_ranks(tmp_path: Path) -> None:
    losses = dict.fromkeys("abcdef", ORDER)
    (ranking,) = read(make_benchmark(tmp_path / "b", losses, seeds=1, scored=False)).rankings
    assert ranking.test is not None
    assert ranking.test.p_value < 0.05
    assert ranking.mean_ranks == (1, 2, 3)


def test_splits_are_ranked_each_by_themselves(tmp_path: Path) -> None:
    losses = {"one__provided": ORDER, "one__grouped": TURNED, "two__provided": ORDER, "two__grouped": TURNED}
    result = read(make_benchmark(tmp_path / "b", losses))
    assert [(one.split, one.names[0], len(one.runs)) for one in result.rankings] == [
        ("provided", "plain", 2),
        ("grouped", "light", 2),
    ]
    # A change of dataset and of split at once is no change of either.
    assert {(change.one.name, change.other.name) for change in result.changes} == {
        ("one__provided", "one__grouped"),
        ("two__provided", "two__grouped"),
        ("one__provided", "two__provided"),
        ("one__grouped", "two__grouped"),
    }


def test_a_change_of_dataset_tells_what_changes_places(tmp_path: Path) -> None:
    result = read(make_benchmark(tmp_path / "b", {"one": ORDER, "two": TURNED, "three": ORDER}))
    by_name = {(change.one.name, change.other.name): change for change in result.changes}
    turned = by_name["one", "two"]
    assert turned.tau == -1
    assert turned.turned == (("plain", "nested"), ("plain", "light"), ("nested", "light"))
    assert ("plain", "light") in turned.sure
    assert (by_name["one", "three"].tau, by_name["one", "three"].turned) == (1, ())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"metrics": 1}, "different definitions of the metrics (version 2; 1)"),
        ({"options": {"folds": 3}}, "different folds"),
        ({"options": {"overrides": {"epochs": 3}}}, "different settings"),
        ({"status": "interrupted"}, "it is not complete (interrupted)"),
        ({"dataset": {"content": "c-one"}}, "its images are those of one, which would count twice"),
    ],
)
def test_a_run_that_was_measured_differently_is_not_ranked_with_the_others(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    everywhere = {name: {"metrics": 2} for name in ("one", "two", "three")}
    losses = {"one": ORDER, "two": ORDER, "three": TURNED}
    result = read(make_benchmark(tmp_path / "b", losses, changes={**everywhere, "three": {"metrics": 2, **changes}}))
    (ranking,) = result.rankings
    assert [run.name for run in ranking.runs] == ["one", "two"]
    assert ranking.mean_ranks == (1, 2, 3)
    assert len(ranking.left_out) == 1
    assert "three does not count" in ranking.left_out[0]
    assert why in ranking.left_out[0]


def test_a_configuration_that_one_run_lacks_does_not_count(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": {"plain": 0.3, "light": 0.2}})
    (ranking,) = read(folder).rankings
    assert set(ranking.names) == {"plain", "light"}
    assert ranking.mean_ranks == (1.5, 1.5)
    assert ranking.left_out == ("nested does not count: in two no training of it came to its end.",)


def test_without_a_test_split_everywhere_ranks_are_of_the_validation_split(tmp_path: Path) -> None:
    result = read(make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER}, test=0))
    assert result.split == "valid"
    assert result.rankings[0].names == ("plain", "nested", "light")


def test_without_scores_there_are_ranks_and_no_intervals(tmp_path: Path) -> None:
    result = read(make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER}, scored=False))
    found = result.runs[0].results["test"]
    assert [entry.interval for entry in found.entries] == [None] * 3
    assert [pair.p_value for pair in found.pairs] == [None] * 3
    assert result.rankings[0].mean_ranks == (1, 2, 3)
    assert result.runs[0].missing


@pytest.mark.parametrize("lost", ["plain-seed0", "plain-seed1"])
def test_a_training_without_scores_costs_the_interval_and_no_value(tmp_path: Path, lost: str) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER})
    RunFolder.open(folder.run_path("one")).scores_file(lost).unlink()
    (run,) = read(folder).runs
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


def test_what_has_not_begun_is_named(tmp_path: Path) -> None:
    result = read(make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER}, begun=1))
    assert not result.complete
    assert result.runs[1].status == "not begun"
    assert result.rankings[0].left_out == ("two does not count: it has not begun.",)
    assert partial_sentence(result) == ("PARTIAL: 1 run of 2 is not complete (two); what is recorded so far is shown.")


def test_a_reader_sees_what_has_become_complete_since(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER}, changes={"two": {"status": "running"}})
    reader = BenchmarkReader(folder)
    first = reader.read()
    RunFolder.open(folder.run_path("two")).update_run(status="complete")
    second = reader.read()
    assert (first.complete, second.complete) == (False, True)
    assert second.runs[0] is first.runs[0]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 2, "definition": {}, "configurations": {}, "runs": {}}']
)
def test_a_broken_record_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "benchmark.json").write_text(content)
    with pytest.raises(RunError, match=r"benchmark\.json"):
        BenchmarkFolder(tmp_path).read()


@pytest.mark.parametrize(
    ("key", "content", "where"),
    [
        ("definition", {"configurations": []}, "definition.configurations"),
        ("configurations", {"plain": {"config": {}, "origin": "x", "changed": [], "chosen_on": 1}}, "chosen_on"),
        ("configurations", {"plain": {}}, "configurations.plain.config"),
        ("runs", {"one": {"split": None, "options": {}}}, "runs.one.dataset"),
        ("runs", [], "runs"),
    ],
)
def test_a_record_that_was_edited_is_refused_with_the_place(
    tmp_path: Path, key: str, content: object, where: str
) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER}, begun=0)
    folder.write({**folder.read(), key: content})
    with pytest.raises(RunError, match=rf"benchmark\.json: {where}|benchmark\.json: .*{where}") as error:
        folder.read()
    assert "\n" not in str(error.value)


def test_ranks_follow_the_objective(tmp_path: Path) -> None:
    objective = {"metric": "iou", "direction": "maximize", "title": "IoU", "worst": 0.0, "perfect": 1.0}
    changes = {name: {"objective": objective} for name in ("one", "two")}
    result = read(make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER}, changes=changes))
    entries = result.runs[0].results["test"].entries
    assert [entry.name for entry in entries] == ["plain", "nested", "light"]
    assert list(np.diff([entry.value for entry in entries]) < 0) == [True, True]
    assert entries[0].interval == entries[0].iou
