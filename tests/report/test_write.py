"""Writing the report: from the folder alone, the same bytes every time, whole files only."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from bts_tune.errors import RunError
from bts_tune.report.write import ReportFiles, write_report
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.testing.runs import (
    make_baselines,
    make_run,
    make_search,
    write_run,
    write_samples,
    write_scores,
)

TEXTS = ("leaderboard.csv", "epochs.csv", "report.md", "report.html")


def texts(path: Path) -> dict[str, bytes]:
    return {name: (path / name).read_bytes() for name in TEXTS}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    """The report of a search without scores; it stays as it is."""
    return write_report(write_run(tmp_path_factory.mktemp("searched") / "run", make_search(epochs=6)))


def test_everything_is_written_and_decodes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_search(epochs=6))
    for trial in ("t0000", "t0001", "unet-b0-s0"):
        write_samples(folder, trial)
    files = write_report(folder)
    assert files.failed is None
    for file in (files.leaderboard, files.epochs, files.report, files.page, *files.figures):
        assert file.stat().st_size > 0
    names = [file.name for file in files.figures]
    assert names[0] == "learning_curves.png"
    assert "predictions-unet-b0-s0.png" in names
    text = files.report.read_text(encoding="utf-8")
    for file in files.figures:
        assert f"](figures/{file.name})" in text
    frame = pd.read_csv(files.leaderboard)
    assert len(frame) == 12
    assert list(frame["profile"].unique()) == ["data"]
    assert len(pd.read_csv(files.epochs)) == sum(len(record.rows) for record in folder.trials())


def test_the_same_record_gives_the_same_bytes_wherever_it_lies(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_search(epochs=6, changed=["epochs"]))
    write_samples(folder, "unet-b0-s0")
    copied = tmp_path / "elsewhere" / "another name"
    shutil.copytree(folder.path, copied)
    first = write_report(folder)
    written = texts(folder.path)
    assert write_report(folder) == first
    assert texts(folder.path) == written
    again = write_report(RunFolder.open(copied))
    assert texts(copied) == written
    assert [file.read_bytes() for file in again.figures] == [file.read_bytes() for file in first.figures]


def test_a_run_with_scores_has_intervals_in_every_form(tmp_path: Path) -> None:
    trials = make_search(epochs=6)
    folder = write_run(tmp_path / "run", trials)
    for record in trials[:4]:
        write_scores(folder, record)
    files = write_report(folder)
    assert files.failed is None
    assert {"kinds_of_images.png", "search_history.png"} <= {file.name for file in files.figures}
    for text in (files.report.read_text(), files.page.read_text()):
        assert "t0000 beats the best baseline, unetplusplus-b5, by" in text
        assert "of resamples" in text
        assert "Kinds of images" in text
        assert "no scores" not in text.lower()
    assert "p (Holm)" in files.page.read_text()


def test_a_run_of_an_earlier_version_without_scores_is_reported(searched: ReportFiles) -> None:
    text = searched.report.read_text()
    assert "**Best of 6 trials" in text
    assert "No scores of single images are on record" in text
    assert "95 % interval" not in text


def test_a_half_written_last_row_changes_nothing(searched: ReportFiles, tmp_path: Path) -> None:
    folder = RunFolder.open(shutil.copytree(searched.report.parent, tmp_path / "run"))
    written = texts(folder.path)
    with folder.rows_file.open("ab") as file:
        file.write(b'{"trial": "t0003", "epoch": 7, "val_dice_l')
    write_report(folder)
    assert texts(folder.path) == written


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    files = write_report(RunFolder.create(tmp_path / "run", make_run(status="running")))
    assert files.figures == ()
    assert "nothing to rank" in files.page.read_text()
    assert "nothing to rank" in files.report.read_text()
    assert len(files.leaderboard.read_text().splitlines()) == 1
    assert "val_dice_loss" in files.epochs.read_text()


def test_figures_that_are_no_longer_shown_are_removed_and_others_stay(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_baselines(epochs=2))
    write_samples(folder, "unet-b0-s0")
    write_report(folder)
    mine = folder.path / "figures" / "my own.png"
    mine.write_bytes(b"kept")
    folder.samples_file("unet-b0-s0").unlink()
    files = write_report(folder)
    drawn = ["learning_curves.png", "search_history.png"]
    assert [file.name for file in files.figures] == drawn
    assert sorted(file.name for file in mine.parent.iterdir()) == sorted([*drawn, "my own.png"])


def test_a_spoilt_samples_file_costs_its_figure_only(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_baselines(epochs=2))
    write_samples(folder, "unet-b0-s0")
    folder.samples_file("unet-b0-s0").write_bytes(b"spoilt")
    files = write_report(folder)
    assert "left out: samples/unet-b0-s0.npz cannot be read" in files.report.read_text()


def test_no_temporary_files_stay(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_baselines(epochs=2))
    write_report(folder)
    assert not [file for file in folder.path.rglob("*") if file.name.endswith(".part")]


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_baselines(epochs=2))
    (folder.path / "epochs.csv").mkdir()
    with pytest.raises(RunError, match=r"epochs\.csv: cannot be written"):
        write_report(folder)


def test_csv_keeps_every_digit(searched: ReportFiles) -> None:
    frame = pd.read_csv(searched.leaderboard, float_precision="round_trip").set_index("trial")
    for record in make_search(epochs=6):
        if record.best_row:
            assert frame.loc[record.trial, "val_dice_loss"] == record.best_row["val_dice_loss"]


def test_what_an_earlier_report_drew_and_this_one_does_not_is_removed(tmp_path: Path) -> None:
    """Whatever section drew it: the figures of a plugin that is no longer loaded, or of an earlier version."""
    folder = write_run(tmp_path / "run", make_baselines(epochs=2))
    write_report(folder)
    figures = folder.path / "figures"
    for name in ("of a plugin.png", "of-a-plugin.png", "mine.png"):
        (figures / name).write_bytes(b"png")
    report = folder.path / "report.md"
    outside = folder.path / "outside.png"
    outside.write_bytes(b"png")
    shown = "![A](figures/of-a-plugin.png)\n![B](outside.png)\n![C](figures/../outside.png)\n"
    report.write_text(report.read_text() + shown + "text ![D](figures/mine.png)\n", encoding="utf-8")
    write_report(folder)
    left = {file.name for file in figures.iterdir()}
    assert left == {"learning_curves.png", "search_history.png", "of a plugin.png", "mine.png"}
    assert outside.exists()


def test_an_earlier_report_that_is_no_text_is_replaced(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", make_baselines(epochs=2))
    (folder.path / "report.md").write_bytes(b"\xff\xfe\x00")
    files = write_report(folder)
    assert files.failed is None
    assert files.report.read_text().startswith("# bts-tune")
