"""`bts-tune export`: a format, a run, and where to; what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from bts_tune.cli.main import main
from bts_tune.testing.exports import example_run
from bts_tune.testing.runs import make_baselines, make_run, write_run

pytestmark = pytest.mark.usefixtures("empty_folder")

PLUGIN = Path(__file__).parents[3] / "docs" / "examples" / "plugins" / "npz_weights.py"


def test_a_model_is_written_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(example_run().path), "--to", "folder", "--output", "out", "--trial", "clahe"]) == 0
    first, *notes = capsys.readouterr().out.splitlines()
    assert first == "out"
    assert any("smp.from_pretrained loads it" in note for note in notes)
    assert Path("out/config.json").is_file()
    assert "Trial clahe of the run" in Path("out/README.md").read_text()


def test_by_default_it_is_in_the_run_s_folder(capsys: pytest.CaptureFixture[str]) -> None:
    write_run(Path("results/mine"), make_baselines(epochs=2), make_run(run="mine", space={}))
    assert main(["export", "mine", "--to", "optuna"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "sqlite:///results/mine/exports/optuna.db",
        "study 'mine': 3 trials",
    ]


def test_a_study_may_be_asked_for_with_the_format_first() -> None:
    write_run(Path("results/mine"), make_baselines(epochs=2), make_run(run="mine"))
    assert main(["export", "optuna", "mine", "--storage", "sqlite:///study.db"]) == 0
    assert optuna.get_all_study_names("sqlite:///study.db") == ["mine"]


def test_a_format_may_come_from_a_plugin(
    capsys: pytest.CaptureFixture[str], refused: Callable[..., str], forget_plugins: Callable[[], None]
) -> None:
    run = str(example_run().path)
    assert "--to 'npz': is no format and no tracker." in refused("export", run, "--to", "npz")
    assert main(["export", run, "--to", "npz", "--plugin", str(PLUGIN), "--output", "w.npz"]) == 0
    assert capsys.readouterr().out.startswith("w.npz\n")
    assert Path("w.npz").is_file()


def test_formats_are_listed_those_of_plugins_too(
    capsys: pytest.CaptureFixture[str], forget_plugins: Callable[[], None]
) -> None:
    assert main(["export", "--formats", "--plugin", str(PLUGIN)]) == 0
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed.keys() == {"folder", "onnx", "optuna", "torch-export", "npz"}
    assert listed["npz"] == "the weights as a NumPy archive"


def test_an_unknown_name_is_told_with_the_trackers_those_of_plugins_too(
    refused: Callable[..., str], forget_plugins: Callable[[], None]
) -> None:
    Path("own.py").write_text(
        "from bts_tune.experiment.callbacks.trackers.mlflow import MLflow\n"
        "from bts_tune.registry import TRACKERS\n\n"
        "@TRACKERS.register('clinic')\nclass Clinic(MLflow):\n    pass\n"
    )
    said = refused("export", "run", "--to", "clinik", "--plugin", "own.py")
    assert "--to 'clinik': is no format and no tracker. Did you mean 'clinic'?" in said
    assert "trackers: mlflow, trackio, wandb, clinic. One of a plugin is known with --plugin FILE." in said


def test_a_mistake_gets_one_sentence(refused: Callable[..., str]) -> None:
    run = example_run().path
    assert "give the format, --to FORMAT. Formats: folder, onnx, optuna, torch-export; tr" in refused("export", run)
    assert "Did you mean 'onnx'" in refused("export", run, "--to", "onxx")
    assert "give a run" in refused("export", "--to", "onnx")
    assert "give one run and one format" in refused("export", "onnx", run, "--to", "onnx")
    assert "nothing: no such run" in refused("export", "nothing", "--to", "folder")
    for option in (("--trial", "plain"), ("--output", "out"), ("--ensemble",), ("--tta",)):
        assert "leave out --output, --trial, --ensemble and --tta" in refused("export", run, "--to", "mlflow", *option)
    for option in (("--ensemble",), ("--tta",)):
        assert (
            "--to optuna: cannot hold an ensemble or test-time augmentation; leave out --ensemble and --tta"
            in refused("export", "optuna", run, *option)
        )
    assert "--to tensorboard: is told of a run as it goes on" in refused("export", run, "--to", "tensorboard")
    assert "kept no model of that name; it has clahe, plain" in refused("export", run, "--to", "folder", "--trial", "x")
    Path("taken").mkdir()
    assert "taken: exists already" in refused("export", run, "--to", "folder", "--output", "taken")
    write_run(Path("results/none"), make_baselines(epochs=2), make_run())
    for export in ("folder", "torch-export", "onnx"):
        assert "no trial of this run has left a model yet" in refused("export", "none", "--to", export)
    assert not list(Path("taken").iterdir())


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for command, shown in (("export", "--to onnx"), ("list", "bts-tune list"), ("watch", "bts-tune watch RUN")):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        _, _, examples = capsys.readouterr().out.partition("examples:")
        assert shown in examples
        assert examples.count("bts-tune ") >= 2
