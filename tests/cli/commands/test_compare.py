"""`bts-tune compare`: runs side by side on the terminal and in files; the exit code says whether they are ranked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.testing.runs import make_baselines, make_run, write_run


@pytest.fixture(autouse=True)
def _runs(empty_folder: Path) -> None:
    """Two runs on the same images, and one on others."""
    other = {**make_run()["dataset"], "fingerprint": "another", "content": "another"}
    for name, dataset in (("a", make_run()["dataset"]), ("b", make_run()["dataset"]), ("c", other)):
        write_run(empty_folder / "results" / name, make_baselines(epochs=2), make_run(run=name, dataset=dataset))


def test_runs_on_the_same_images_are_ranked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a", "results/b", "--out", "out"]) == 0
    output = capsys.readouterr().out
    assert "unet-b0 (a)" in output
    assert "unet-b0 (b)" in output
    assert output.splitlines()[-2:] == ["out/compare.html", "out/compare.md"]
    assert Path("out/compare.html").is_file()
    assert Path("out/compare.md").is_file()


def test_runs_that_cannot_be_ranked_are_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "a", "c"]) == 1
    assert "Not ranked together" in capsys.readouterr().out
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a"], "two"),
        (["a", "nowhere"], "nowhere: no such run"),
        (["a", "b", "--results", "elsewhere"], "a run in elsewhere/"),
        ([], "RUN"),
    ],
)
def test_a_mistake_gets_one_sentence(refused: Callable[..., str], arguments: list[str], sentence: str) -> None:
    assert sentence in refused("compare", *arguments)
