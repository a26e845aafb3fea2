"""Nothing is imported from the folder that a command is given in, whatever its files are called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.experiment.conftest import Command

# What a run imports, in its own process and in Ray's.
_IMPORTS = """
import sys
import ray, ray.tune, ray.dashboard.dashboard, ray._private.workers.default_worker
import torch, torchvision, segmentation_models_pytorch, timm, albumentations, matplotlib.pyplot
import bts_tune.cli.main, bts_tune.data.synthetic.phantom, bts_tune.experiment.run, bts_tune.report.write
import bts_tune.experiment.execution.trials.probe
import bts_tune.training.prediction.predict
names = {name.partition(".")[0] for name in sys.modules} | sys.stdlib_module_names | {"sitecustomize", "usercustomize"}
print(*sorted(name for name in names if name.isidentifier() and not name.startswith("__")))
"""


@pytest.fixture(scope="module")
def names() -> list[str]:
    """The top-level modules that a run imports, or may import."""
    done = subprocess.run([sys.executable, "-c", _IMPORTS], capture_output=True, text=True, check=True)
    found = done.stdout.splitlines()[-1].split()
    assert {"torch", "types", "ray", "segmentation_models_pytorch", "bts_tune", "timm", "functools"} <= set(found)
    return found


def lay_traps(folder: Path, names: Iterable[str], marker: Path) -> None:
    """Write a module and a package of each name; each writes its name into `marker` where it is imported."""
    for name in names:
        trap = f"open({str(marker)!r}, 'a').write({name!r} + '\\n')\nraise ImportError('a trap')\n"
        (folder / f"{name}.py").write_text(trap)
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(trap)


@pytest.fixture
def dataset(command: Command, small_data: Path) -> Path:
    """A copy of the dataset, which the command is given in."""
    shutil.rmtree(command.folder)
    shutil.copytree(small_data, command.folder)
    return command.folder


def test_the_installed_command_runs_no_code_of_a_dataset(
    command: Command, dataset: Path, space_file: Callable[..., Path], names: list[str], tmp_path: Path
) -> None:
    marker, results = tmp_path / "imported", tmp_path / "results"
    lay_traps(dataset, names, marker)
    # As pip writes it.
    script = tmp_path / "bin" / "bts-tune"
    script.parent.mkdir()
    script.write_text(
        "import sys\nfrom bts_tune.cli.main import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    )
    command.program = [sys.executable, str(script)]

    assert command("data", "check", ".")[0] == 0
    assert command("data", "phantom", tmp_path / "phantom", "--count", "20", "--image-size", "48")[0] == 0
    arguments: list[str | Path] = ["--space", space_file(epochs=1), "--data", ".", "--only", "plain", "--name", "run"]
    arguments += ["--concurrent", "1"]
    code, _, errors = command(*arguments, "--results", results)
    assert not marker.exists(), marker.read_text()
    assert (code, errors) == (0, "")
    image = next((dataset / "test").glob("*.png"))
    code, _, errors = command("predict", "run", image, "--out", tmp_path / "masks", "--results", results)
    assert (code, errors) == (0, "")
    assert not marker.exists(), marker.read_text()


@pytest.mark.parametrize("more", ["--dry-run", pytest.param("--no-dashboard", marks=pytest.mark.slow)])
def test_python_m_runs_no_code_of_a_dataset(
    command: Command, dataset: Path, space_file: Callable[..., Path], names: list[str], tmp_path: Path, more: str
) -> None:
    # Python itself looks for `bts_tune`, and for the parts of its library that find it, in the working folder.
    marker = tmp_path / "imported"
    lay_traps(dataset, set(names) - set(sys.stdlib_module_names) - {"bts_tune", "sitecustomize"}, marker)
    # An empty entry names the working folder.
    command.environment["PYTHONPATH"] = os.pathsep + str(tmp_path)
    arguments: list[str | Path] = ["--space", space_file(epochs=1), "--data", ".", "--only", "plain", "--name", "run"]
    arguments += ["--concurrent", "1"]
    code, _, errors = command(*arguments, "--results", tmp_path / "results", more)
    assert not marker.exists(), marker.read_text()
    assert (code, errors) == (0, "")


def test_a_checkout_that_is_not_installed_is_found_by_the_processes_of_a_run(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[2] / "bts_tune", tmp_path / "bts_tune")
    program = (
        "import subprocess, sys\n"
        "from bts_tune.imports import leave_out_working_folder\n"
        "leave_out_working_folder()\n"
        "child = [sys.executable, '-S', '-c', 'import bts_tune; print(bts_tune.__file__)']\n"
        "sys.exit(subprocess.run(child, cwd='/').returncode)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-S", "-c", program]  # -S: without what is installed
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.stderr, done.stdout) == ("", f"{tmp_path / 'bts_tune' / '__init__.py'}\n")
