"""`bts-tune --space …`, up to where trials begin: what is refused, what a dry run says, what `--set` means."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from bts_tune.api import tuning
from bts_tune.cli.main import main
from bts_tune.errors import RunError
from bts_tune.experiment.planning.options import RunOptions
from bts_tune.space import load_space
from bts_tune.testing.runs import make_run, make_search, write_run

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--space", "basline"], "Did you mean 'baseline'?"),
        (["--space", "baseline", "--resume", "x"], "give one of them"),
        (["--space", "missing.yaml"], "missing.yaml"),
        (["--space", "baseline", "--data", "nowhere"], "nowhere: does not exist"),
        (["--space", "baseline", "--set", "learning_rat=1"], "Did you mean 'learning_rate'"),
        (["--space", "baseline", "--set", "lr=1"], "--set: unknown key 'lr'. Did you mean 'learning_rate'?"),
        (["--space", "baseline", "--set", "learning_rate"], "must be KEY=VALUE"),
        (["--space", "baseline", "--set", "epochs=3", "--epochs", "4"], "given twice"),
        (["--space", "baseline", "--image-size", "100"], "--image-size: input should be a multiple of 32, got 100."),
        (["--space", "baseline", "--epochs", "0"], "--epochs: input should be greater than or equal to 1, got 0."),
        (["--space", "baseline", "--batch-size", "2.5"], "--batch-size: input should be a valid integer"),
        (["--space", "baseline", "--epochs", "many"], "argument --epochs: 'many' is no number"),
        (
            ["--space", "baseline", "--gpus-per-trial", "half"],
            "--gpus-per-trial: 'half' is no number, nor auto",
        ),
        (["--space", "baseline", "--time-budget", "12"], "'12' is no duration; write 30s, 90m, 8h or 1.5d"),
        (["--space", "baseline", "--only", "unet-b1"], "Did you mean 'unet-b0'"),
        (["--space", "baseline", "--num-trials", "3"], "has no search"),
        (["--space", "baseline", "--seeds", "0"], "--seeds"),
        (["--space", "baseline", "--concurrent", "0"], "--concurrent"),
        (["--space", "baseline", "--device", "tpu"], "--device"),
        (["--space", "baseline", "--name", "../up"], "--name"),
        (
            ["--space", "baseline", "--tracker", "neptune"],
            "--tracker: unknown tracker 'neptune'. Allowed: mlflow, tensorboard, trackio, wandb, none.",
        ),
        (["--space", "baseline", "--tracker", "neptune", "--dry-run"], "--tracker: unknown tracker 'neptune'"),
        (["--resume", "nothing"], "no such run"),
        (["--resume", "x", "--epochs", "3"], "--epochs cannot go with --resume"),
        (["--resume", "x", "--name", "y"], "--name cannot go with --resume"),
        (["--space", "baseline", "--name", "../up", "--dry-run"], "--name '../up'"),
        (["--space", "extended", "--warm-start", "nothing", "--dry-run"], "nothing: no such run"),
        (["--space", "baseline", "--storage", "ftp://x/y", "--dry-run"], "--storage ftp://x/y: the scheme ftp://"),
        (["--resume", "x", "--dry-run"], "--dry-run cannot go with --resume"),
        (["--resume", "x", "--num-trials", "3"], "--extend RUN --num-trials N adds trials"),
        (["--extend", "x"], "--extend needs --num-trials N"),
        (["--extend", "x", "--num-trials", "3", "--epochs", "3"], "--epochs cannot go with --extend"),
        (["--extend", "x", "--resume", "x"], "--resume and --extend are both given"),
        (["--space", "baseline", "--allow-changed"], "--allow-changed goes with --resume or --extend"),
        (["--resume", "x", "--final-top", "3"], "'bts-tune final RUN --final-top N' adds to it"),
        (["--space", "extended", "--final-top", "-1"], "--final-top: input should be greater than or equal to 0"),
        (["--space", "extended", "--final-seeds", "0"], "--final-seeds: input should be greater than or equal to 1"),
        (
            ["--space", "baseline", "--set", "train_share=0.0001", "--dry-run"],
            "train_share 0.0001: leaves 2 training images, fewer than the batch_size of 8",
        ),
        (["--space", "baseline", "--plugin", "mine.py"], "mine.py: cannot be read: No such file or directory"),
    ],
)
def test_a_mistake_gets_one_sentence(refused: Callable[..., str], arguments: list[str], sentence: str) -> None:
    assert sentence in refused(*arguments)
    assert not Path("results").exists()


def test_values_are_read_as_what_they_look_like(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []

    def start(options: RunOptions, **how: Any) -> NoReturn:
        begun.extend((options, how))
        raise RunError("It begins.")

    monkeypatch.setattr(tuning, "start", start)
    settings = ["batch_size = 4", "learning_rate=1e-3", "decoder=fpn", "seed=-1"]
    typed = ["--space", "baseline", *(word for one in settings for word in ("--set", one)), "--epochs", "3"]
    typed += ["--only", "unet-b0", "--only", "unet-b0-frozen", "--tumor-labels", "1", "--tumor-labels", "4"]
    assert main([*typed, "--name", "mine", "--results", "elsewhere"]) == 2
    options, how = begun
    assert options.overrides == {"epochs": 3, "batch_size": 4, "learning_rate": 1e-3, "decoder": "fpn", "seed": -1}
    assert [type(value) for value in options.overrides.values()] == [int, int, float, str, int]
    assert (options.only, options.tumor_labels) == (["unet-b0", "unet-b0-frozen"], ["1", "4"])
    assert how["command"] == ["bts-tune", *typed, "--name", "mine", "--results", "elsewhere"]
    assert (how["name"], how["results"]) == ("mine", Path("elsewhere"))


def test_weights_that_cannot_be_had_stop_the_run_before_it_begins(refused: Callable[..., str], phantom: Path) -> None:
    on_data = ["--space", "baseline", "--data", phantom]
    said = refused(*on_data, "--set", "encoder_weights=nowhere.pth")
    assert "baseline: trials.unet-b0: encoder_weights: no such file" in said
    assert "nowhere.pth" in said
    assert "nowhere" in refused(*on_data, "--weights-dir", "nowhere")
    assert not Path("results").exists()


def test_a_dry_run_refuses_what_the_run_would(refused: Callable[..., str], phantom: Path) -> None:
    run = make_run(space=load_space("extended").document, options=RunOptions(space="extended").to_dict())
    write_run(Path("results") / "first", make_search(3), run)
    given = ["--space", "extended", "--data", phantom, "--set", "encoder_weights=none", "--dry-run", "--no-timing"]
    assert "a run of this name exists already" in refused(*given, "--name", "first")
    said = refused(*given, "--warm-start", "first")
    assert "--warm-start results/first: it was made on another dataset" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--set", "encoder=resnet19"],
            "baseline: trials.unet-b0: encoder: unknown encoder 'resnet19'. Did you mean 'resnet18'",
        ),
        (["--set", "decoder=dpt", "--set", "encoder=resnet18"], "decoder 'dpt'"),
        (["--set", "encoder=dpn92", "--set", "encoder_weights=imagenet"], "'dpn92' has no ImageNet weights in SMP"),
        (["--group-by", "nowhere.csv"], "nowhere.csv: cannot be read: No such file or directory"),
        (["--address", "local", "--autoscaling"], "--autoscaling needs --concurrent N and --cpus-per-trial N"),
        (["--address", "head:6379", "--autoscaling"], "--autoscaling needs --concurrent N and --cpus-per-trial N"),
        (["--address", "head"], "--address head: must be HOST:PORT"),
        (["--device", "cpu", "--gpus-per-trial", "0.5"], "--gpus-per-trial 0.5: there is no GPU to share"),
        (["--gpus-per-trial", "1.5"], "--gpus-per-trial 1.5: must be a fraction below 1 or a whole number"),
        (["--results", "file"], "the run folder cannot be written: "),
    ],
)
def test_a_dry_run_refuses_at_once_what_the_run_would(
    refused: Callable[..., str], phantom: Path, arguments: list[str], sentence: str
) -> None:
    Path("file").touch()
    on_data = ["--space", "baseline", "--data", phantom, "--set", "encoder_weights=none"]
    given = [one for one in on_data if not ("imagenet" in str(arguments) and one in ("--set", "encoder_weights=none"))]
    for dry in ([], ["--dry-run", "--no-timing"]):
        assert sentence in refused(*given, *arguments, *dry)


def test_a_dry_run_refuses_a_broken_dataset_and_tells_what_this_machine_lacks(
    capsys: pytest.CaptureFixture[str], phantom: Path
) -> None:
    given = ["--space", "baseline", "--set", "encoder_weights=none", "--dry-run", "--no-timing"]
    shutil.copytree(phantom, "broken")
    next(Path("broken/train").glob("*.png")).write_bytes(b"no image")
    assert main([*given, "--data", "broken"]) == 1
    assert "nothing was trained" in capsys.readouterr().err
    assert main([*given, "--data", str(phantom), "--concurrent", "4096"]) == 0
    assert "Not on this machine: --concurrent 4096: there are" in capsys.readouterr().out


def test_an_option_on_record_that_is_none_is_told_with_its_file(refused: Callable[..., str]) -> None:
    write_run(Path("results") / "first", make_search(3), make_run(options={"space": "extended", "epochs": 3}))
    assert "results/first/run.json: options: epochs: is no option of a run" in refused("--resume", "first")


def test_a_dry_run_prints_the_cost_and_writes_no_run(capsys: pytest.CaptureFixture[str], phantom: Path) -> None:
    given = ["--data", str(phantom), "--dry-run", "--no-timing", "--epochs", "3", "--num-trials", "5"]
    assert main(["--space", "extended", *given]) == 0
    output = capsys.readouterr().out
    assert "unet-b0-frozen" in output
    assert "changed: epochs" in output
    assert "learning_rate: " in output
    assert (
        "Final stage, to the full budget: 2 best configurations and 3 baselines, 3 fresh seeds each: 15 trials"
        in output
    )
    assert "23 trials, at most 69 epochs of 14 training images, at most 966 images in all" in output
    assert not Path("results").exists()


def test_a_dry_run_times_the_models_once_for_this_machine(capsys: pytest.CaptureFixture[str], phantom: Path) -> None:
    given = ["--space", "baseline", "--only", "unet-b0", "--data", str(phantom), "--dry-run"]
    given += ["--image-size", "32", "--batch-size", "2", "--epochs", "40"]
    assert main([*given, "--no-timing"]) == 0
    assert "Time on this machine" not in capsys.readouterr().out
    assert main(given) == 0
    timed = capsys.readouterr().out
    assert "timing models: 1 in " in timed
    line = timed.splitlines()[-1]
    assert re.fullmatch(r"Time on this machine: about .*, 1 at a time, each on \d+ CPU cores?\.", line)
    assert main(given) == 0
    again = capsys.readouterr().out
    assert "timing models" not in again
    assert again.splitlines()[-1] == line


def test_a_dry_run_of_the_demo_says_that_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--space", "baseline", "--dry-run", "--no-timing"]) == 0
    assert capsys.readouterr().out.startswith("DEMO")


def test_a_broken_dataset_is_listed_and_nothing_runs(capsys: pytest.CaptureFixture[str], phantom: Path) -> None:
    shutil.copytree(phantom, "broken")
    victim = next(Path("broken/train").glob("*.png"))
    victim.write_bytes(b"no image")
    assert main(["--space", "baseline", "--data", "broken", "--set", "encoder_weights=none"]) == 1
    captured = capsys.readouterr()
    assert victim.name in captured.out
    assert "nothing was trained" in captured.err
    assert not Path("results").exists()
