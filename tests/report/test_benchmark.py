"""The report of a benchmark, from invented runs."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from bts_tune.errors import RunError
from bts_tune.report.benchmark import benchmark_document, benchmark_table, pairs_table, write_benchmark_report
from bts_tune.report.render.markdown import to_markdown
from bts_tune.results.benchmark.between_runs import BenchmarkReader
from bts_tune.results.record.benchmark_folder import BenchmarkFolder
from bts_tune.results.record.objective import Objective
from bts_tune.results.record.run_folder import RunFolder
from tests.results.benchmarks import make_benchmark

ORDER = {"plain": 0.20, "nested": 0.25, "light": 0.40}
TURNED = {"plain": 0.40, "nested": 0.25, "light": 0.20}


def text(folder: BenchmarkFolder) -> str:
    return " ".join(to_markdown(benchmark_document(BenchmarkReader(folder).read())).split())


def test_two_datasets_are_said_to_be_too_few(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": TURNED})
    words = text(folder)
    assert "2 datasets are too few to tell whether the order would hold on another one" in words
    assert "Mean ranks over 2 datasets, best first: " in words
    assert "one: plain is first (Dice loss 0.2020)" in words
    assert "critical-difference" not in words
    assert "Values of different datasets are not to be compared." in words


def test_a_test_that_favours_the_other_one_is_not_taken_for_the_winner(tmp_path: Path) -> None:
    result = BenchmarkReader(make_benchmark(tmp_path / "b", {"one": ORDER})).read()
    (run,) = result.runs
    found = run.results[result.split]
    pairs = tuple(replace(pair, p_value=0.001, favours=pair.other) for pair in found.pairs)
    turned = replace(run, results={**run.results, result.split: replace(found, pairs=pairs)})
    words = " ".join(to_markdown(benchmark_document(replace(result, runs=(turned,)))).split())
    assert "plain is first (Dice loss 0.2020); compared image by image, nested, light are better" in words
    assert "better than each of the others" not in words
    assert not any(pair.sure for pair in pairs)
    assert list(pairs_table(replace(result, runs=(turned,)))["favours"]) == [
        pair.other if measured_on == result.split else pair.favours
        for measured_on, own in turned.results.items()
        for pair in own.pairs
    ]


def test_six_datasets_get_a_diagram(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", dict.fromkeys("abcdef", ORDER), seeds=1, scored=False)
    files = write_benchmark_report(folder)
    assert "Friedman's test tells some of them apart" in files.report.read_text()
    assert (folder.path / "figures" / "critical-difference-1.png").is_file()
    assert "data:image/png;base64," in files.page.read_text()


def test_configurations_are_told_as_they_were_trained(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER}, for_all={"encoder": "resnet18"})
    words = text(folder)
    assert "| plain | the benchmark's file | unet / resnet18 |" in words
    assert "Set for all of them: encoder resnet18." in words


def test_a_leak_is_told_with_what_a_benchmark_can_do(tmp_path: Path) -> None:
    words = text(make_benchmark(tmp_path / "b", {"one": ORDER}))
    assert "Name 'grouped' among the 'splits' of a benchmark's file to keep related slices together." in words
    assert "--split grouped" not in words


def test_none_of_equals_is_called_better_than_another(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": {"plain": 0.2, "nested": 0.2, "light": 0.4}}, seeds=1)
    words = text(folder)
    assert "one: nested and plain are first, and equal (Dice loss 0.2000); see Pairs." in words
    assert "| one | nested | plain | 0.0000 | 1.0000 | – |" in words


def test_iou_stands_beside_the_objective_with_its_interval(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER})
    found = BenchmarkReader(folder).read().runs[0].results["test"].entry("plain")
    assert found is not None
    assert found.iou is not None
    assert f"| plain | {found.iou.value:.4f} ({found.iou.low:.4f} to {found.iou.high:.4f}) |" in text(folder)


def test_a_change_of_dataset_is_told(tmp_path: Path) -> None:
    words = text(make_benchmark(tmp_path / "b", {"one": ORDER, "two": TURNED}))
    assert "| one | two | −1.00 | plain, nested; plain, light; nested, light |" in words


def test_an_objective_of_a_plugin_that_is_not_loaded_is_defined_by_the_record(tmp_path: Path) -> None:
    aim = Objective.of("area_error", "minimize", "Area error", (0.0, 1.0))
    recorded = {"objective": aim.to_dict(), "metrics_defined": {"area_error": "how far off the area is"}}
    folder = make_benchmark(tmp_path / "b", {"one": ORDER}, changes={"one": recorded})
    rows = folder.run_path("one") / "rows.jsonl"
    rows.write_text(rows.read_text().replace('"val_loss":', '"val_area_error":'))
    assert "| area_error | how far off the area is |" in text(folder)


def test_pairs_tell_the_images_that_their_test_is_on(tmp_path: Path) -> None:
    """Of the 30 images 3 hold no tumour, and the test knows nothing of them, nor of a group that has no other."""
    folder = make_benchmark(tmp_path / "b", {"one": ORDER})
    words = text(folder)
    assert "| 27 images with a tumour |" in words
    assert words.count("Holm's correction is for all pairs of a run.") == 1
    lines = [f"test/{number:03d}.png,test,{number // 3}" for number in range(30)]
    RunFolder.open(folder.run_path("one")).split_file.write_text("\n".join(["file,split,group", *lines]))
    assert "| 27 images with a tumour, in 9 groups |" in text(folder)
    assert "0 images" not in text(make_benchmark(tmp_path / "c", {"one": ORDER}, scored=False))


def test_the_tables_hold_every_configuration_dataset_and_split(tmp_path: Path) -> None:
    losses = {"one__provided": ORDER, "one__grouped": ORDER}
    folder = make_benchmark(tmp_path / "b", losses)
    files = write_benchmark_report(folder)
    found = pd.read_csv(files.table)
    assert len(found) == 2 * 2 * 3
    assert set(found["measured_on"]) == {"test", "valid"}
    first = found[(found["run"] == "one__grouped") & (found["measured_on"] == "test")].set_index("configuration")
    assert first["rank"].to_dict() == {"plain": 1, "nested": 2, "light": 3}
    assert (first["value_low"] < first["value"]).all()
    assert first["trainings"].tolist() == first["planned"].tolist() == [2, 2, 2]
    pairs = pd.read_csv(files.pairs)
    assert len(pairs) == 2 * 2 * 3
    assert pairs["p_holm"].between(0, 1).all()


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": TURNED})
    files = write_benchmark_report(folder)
    before = [path.read_bytes() for path in (files.page, files.report, files.table, files.pairs)]
    again = write_benchmark_report(folder, BenchmarkReader(folder))
    assert [path.read_bytes() for path in (again.page, again.report, again.table, again.pairs)] == before


def test_a_partial_benchmark_says_so_everywhere(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER}, begun=1)
    document = benchmark_document(BenchmarkReader(folder).read())
    assert document.banners[0].startswith("PARTIAL: 1 run of 2 is not complete (two)")
    assert document.tags
    assert "two does not count: it has not begun." in text(folder)


def test_nothing_has_begun(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER}, begun=0)
    assert "No run is complete yet, so that nothing is ranked." in text(folder)
    result = BenchmarkReader(folder).read()
    assert benchmark_table(result).empty
    assert pairs_table(result).empty


def rewritten(folder: BenchmarkFolder, run: str, change: Callable[[str], str]) -> None:
    trials = folder.run_path(run) / "trials.jsonl"
    trials.write_text("".join(map(change, trials.read_text().splitlines(keepends=True))))


def test_a_complete_run_says_what_it_cannot_compare_and_why(tmp_path: Path) -> None:
    """One configuration has failed and one was never measured on the test split, which is not the same."""

    def change(line: str) -> str:
        if "light" in line and '"ended"' in line:
            return line.replace('"complete"', '"failed"')
        unmeasured = '"evaluated"' in line and ("nested" in line or "light" in line)
        return "" if unmeasured else line

    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER}, scored=False)
    rewritten(folder, "two", change)
    words = text(folder)
    assert "one: plain is first" in words
    unmeasured = "2 trainings of it came to their end, without a Dice loss on the test split."
    failed = "no training of it came to its end (2 of 2 failed)."
    assert f"two: nothing to compare plain with. nested: {unmeasured} light: {failed}" in words
    assert f"nested does not count: in two {unmeasured}" in words
    assert f"light does not count: in two {failed}" in words
    assert "No run is complete" not in words


def test_a_complete_run_in_which_all_failed_is_not_called_incomplete(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER}, scored=False)
    rewritten(folder, "one", lambda line: line.replace('"complete"', '"failed"') if '"ended"' in line else line)
    words = text(folder)
    assert "one: nothing is ranked. plain: no training of it came to its end (2 of 2 failed)." in words
    assert "No run is complete" not in words


def test_what_lacks_scores_leaves_the_other_tests_as_they_are(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER})
    for seed in range(2):
        RunFolder.open(folder.run_path("one")).scores_file(f"light-seed{seed}").unlink()
    words = text(folder)
    assert "one: plain is first (Dice loss 0.2020)" in words
    assert "better than nested; without scores of single images it is not compared with light (Wilcoxon's" in words


def test_the_command_to_go_on_works_in_any_folder(tmp_path: Path) -> None:
    plugins = [{"name": "/my own/loss.py", "kind": "file", "sha256": "0"}]
    folder = make_benchmark(tmp_path / "two words" / "b", {"one": ORDER}, changes={"one": {"plugins": plugins}})
    content = {name: value for name, value in folder.read().items() if name != "format"}
    # The benchmark's own plugin lay elsewhere when the run began.
    plugins.append({"name": "/before/own.py", "kind": "file", "sha256": "1"})
    RunFolder.open(folder.run_path("one")).update_run(plugins=plugins)
    content["runs"]["one"]["options"] = {"plugins": ["/some where/own.py"]}
    folder.write({**content, "source": "/some where/b.yaml"})
    results = shlex.quote(str(tmp_path / "two words"))
    command = f"bts-tune benchmark '/some where/b.yaml' --results {results} --plugin '/my own/loss.py'"
    assert f"{command} ```" in text(folder)


def test_the_winner_of_a_run_on_the_same_images_is_named(tmp_path: Path) -> None:
    losses = {"one": ORDER, "two": ORDER}
    words = text(make_benchmark(tmp_path / "b", losses, chosen_on={"nested": "c-two", "light": "elsewhere"}))
    assert "nested: chosen by an earlier run on the images of two." in words
    assert "light: chosen by" not in words


def test_trainings_that_did_not_come_to_their_end_are_told(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER})
    rewritten(
        folder,
        "two",
        lambda line: line.replace('"complete"', '"failed"') if '"ended"' in line and "light-seed1" in line else line,
    )
    assert write_benchmark_report(folder).lacking == ("two",)
    assert "two: not all trainings of light came to their end" in text(folder)


def test_models_that_are_not_there_are_told(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER}, changes={"one": {"models_lacking": ["plain-seed1"]}})
    assert write_benchmark_report(folder).models_lacking == ("one",)
    assert "one: the models of plain-seed1 are not there, or not what was saved." in text(folder)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "b", {"one": ORDER, "two": ORDER}, begun=0)
    (folder.path / "report.html").mkdir()
    with pytest.raises(RunError, match=r"report\.html: cannot be written"):
        write_benchmark_report(folder)
