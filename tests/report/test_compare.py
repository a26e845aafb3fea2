"""Runs side by side: ranked together where they were measured alike, refused with the reason where not."""

from __future__ import annotations

import copy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bts_tune.cli.main import EXIT_OK, EXIT_PROBLEM, EXIT_USAGE, main
from bts_tune.errors import ConfigError
from bts_tune.report.blocks import Document, Table
from bts_tune.report.compare import compare, comparison_document, differences, write_comparison
from bts_tune.report.render.text import to_text
from bts_tune.results.record.run_folder import RunFolder, TrialRecord
from bts_tune.testing.runs import make_row, make_run, make_split, make_test, make_trial, write_run


def trials_of(*losses: float, seeds: int = 1, test: float | None = None, **config: Any) -> list[TrialRecord]:
    """Configurations with these losses: a baseline, then searched ones."""
    records: list[TrialRecord] = []
    for number, loss in enumerate(losses):
        for seed in range(seeds):
            trial = f"t{number}-s{seed}"
            records.append(
                make_trial(
                    trial,
                    name="unet-b0" if number == 0 else f"search-{number}",
                    index=len(records),
                    baseline=number == 0,
                    rows=[make_row(trial, 1, loss + 0.01 * seed)],
                    test=None if test is None else make_test(loss + test),
                    learning_rate=1e-3 / (number + 1),
                    seed=seed,
                    epochs=1,
                    **config,
                )
            )
    return records


def run_of(path: Path, trials: list[TrialRecord], **dataset: Any) -> RunFolder:
    run = make_run(run=path.name)
    run["dataset"] = {**run["dataset"], **dataset}
    return write_run(path, trials, run)


def grouped(**changes: Any) -> dict[str, Any]:
    return {"fingerprint": "other", "split": make_split("grouped", "c0ffee" * 10, 0.0), **changes}


def section(document: Document, title: str) -> Any:
    return next(one for one in document.sections if one.title.startswith(title))


def rows(document: Document, title: str) -> list[tuple[Any, ...]]:
    return [row for block in section(document, title).blocks if isinstance(block, Table) for row in block.rows]


def test_runs_that_were_measured_alike_are_ranked_together(tmp_path: Path) -> None:
    one = run_of(tmp_path / "spring", trials_of(0.30, 0.26))
    other = run_of(tmp_path / "autumn", trials_of(0.31, 0.25, 0.28))
    found = compare([one, other])
    assert found.ranked
    document = comparison_document(found)
    listed = [(row[0], row[1], row[3], row[4]) for row in rows(document, "Ranking")]
    assert listed == [
        (1, "search-1 (autumn)", "autumn", "0.2500"),
        (2, "search-1 (spring)", "spring", "0.2600"),
        (3, "search-2", "autumn", "0.2800"),
        (4, "unet-b0 (spring)", "spring", "0.3000"),
        (5, "unet-b0 (autumn)", "autumn", "0.3100"),
    ]
    assert not [one for one in document.sections if one.title in ("Leak inflation", "Not ranked together")]


def test_seeds_of_one_configuration_are_one_row(tmp_path: Path) -> None:
    folders = [run_of(tmp_path / name, trials_of(0.30, seeds=3, test=0.1)) for name in ("a", "b")]
    row = rows(comparison_document(compare(folders)), "Ranking")[0]
    assert row[4:8] == ("0.3100", row[5], "0.4000", 3)


@pytest.mark.parametrize(
    ("dataset", "run", "reason"),
    [
        (grouped(), {}, "different splits of one dataset (provided 5ca1ab1e5ca1; grouped c0ffeec0ffee)"),
        ({"fingerprint": "x", "content": "y"}, {}, "different datasets, categories or annotations"),
        ({"fingerprint": "x", "content": None}, {}, "different datasets or splits"),
        ({"fingerprint": None}, {}, "not on record"),
        ({}, {"metrics": 2}, "different definitions of the metrics (version 1; 2)"),
    ],
)
def test_what_was_measured_otherwise_is_shown_but_not_ranked(
    tmp_path: Path, dataset: dict[str, Any], run: dict[str, Any], reason: str
) -> None:
    one = run_of(tmp_path / "one", trials_of(0.30))
    other = run_of(tmp_path / "other", trials_of(0.20), **dataset)
    other.update_run(**run)
    found = compare([one, other])
    assert not found.ranked
    document = comparison_document(found)
    assert reason in to_text(document, width=1000)
    assert [row[3] for row in rows(document, "Ranking of one")] == ["one"]
    assert [row[3] for row in rows(document, "Ranking of other")] == ["other"]


