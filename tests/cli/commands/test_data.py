"""`bts-tune data`: a dataset is checked, generated, and looked up in the cache."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from bts_tune.cli.main import main
from bts_tune.config import PreprocessingPart
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.images import read_mask
from bts_tune.data.prepared.prepare import prepare
from tests.data.mask_kinds import KINDS

pytestmark = pytest.mark.usefixtures("empty_folder")

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "plugins"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["check", "nowhere"], "nowhere: does not exist"),
        (["check", "."], "is not a dataset"),
        (["phantom", "p", "--count", "2"], "count"),
        (["phantom", "p", "--annotation", "star"], "star"),
        ([], "COMMAND"),
    ],
)
def test_a_mistake_gets_one_sentence(refused: Callable[..., str], arguments: list[str], sentence: str) -> None:
    assert sentence in refused("data", *arguments)
    assert not Path("p").exists()


def test_phantoms_check_without_errors(capsys: pytest.CaptureFixture[str], refused: Callable[..., str]) -> None:
    assert main(["data", "phantom", "p", "--count", "30", "--image-size", "64", "--annotation", "box"]) == 0
    assert capsys.readouterr().out == "p: 30 slices\n"
    assert main(["data", "check", "p"]) == 0
    assert "train" in capsys.readouterr().out
    assert "already holds something" in refused("data", "phantom", "p")


def test_every_option_of_a_phantom_changes_the_dataset(capsys: pytest.CaptureFixture[str]) -> None:
    def written(name: str, *options: str) -> list[bytes]:
        assert main(["data", "phantom", name, "--count", "24", "--image-size", "32", *options]) == 0
        files = [path for path in sorted(Path(name).rglob("*")) if path.is_file()]
        return [path.read_bytes() for path in files]

    plain = written("plain")
    assert written("again") == plain
    for number, option in enumerate(
        (
            ["--seed", "1"],
            ["--annotation", "box"],
            ["--tumor-free", "0.5"],
            ["--slices-per-patient", "4"],
            ["--count", "30"],
            ["--image-size", "48"],
        )
    ):
        assert written(f"p{number}", *option) != plain, option


def test_errors_are_listed_and_the_exit_code_says_so(capsys: pytest.CaptureFixture[str], phantom: Path) -> None:
    shutil.copytree(phantom, "broken")
    victim = next(Path("broken/train").glob("*.png"))
    victim.write_bytes(b"no image")
    assert main(["data", "check", "broken"]) == 1
    assert victim.name in capsys.readouterr().out


def test_the_worst_pairs_are_drawn(
    capsys: pytest.CaptureFixture[str], refused: Callable[..., str], phantom: Path
) -> None:
    assert main(["data", "check", str(phantom), "--pairs", "pairs.png"]) == 0
    assert "Worst pairs: pairs.png" in capsys.readouterr().out
    picture = cv2.imread("pairs.png")
    assert picture is not None
    assert picture.std() > 0
    Path("file").touch()
    assert "--pairs file/pairs.png: cannot be written" in refused("data", "check", phantom, "--pairs", "file/pairs.png")


def test_another_split_is_checked_as_it_would_be_run(capsys: pytest.CaptureFixture[str], phantom: Path) -> None:
    assert main(["data", "check", str(phantom), "--split", "grouped", "--group-by", r"(p\d+)_"]) == 0
    assert "grouped" in capsys.readouterr().out.splitlines()[-1]


def test_a_reader_and_a_split_method_of_a_plugin_are_used(
    capsys: pytest.CaptureFixture[str], forget_plugins: Callable[[], None], phantom: Path
) -> None:
    for record in open_dataset(phantom):
        patient, stem = record.image.stem.split("_", 1)
        folder = Path("patients") / patient
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(record.image, folder / f"{stem}.png")
        assert cv2.imwrite(str(folder / f"{stem}_mask.png"), 255 * read_mask(record))
    assert main(["data", "check", "patients"]) == 0
    assert capsys.readouterr().out.startswith("patients: image/mask pairs side by side\n")
    given = ["--plugin", str(EXAMPLES / "patient_folders.py"), "--plugin", str(EXAMPLES / "by_hash.py")]
    assert main(["data", "check", "patients", "--split", "by-hash", *given]) == 0
    output = capsys.readouterr().out
    assert output.startswith("patients: patients' folders\n")
    assert "by-hash" in output.splitlines()[-1]


def test_the_cache_is_shown_and_cleared(capsys: pytest.CaptureFixture[str], phantom: Path) -> None:
    prepare(open_dataset(phantom), PreprocessingPart(image_size=32))
    assert main(["data", "cache"]) == 0
    assert "image_size 32" in capsys.readouterr().out
    assert main(["data", "cache", "--cache", "another"]) == 0
    assert "image_size" not in capsys.readouterr().out
    assert main(["data", "cache", "--clear"]) == 0
    assert "1 entries removed" in capsys.readouterr().out
    assert main(["data", "cache"]) == 0
    assert "image_size" not in capsys.readouterr().out


def test_labels_of_masks_are_listed_and_chosen(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = next(kind for kind in KINDS if kind.name == "two labels").build(tmp_path / "data")
    assert main(["data", "check", str(root)]) == 0
    listed = capsys.readouterr().out
    assert "Values of 9 masks" in listed
    assert "All values but 0 are tumour." in listed
    assert main(["data", "check", str(root), "--tumor-labels", "1"]) == 0
    assert "1 is tumour, as chosen." in capsys.readouterr().out
    assert main(["data", "check", str(root), "--tumor-labels", "5"]) == 1
    assert "--tumor-labels 5: no mask holds it; they hold 0, 1 and 2." in capsys.readouterr().out
    assert main(["data", "check", str(root), "--tumor-labels", "one"]) == 2
    assert "--tumor-labels 'one': must be a value that masks hold, such as 1." in capsys.readouterr().err


def test_labels_need_masks(capsys: pytest.CaptureFixture[str], phantom: Path) -> None:
    assert main(["data", "check", str(phantom), "--tumor-labels", "1"]) == 2
    assert "has no mask files to choose labels in; leave --tumor-labels out." in capsys.readouterr().err
