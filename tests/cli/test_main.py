"""The command line as a user meets it, up to where trials begin."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bts_tune.cli.main import main
from bts_tune.data.synthetic.phantom import write_phantom


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli") / "phantom"
    write_phantom(root, count=20, image_size=48, slices_per_patient=2, workers=1)
    return root


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BTS_TUNE_CACHE", str(tmp_path / "cache"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one sentence with which the command refuses its arguments."""
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith("bts-tune")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert not Path("results").exists()
    return captured.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "nothing to do"),
        (["--space", "basline"], "Did you mean 'baseline'?"),
        (["--space", "baseline", "--resume", "x"], "give one of them"),
        (["--space", "missing.yaml"], "missing.yaml"),
        (["--space", "baseline", "--data", "nowhere"], "nowhere: does not exist"),
        (["--space", "baseline", "--set", "learning_rat=1"], "Did you mean 'learning_rate'"),
        (["--space", "baseline", "--set", "learning_rate"], "must be KEY=VALUE"),
        (["--space", "baseline", "--set", "epochs=3", "--epochs", "4"], "given twice"),
        (["--space", "baseline", "--image-size", "100"], "multiple of 32"),
        (["--space", "baseline", "--epochs", "0"], "greater than or equal to 1"),
        (["--space", "baseline", "--epochs", "many"], "many"),
        (["--space", "baseline", "--only", "unet-b1"], "Did you mean 'unet-b0'"),
        (["--space", "baseline", "--num-trials", "3"], "has no search"),
        (["--space", "baseline", "--seeds", "0"], "--seeds"),
        (["--space", "baseline", "--concurrent", "0"], "--concurrent"),
        (["--space", "baseline", "--device", "tpu"], "--device"),
        (["--space", "baseline", "--time-budget", "soon"], "no duration"),
        (["--space", "baseline", "--name", "../up"], "--name"),
        (
            ["--space", "baseline", "--tracker", "wandb"],
            "--tracker: unknown tracker 'wandb'. Allowed: tensorboard, none.",
        ),
        (["--space", "baseline", "--tracker", "wandb", "--dry-run"], "--tracker: unknown tracker 'wandb'"),
        (["--space", "baseline", "--epoch", "3"], "Did you mean '--epochs'"),
        (["repot", "x"], "Did you mean 'report'"),
        (["--resume", "nothing"], "no such run"),
        (["--resume", "x", "--epochs", "3"], "--epochs cannot go with --resume"),
        (["--resume", "x", "--num-trials", "3"], "--extend RUN --num-trials N adds trials"),
        (["--extend", "x"], "--extend needs --num-trials N"),
        (["--extend", "x", "--num-trials", "3", "--epochs", "3"], "--epochs cannot go with --extend"),
        (["--extend", "x", "--resume", "x"], "--resume and --extend are both given"),
        (["--space", "baseline", "--allow-changed"], "--allow-changed goes with --resume or --extend"),
        (["--resume", "x", "--final-top", "3"], "'bts-tune final RUN --final-top N' adds to it"),
        (["--space", "extended", "--final-top", "-1"], "--final-top: input should be greater than or equal to 0"),
        (["--space", "extended", "--final-seeds", "0"], "--final-seeds: input should be greater than or equal to 1"),
        (["final", "nothing"], "no such run"),
        (["report", "nothing"], "no such run"),
        (["predict", "nothing", "a.png", "--out", "o"], "no such run"),
        (["data", "check", "nowhere"], "nowhere: does not exist"),
        (["data", "phantom", "p", "--count", "2"], "count"),
        (["spaces", "show", "extendet"], "Did you mean 'extended'?"),
    ],
)
def test_a_mistake_gets_one_sentence(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert sentence in refused(capsys, *arguments)


def test_weights_that_cannot_be_had_stop_the_run_before_it_begins(
    capsys: pytest.CaptureFixture[str], phantom: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "weights"
    empty.mkdir()
    message = refused(capsys, "--space", "baseline", "--data", str(phantom), "--set", "encoder_weights=nowhere.pth")
    assert "nowhere.pth" in message
    assert refused(capsys, "--space", "baseline", "--data", str(phantom), "--weights-dir", "nowhere")


def test_a_dry_run_prints_the_cost_and_writes_no_run(capsys: pytest.CaptureFixture[str], phantom: Path) -> None:
    assert main(["--space", "extended", "--data", str(phantom), "--dry-run", "--epochs", "3", "--num-trials", "5"]) == 0
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


def test_a_dry_run_of_the_demo_says_that_it_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--space", "baseline", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("DEMO")


def test_a_broken_dataset_is_listed_and_nothing_runs(capsys: pytest.CaptureFixture[str], phantom: Path) -> None:
    import shutil

    shutil.copytree(phantom, "broken")
    victim = next(Path("broken/train").glob("*.png"))
    victim.write_bytes(b"no image")
    assert main(["data", "check", "broken"]) == 1
    assert victim.name in capsys.readouterr().out
    assert main(["--space", "baseline", "--data", "broken", "--set", "encoder_weights=none"]) == 1
    captured = capsys.readouterr()
    assert victim.name in captured.out
    assert "nothing was trained" in captured.err
    assert not Path("results").exists()


def test_phantoms_check_without_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "phantom", "p", "--count", "30", "--image-size", "64", "--annotation", "box"]) == 0
    assert main(["data", "check", "p"]) == 0
    assert "train" in capsys.readouterr().out
    assert main(["data", "phantom", "p"]) == 2


def test_the_cache_is_shown_and_cleared(capsys: pytest.CaptureFixture[str], phantom: Path) -> None:
    from bts_tune.config import PreprocessingPart
    from bts_tune.data.open import open_dataset
    from bts_tune.data.prepared.prepare import prepare

    prepare(open_dataset(phantom), PreprocessingPart(image_size=32))
    assert main(["data", "cache"]) == 0
    assert "image_size 32" in capsys.readouterr().out
    assert main(["data", "cache", "--clear"]) == 0
    assert "1 entries removed" in capsys.readouterr().out
    assert main(["data", "cache"]) == 0
    assert "image_size" not in capsys.readouterr().out


def test_spaces_are_listed_explained_and_have_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spaces"]) == 0
    listed = capsys.readouterr().out
    assert {line.split()[0] for line in listed.splitlines()} >= {"baseline", "extended"}
    assert max(map(len, listed.splitlines())) <= 140
    assert main(["spaces", "show", "extended"]) == 0
    assert "learning_rate" in capsys.readouterr().out
    assert main(["spaces", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bts_tune.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'cv2', 'pandas', 'numpy', 'optuna', 'matplotlib', 'pydantic', 'rich'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout


def test_a_reader_who_leaves_early_causes_no_traceback() -> None:
    command = f"{sys.executable} -m bts_tune spaces show extended | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "Traceback" not in done.stderr
