"""A part of a report that fails costs itself alone, and is named; tables, ranking and exit code stay what they were."""

from __future__ import annotations

import csv
import html
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bts_tune.cli.main import main
from bts_tune.registry import SECTIONS
from bts_tune.report import write
from bts_tune.report.failures import Failures
from bts_tune.report.write import write_report
from bts_tune.results.ranking.leaderboard import ranking
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.testing.runs import make_search, write_run, write_samples, write_scores

TABLES = ("leaderboard.csv", "epochs.csv", "configurations.csv")
PAGES = ("report.md", "report.html")
TOLD = "ZeroDivisionError: no number <b> can be."


def broken(*_args: Any, **_more: Any) -> Any:
    raise ZeroDivisionError("no number <b> can be\nand more")


def folder_of_a_run(path: Path) -> RunFolder:
    trials = make_search(epochs=4)
    folder = write_run(path, trials)
    for record in trials[:4]:
        write_scores(folder, record)
    write_samples(folder, "unet-b0-s0")
    return folder


DRAWINGS = {
    "learning_curves.draw_learning_curves": ("learning_curves", "Learning curves"),
    "search_history.draw_search_history": ("search_history", "Search history"),
    "kinds_of_images.draw_kinds_of_images": ("kinds_of_images", "Kinds of images"),
    "hyperparameters.draw_marginal_plots": ("marginals", "Hyperparameters"),
    "hyperparameters.draw_parallel_coordinates": ("parallel_coordinates", "Hyperparameters"),
    "predictions.draw_predictions": ("predictions-unet-b0-s0", "Predictions"),
}
"""The figure that each function of the sections draws, and the section in which it stands."""

OF_SECTIONS = "bts_tune.report.sections."


def stub_figures(patch: pytest.MonkeyPatch) -> None:
    """Let figures be a single pixel: drawing is slow, and not what is tested."""
    pixel = io.BytesIO()
    Image.new("L", (1, 1)).save(pixel, "png")
    for name in DRAWINGS:
        patch.setattr(OF_SECTIONS + name, lambda *_args: pixel.getvalue())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    stub_figures(monkeypatch)
    return monkeypatch


def split(text: str) -> dict[str, str]:
    """The sections of a report in Markdown by title; what comes before the first is under no title."""
    first, *others = html.unescape(text).replace("\\", "").split("\n## ")
    return {"": first} | {one.split("\n", 1)[0]: one.split("\n", 1)[1] for one in others}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = folder_of_a_run(tmp_path_factory.mktemp("sound") / "run")
    with pytest.MonkeyPatch.context() as patch:
        stub_figures(patch)
        assert write_report(folder).failed is None
    return folder


def assert_only(folder: RunFolder, sound: RunFolder, changed: set[str], tables: tuple[str, ...] = TABLES) -> str:
    """Check that a report differs from the sound one in these sections and the banner alone; return the banner."""
    for name in tables:
        assert (folder.path / name).read_bytes() == (sound.path / name).read_bytes()
    expected = split((sound.path / "report.md").read_text())
    found = split((folder.path / "report.md").read_text())
    assert {title for title in expected.keys() | found.keys() if found.get(title) != expected.get(title)} == {
        "",
        *changed,
    }
    banner = found[""].splitlines()[2]
    assert banner.startswith("> **INCOMPLETE REPORT: ")
    page = (folder.path / "report.html").read_text()
    assert "INCOMPLETE REPORT: " in page
    assert "no number <b>" not in page
    return banner


@pytest.mark.parametrize(
    ("name", "title"),
    [("ranking", "Ranking"), ("best-configuration", "Best configuration"), ("methods", "Methods")],
)
def test_a_section_that_fails_is_named_in_its_place(
    tmp_path: Path, sound: RunFolder, quick: pytest.MonkeyPatch, name: str, title: str
) -> None:
    folder = folder_of_a_run(tmp_path / "run")
    quick.setattr(SECTIONS.get(name), "blocks", broken)
    files = write_report(folder)
    sentence = f"The section {title} failed: {TOLD}"
    assert files.failed == f"INCOMPLETE REPORT: {sentence}"
    assert sentence in assert_only(folder, sound, {title})
    assert split(files.report.read_text())[title].strip() == sentence


def test_what_a_section_said_before_it_failed_stays(tmp_path: Path, quick: pytest.MonkeyPatch) -> None:
    folder = folder_of_a_run(tmp_path / "run")
    quick.setattr(OF_SECTIONS + "answer.headline", broken)
    quick.setattr(OF_SECTIONS + "answer.trust", broken)
    answer = split(write_report(folder).report.read_text())["Answer"].strip().split("\n\n")
    assert answer[0] == f"The sentence on the best failed: {TOLD}"
    assert answer[1].startswith("**Best of 6 trials")
    assert answer[-1] == f"The section Answer failed: {TOLD}"


