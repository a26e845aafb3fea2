"""A run from its command to Ray and to its end, beside what the tests of whole commands show."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.experiment.conftest import Command, Finished

GIB = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


@pytest.fixture
def ray_folder(command: Command) -> Iterator[Path]:
    """Where Ray makes the folder of its session when it is started; its sockets are to have short paths."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    command.environment["RAY_TMPDIR"] = str(folder)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (["--device", "cuda"], "--device 'cuda': there is no GPU"),
        (["--gpus-per-trial", "auto"], "--gpus-per-trial auto: there is no GPU to share"),
        (["--concurrent", "99999"], "--concurrent 99999: there are"),
        (["--cpus-per-trial", "99999"], "--cpus-per-trial 99999: fits no node"),
        (["--memory-per-trial", f"{GIB + 1:.1f}"], f"--memory-per-trial {GIB + 1:.1f}"[:25]),
    ],
)
def test_what_this_machine_cannot_have_is_refused_before_ray_is_started(
    command: Command, space_file: Callable[..., Path], ray_folder: Path, asked: list[str], sentence: str
) -> None:
    code, output, errors = command.here(*command.run_arguments(space_file(), "refused", *asked))
    assert code == 2
    assert errors.startswith(f"bts-tune: error: {sentence}")
    assert output == ""  # it comes before the dataset is looked at
    assert not list(ray_folder.iterdir())
    assert not (command.folder / "results" / "refused").exists()


def test_a_run_that_is_refused_once_the_cluster_is_known_leaves_no_folder(
    command: Command, space_file: Callable[..., Path], ray_folder: Path
) -> None:
    # Ray hands out less memory than the machine has.
    arguments = command.run_arguments(space_file(), "refused", "--memory-per-trial", f"{0.99 * GIB:.2f}")
    code, _, errors = command.here(*arguments)
    assert code == 2
    assert errors.startswith("bts-tune: error: --memory-per-trial ")
    assert list(ray_folder.iterdir())
    assert not (command.folder / "results" / "refused").exists()


def test_a_complete_run_is_reported_anew_without_ray(
    with_options: Finished, with_final: Finished, command: Command, ray_folder: Path
) -> None:
    for finished, more in ((with_options, ["--tta"]), (with_final, [])):
        folder = command.copy_of(finished.folder)
        report = (folder.path / "report.md").read_text()
        (folder.path / "report.md").unlink()
        (folder.path / "report.html").unlink()
        code, output, errors = command.here("--resume", folder.path.name, "--no-dashboard", *more)
        assert code == 0, errors
        assert "complete, and nothing is left to train or to measure" in output
        assert (folder.path / "report.md").read_text().splitlines()[0] == report.splitlines()[0]
        assert (folder.path / "report.html").exists()
        assert folder.read_run()["status"] == "complete"
        assert not list(ray_folder.iterdir())


def test_a_complete_run_goes_on_where_something_is_left(
    with_final: Finished, command: Command, ray_folder: Path
) -> None:
    folder = command.copy_of(with_final.folder)
    scored = next(folder.path.glob("scores/*"))
    scored.unlink()
    code, output, errors = command.here("--resume", folder.path.name, "--no-dashboard")
    assert code == 0, errors
    assert "nothing is left" not in output
    assert scored.exists()
    assert list(ray_folder.iterdir())


def test_what_is_added_to_a_complete_run_is_left_to_do(with_final: Finished, command: Command) -> None:
    folder = command.copy_of(with_final.folder)
    # It is refused on this machine only once there is something to train.
    asked = ["--num-trials", "2", "--no-dashboard", "--concurrent", "99999"]
    code, output, errors = command.here("--extend", folder.path.name, *asked)
    assert code == 2, output
    assert "--concurrent 99999: there are" in errors
    assert "nothing is left" not in output
