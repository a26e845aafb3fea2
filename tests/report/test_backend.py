"""Figures are drawn whatever matplotlib back end the environment names, as a notebook's does for every command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bts_tune.testing.runs import make_search, write_run, write_samples, write_scores

BACKENDS = ["module://matplotlib_inline.backend_inline", "no such back end"]

# Each figure is drawn in a process of its own, as the first that imports matplotlib.
EACH_FIRST = """
import os, sys
from pathlib import Path
from bts_tune.report.sections.hyperparameters import draw_marginal_plots, draw_parallel_coordinates
from bts_tune.report.sections.kinds_of_images import draw_kinds_of_images
from bts_tune.report.sections.learning_curves import draw_learning_curves
from bts_tune.report.sections.predictions import draw_predictions, read_samples
from bts_tune.report.sections.search_history import draw_search_history
from bts_tune.results.statistics.comparison import compare_configurations
from bts_tune.results.record.run_folder import RunFolder

folder = RunFolder.open(Path(sys.argv[1]))
trials, run = folder.trials(), folder.read_run()
comparison = compare_configurations(folder, trials)
draw = {
    "curves": lambda: draw_learning_curves(trials),
    "history": lambda: draw_search_history(trials),
    "kinds": lambda: draw_kinds_of_images(trials, comparison),
    "marginals": lambda: draw_marginal_plots(trials, run),
    "coordinates": lambda: draw_parallel_coordinates(trials, run),
    "overlay": lambda: draw_predictions(read_samples(folder.samples_file("t0000")), "t0000"),
}
named = os.environ["MPLBACKEND"]
for name, figure in draw.items():
    sys.stdout.flush()
    child = os.fork()
    if not child:
        assert "matplotlib" not in sys.modules
        assert figure().startswith(b"\\x89PNG")
        assert "matplotlib.pyplot" not in sys.modules
        assert os.environ["MPLBACKEND"] == named
        print(name, flush=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, name
"""


def run_folder(path: Path) -> Path:
    trials = make_search(epochs=4)
    folder = write_run(path, trials)
    for record in trials[:4]:
        write_scores(folder, record)
    write_samples(folder, "t0000")
    return folder.path


def started(command: list[str], backend: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MPLBACKEND": backend}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_report_has_its_figures_whatever_back_end_is_named(tmp_path: Path, backend: str) -> None:
    folder = run_folder(tmp_path / "run")
    done = started(["-m", "bts_tune", "report", str(folder)], backend)
    assert (done.returncode, done.stderr) == (0, "")
    drawn = {file.name for file in (folder / "figures").iterdir()}
    assert {"learning_curves.png", "search_history.png", "kinds_of_images.png", "marginals.png"} <= drawn


def test_every_figure_may_be_the_first_to_import_matplotlib(tmp_path: Path) -> None:
    done = started(["-c", EACH_FIRST, str(run_folder(tmp_path / "run"))], BACKENDS[0])
    assert done.stderr == ""
    assert done.stdout.split() == ["curves", "history", "kinds", "marginals", "coordinates", "overlay"]