@pytest.mark.parametrize("function", DRAWINGS)
def test_a_figure_that_fails_is_named_in_its_place(
    tmp_path: Path, sound: RunFolder, quick: pytest.MonkeyPatch, function: str
) -> None:
    folder = folder_of_a_run(tmp_path / "run")
    write_report(folder)
    quick.setattr(OF_SECTIONS + function, broken)
    files = write_report(folder)
    figure, title = DRAWINGS[function]
    sentence = f"The figure {figure} failed: {TOLD}"
    assert sentence in assert_only(folder, sound, {title})
    section = split(files.report.read_text())[title]
    assert f"\n{sentence}\n" in section
    assert f"{figure}.png" not in section
    assert not (folder.path / f"figures/{figure}.png").exists()
    assert set(files.figures) == set((folder.path / "figures").iterdir())
    others = {file.name for file in (sound.path / "figures").iterdir()} - {f"{figure}.png"}
    assert {file.name for file in files.figures} == others


@pytest.mark.usefixtures("quick")
def test_a_figure_that_cannot_be_written_costs_itself_alone(tmp_path: Path, sound: RunFolder) -> None:
    folder = folder_of_a_run(tmp_path / "run")
    (folder.path / "figures").write_text("in the way")
    files = write_report(folder)
    assert files.figures == ()
    assert "The figure learning_curves failed: " in split(files.report.read_text())["Learning curves"]
    assert (folder.path / "figures").read_text() == "in the way"
    for name in TABLES:
        assert (folder.path / name).read_bytes() == (sound.path / name).read_bytes()


def test_a_comparison_that_fails_costs_the_intervals_and_no_table(tmp_path: Path, quick: pytest.MonkeyPatch) -> None:
    folder = folder_of_a_run(tmp_path / "run")
    quick.setattr(write, "compare_configurations", broken)
    text = split(write_report(folder).report.read_text())
    assert text["Comparison"].strip() == f"The comparison image by image failed: {TOLD}"
    assert f"| 1 | {ranking(folder.trials())[0].trial} |" in text["Ranking"]
    rows = list(csv.DictReader((folder.path / "configurations.csv").open(newline="")))
    assert len(rows) == 6
    assert {row["test_dice_loss_low"] for row in rows} == {""}


@pytest.mark.parametrize(
    ("function", "file"),
    [("leaderboard", "leaderboard.csv"), ("epochs_csv", "epochs.csv"), ("to_html", "report.html")],
)
def test_a_file_that_fails_is_gone_and_no_other_is(
    tmp_path: Path, sound: RunFolder, quick: pytest.MonkeyPatch, function: str, file: str
) -> None:
    folder = folder_of_a_run(tmp_path / "run")
    write_report(folder)
    quick.setattr(write, function, broken)
    files = write_report(folder)
    assert files.failed == f"INCOMPLETE REPORT: The file {file} failed: {TOLD}"
    assert not (folder.path / file).exists()
    for other in {*TABLES, *PAGES} - {file}:
        if other in TABLES or file not in TABLES:
            assert (folder.path / other).read_bytes() == (sound.path / other).read_bytes()
        else:
            assert f"The file {file} failed" in (folder.path / other).read_text()


def test_the_command_shows_the_ranking_warns_in_one_line_and_ends_as_ever(
    tmp_path: Path, quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of_a_run(tmp_path / "run")
    assert main(["report", str(folder.path)]) == 0
    whole = capsys.readouterr()
    assert whole.err == ""
    quick.setattr(SECTIONS.get("ranking"), "blocks", broken)
    quick.setattr(OF_SECTIONS + "learning_curves.draw_learning_curves", broken)
    assert main(["report", str(folder.path)]) == 0
    told = capsys.readouterr()
    missing = f"{folder.path / 'figures/learning_curves.png'}\n"
    assert told.out == whole.out.replace(missing, "")
    assert told.err == (
        f"INCOMPLETE REPORT: The section Ranking failed: {TOLD} The figure learning_curves failed: {TOLD}\n"
    )


def test_of_many_failed_parts_the_first_are_told_and_the_others_counted() -> None:
    failures = Failures()
    for number in range(9):
        failures.attempt(f"Part {number}", broken)
    assert str(failures.sentence).endswith(
        "Part 7 failed: ZeroDivisionError: no number <b> can be. 1 more part failed."
    )
    failures.attempt("Part 9", broken)
    assert str(failures.sentence).endswith(" 2 more parts failed.")


def test_an_interruption_is_no_failed_part(tmp_path: Path, quick: pytest.MonkeyPatch) -> None:
    folder = folder_of_a_run(tmp_path / "run")

    def interrupted(*_args: Any) -> Any:
        raise KeyboardInterrupt

    quick.setattr(SECTIONS.get("ranking"), "blocks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(folder)