def test_stages_and_folds_are_not_mixed(tmp_path: Path) -> None:
    plain = trials_of(0.30)
    final, folded = copy.deepcopy(plain), copy.deepcopy(plain)
    final[0].stage = "final"
    folded[0].fold = 1
    base, last, crossed = (
        compare([run_of(tmp_path / f"{name}1", plain), run_of(tmp_path / f"{name}2", plain)]).runs[0] for name in "abc"
    )
    object.__setattr__(last, "trials", final)
    object.__setattr__(crossed, "configurations", [replace(base.configurations[0], trials=tuple(folded))])
    assert differences(base, base) == []
    assert "different stages (search; final)" in differences(base, last)[0]
    assert "different folds (none; 1 fold)" in differences(base, crossed)[0]


def test_the_leak_is_told_for_what_ran_on_both_splits(tmp_path: Path) -> None:
    provided = run_of(tmp_path / "leaky", trials_of(0.20, 0.18, seeds=2, test=0.01))
    honest = run_of(tmp_path / "honest", trials_of(0.29, test=0.02), **grouped())
    found = rows(comparison_document(compare([honest, provided])), "Leak inflation")
    assert len(found) == 1
    assert found[0][:7] == ("unet-b0", "leaky", "honest", "2 / 1", "0.2050", "0.2900", "+0.0850")
    assert found[0][9].startswith("−")
    assert found[0][10:] == ("0.2100", "0.3100", "+0.1000")


def test_no_leak_is_told_where_the_images_may_differ(tmp_path: Path) -> None:
    provided = run_of(tmp_path / "leaky", trials_of(0.20))
    for name, content in (("a", "else"), ("b", None)):
        honest = run_of(tmp_path / name, trials_of(0.29), **grouped(content=content))
        titles = [one.title for one in comparison_document(compare([provided, honest])).sections]
        assert "Leak inflation" not in titles


def test_image_sizes_are_ranked_together_and_said(tmp_path: Path) -> None:
    folders = [run_of(tmp_path / str(size), trials_of(0.3, image_size=size)) for size in (224, 128)]
    found = compare(folders)
    assert found.ranked
    assert "Image sizes differ" in to_text(comparison_document(found))


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    folders = [run_of(tmp_path / where / "run", trials_of(0.3)) for where in ("a", "b")]
    assert [one.label for one in compare(folders).runs] == [str(folder.path) for folder in folders]


def test_one_run_is_no_comparison(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "a", trials_of(0.3))
    with pytest.raises(ConfigError, match="at least two"):
        compare([folder])
    with pytest.raises(ConfigError, match="given twice"):
        compare([folder, RunFolder(tmp_path / "b" / ".." / "a")])


def test_both_files_say_the_same_every_time(tmp_path: Path) -> None:
    found = compare([run_of(tmp_path / name, trials_of(0.3)) for name in ("a", "b")])
    page, text = write_comparison(found, tmp_path / "out")
    first = page.read_bytes(), text.read_bytes()
    write_comparison(found, tmp_path / "out")
    assert (page.read_bytes(), text.read_bytes()) == first
    assert "unet-b0 (a)" in page.read_text()
    assert "unet-b0 (a)" in text.read_text()


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    run_of(Path("results/a"), trials_of(0.3))
    run_of(Path("results/b"), trials_of(0.2, 0.4))
    run_of(Path("results/c"), trials_of(0.25), **grouped())
    assert main(["compare", "a", "results/b", "--out", "out"]) == EXIT_OK
    printed = capsys.readouterr().out
    assert printed.index("unet-b0 (b)") < printed.index("unet-b0 (a)")
    assert Path("out/compare.html").is_file()
    assert Path("out/compare.md").is_file()
    assert main(["compare", "a", "b", "c"]) == EXIT_PROBLEM
    assert "Not ranked together" in capsys.readouterr().out
    assert main(["compare", "a"]) == EXIT_USAGE
    assert main(["compare", "a", "nowhere"]) == EXIT_USAGE
    shutil.rmtree("results")
