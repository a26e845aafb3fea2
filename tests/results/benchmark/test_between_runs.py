"""What is decided of a benchmark's runs together, on invented ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts_tune.results.benchmark.between_runs import BenchmarkReader, BenchmarkResult, partial_sentence
from bts_tune.results.record.benchmark_folder import BenchmarkFolder
from bts_tune.results.record.run_folder import RunFolder
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
