"""`bts-tune benchmark`: what is handed on, and what is refused; whole benchmarks are run in tests/experiment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bts_tune import api
from bts_tune.cli.main import main
from bts_tune.cli.options import names_of
from bts_tune.errors import RunError
from bts_tune.experiment.planning.benchmark_file import load_benchmark
from bts_tune.experiment.planning.options import flag
from bts_tune.plugins import loaded_plugins
from bts_tune.results.record.benchmark_folder import BenchmarkFolder
from bts_tune.results.record.run_folder import RunFolder
from bts_tune.testing.runs import make_run, write_run
from tests.cli.test_options import sample

pytestmark = pytest.mark.usefixtures("empty_folder")

FILE = """
name: small
configurations:
  unet: {config: {encoder_weights: none}}
  fpn: {config: {decoder: fpn, encoder_weights: none}}
datasets: {phantom: DATA}
seeds: 2
set: {epochs: 3, image_size: 32, encoder: tu-test_efficientnet}
"""


@pytest.fixture
def file(empty_folder: Path, phantom: Path) -> Path:
    path = empty_folder / "small.yaml"
    path.write_text(FILE.replace("DATA", str(phantom)))
    return path


def test_options_are_handed_on(refused: Callable[..., str], file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    received: dict[str, Any] = {}

    def begin(path: Path, *, options: dict[str, Any], **more: Any) -> NoReturn:
        received.update(options, **more, path=path)
        raise RunError("It begins.")

    monkeypatch.setattr("bts_tune.api.tuning.carry_out_benchmark", begin)
    for name in [*names_of("how"), "weights_dir", "skip_missing_weights"]:
        if name == "time_budget":  # a search's
            continue
        words, value = sample(name)
        received.clear()
        assert "It begins." in refused("benchmark", file, *words), flag(name)
        assert received[name] == value
    assert "It begins." in refused("benchmark", file, "--allow-changed", "--retry-failed", "--results", "there")
    assert (received["allow_changed"], received["retry_failed"], received["results"]) == (True, True, Path("there"))


@pytest.mark.parametrize(
    ("call", "recorded"),
    [
        (
            lambda: main(["benchmark", "small.yaml", "--concurrent", "2", "--plugin", "my own.py", "--no-dashboard"]),
            ["bts-tune", "benchmark", "small.yaml", "--concurrent", "2", "--plugin", "my own.py", "--no-dashboard"],
        ),
        (
            lambda: api.benchmark("small.yaml", concurrent=2, dashboard=False, retry_failed=True),
            [
                "bts_tune.benchmark",
                "file=small.yaml",
                "concurrent=2",
                "dashboard=False",
                "results=results",
                "retry_failed=True",
            ],
        ),
    ],
)
def test_a_run_records_how_the_benchmark_was_asked_for(
    call: Callable[[], object],
    recorded: list[str],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    forget_plugins: Callable[[], None],
) -> None:
    Path("my own.py").write_text("")
    received: dict[str, Any] = {}

    def start(_: Any, **how: Any) -> NoReturn:
        received.update(how)
        raise KeyboardInterrupt

    monkeypatch.setattr("bts_tune.experiment.benchmark.start", start)
    with contextlib.suppress(KeyboardInterrupt):
        call()
    assert received["command"] == recorded


def test_a_dry_run_says_what_it_costs(file: Path, capsys: pytest.CaptureFixture[str], empty_folder: Path) -> None:
    assert main(["benchmark", str(file), "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert (
        "Dry run of benchmark 'small': 2 configurations x 1 dataset x 1 split x 2 seeds; nothing is trained." in output
    )
    assert "Run phantom (to do): 4 trials, 12 epochs, 168 images" in output
    assert not (empty_folder / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.yaml"], "missing.yaml: cannot be read"),
        (["small.yaml", "--json"], "--json goes with --dry-run"),
        (["small.yaml", "--time-budget", "3h"], "unrecognized arguments: --time-budget"),
        ([], "the following arguments are required: FILE"),
    ],
)
def test_a_mistake_gets_one_sentence(
    refused: Callable[..., str], file: Path, arguments: list[str], sentence: str
) -> None:
    assert sentence in refused("benchmark", *arguments)


def test_a_folder_in_the_way_is_refused(refused: Callable[..., str], file: Path) -> None:
    Path("results/small").mkdir(parents=True)
    Path("results/small/notes.txt").write_text("mine")
    assert "results/small: exists already, and is no benchmark; choose another 'name'" in refused("benchmark", file)


def test_an_option_that_is_none_is_refused(file: Path) -> None:
    with pytest.raises(Exception, match="time_budget: is no option here"):
        api.benchmark(file, time_budget=3.0)


def test_a_run_goes_on_with_the_plugins_of_the_file_where_that_is_now(
    forget_plugins: Callable[[], None], monkeypatch: pytest.MonkeyPatch, empty_folder: Path, phantom: Path
) -> None:
    moved, extra = empty_folder / "moved" / "own.py", empty_folder / "extra.py"
    for path in (moved, extra):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"NAME = {path.name!r}\n")
    file = moved.with_name("small.yaml")
    file.write_text(FILE.replace("DATA", str(phantom)) + "plugins: [own.py]\n")
    benchmark = load_benchmark(file, Path("results"), run_plugins=True)
    own = {"name": "/gone/own.py", "kind": "file", "sha256": loaded_plugins()[-1].sha256}
    other = {"name": str(extra), "kind": "file", "sha256": "1"}
    folder = BenchmarkFolder(Path("results/small"))
    write_run(folder.run_path("phantom"), [], make_run(status="interrupted", plugins=[own, other]))
    folder.write(benchmark.to_dict())
    received: dict[str, Any] = {}

    def resume(_: RunFolder, given: dict[str, Any], **__: Any) -> NoReturn:
        received.update(given)
        raise RunError("It goes on.")

    monkeypatch.setattr("bts_tune.experiment.benchmark.resume", resume)
    with pytest.raises(RunError, match="It goes on"):
        api.benchmark(file)
    assert received["plugins"] == [str(moved), str(extra)]
