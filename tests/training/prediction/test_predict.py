from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from bts_tune.config import PreprocessingPart
from bts_tune.data.prepared.images import preprocess, read_grey
from bts_tune.errors import DataError, RunError
from bts_tune.training.checkpoint import load_model
from bts_tune.training.prediction.postprocessing import Postprocessing
from bts_tune.training.prediction.predict import list_scans, predict
from bts_tune.training.prediction.segmenter import Segmenter
from tests.training.builders import Bright, data, split, tiny, trained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that finds discs; equalisation is off, as it is in the toy data."""
    folder = tmp_path_factory.mktemp("model")
    config = tiny(epochs=12, batch_size=2, batch_norm_momentum=0.2, equalization="none")
    trained(config, data(train=12), folder)
    return folder


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def slice_of(height: int = 32, width: int = 32) -> np.ndarray:
    return cv2.resize(split(1, seed=1).images[0], (width, height), interpolation=cv2.INTER_LINEAR)


def read(path: Path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    return pixels


@pytest.mark.parametrize(("height", "width"), [(32, 32), (77, 130), (200, 51), (16, 16), (640, 512)])
def test_masks_and_overlays_have_the_images_own_size(folder: Path, tmp_path: Path, height: int, width: int) -> None:
    image = write(tmp_path / "in" / "a.png", slice_of(height, width))
    (found,) = predict(folder, [image], tmp_path / "out", device="cpu")
    assert (found.image, found.mask, found.overlay) == (
        image,
        tmp_path / "out" / "a_mask.png",
        tmp_path / "out" / "a_overlay.png",
    )
    mask, overlay = read(found.mask), read(found.overlay)
    assert mask.shape == (height, width)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 255}
    assert overlay.shape == (height, width, 3)
    assert found.tumor_share == pytest.approx((mask == 255).mean())


def test_the_mask_is_the_models_prediction(folder: Path, tmp_path: Path) -> None:
    """At the model's own size it is the probability cut at 0.5; and it finds the tumour."""
    pixels, truth = split(1, seed=1).images[0], split(1, seed=1).masks[0]
    image = write(tmp_path / "a.png", pixels)
    (found,) = predict(folder, [image], tmp_path / "out", device="cpu")
    saved = load_model(folder)
    prepared = preprocess(read_grey(image), saved.config.part(PreprocessingPart))
    expected = Segmenter(saved, "cpu").prepared_probabilities(prepared[np.newaxis])[0] > 0.5
    mask = read(found.mask) == 255
    assert np.array_equal(mask, expected)
    assert (mask & (truth == 1)).sum() / (mask | (truth == 1)).sum() > 0.6


def test_the_overlay_is_the_image_with_the_outline(folder: Path, tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", slice_of(96, 96))
    (found,) = predict(folder, [image], tmp_path / "out", device="cpu")
    overlay, mask, grey = read(found.overlay), read(found.mask), read(image)
    coloured = (overlay[..., 0] != overlay[..., 2]) | (overlay[..., 0] != overlay[..., 1])
    assert coloured.any()
    assert np.array_equal(overlay[~coloured], np.repeat(grey[~coloured][:, np.newaxis], 3, axis=1))
    near = cv2.dilate(mask, np.ones((5, 5))) != cv2.erode(mask, np.ones((5, 5)))
    assert not (coloured & ~near).any()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_16_bit_images_are_seen_as_their_8_bit_twins(folder: Path, tmp_path: Path, suffix: str) -> None:
    pixels = slice_of(64, 48)
    pixels[0, :2] = 0, 255  # the full range, so that both are scaled alike
    eight = write(tmp_path / "eight.png", pixels)
    sixteen = write(tmp_path / f"sixteen{suffix}", pixels.astype(np.uint16) * 257)
    one, other = predict(folder, [eight, sixteen], tmp_path / "out", device="cpu")
    assert np.array_equal(read(one.mask), read(other.mask))


def test_colour_images(folder: Path, tmp_path: Path) -> None:
    grey = write(tmp_path / "grey.png", slice_of(40, 50))
    colour = write(tmp_path / "colour.png", np.repeat(slice_of(40, 50)[..., np.newaxis], 3, axis=2))
    one, other = predict(folder, [grey, colour], tmp_path / "out", device="cpu")
    assert np.array_equal(read(one.mask), read(other.mask))


def test_sub_folders_are_kept(folder: Path, tmp_path: Path) -> None:
    for name in ("a.png", "p1/a.png", "p1/deep/b.jpg"):
        write(tmp_path / "in" / name, slice_of())
    found = list(predict(folder, [tmp_path / "in"], tmp_path / "out", device="cpu"))
    masks = {prediction.mask.relative_to(tmp_path / "out").as_posix() for prediction in found}
    assert masks == {"a_mask.png", "p1/a_mask.png", "p1/deep/b_mask.png"}
    assert all(prediction.mask.is_file() and prediction.overlay.is_file() for prediction in found)


def test_names_with_dots_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "scan.v1.png", slice_of())
    write(tmp_path / "scan.v2.png", slice_of())
    assert [scan.name.name for scan in list_scans([tmp_path])] == ["scan.v1", "scan.v2"]


def test_two_images_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    one, other = write(tmp_path / "x" / "a.png", slice_of()), write(tmp_path / "y" / "a.png", slice_of())
    with pytest.raises(DataError, match=r"y/a\.png and .*x/a\.png would both be written as a"):
        list(predict(folder, [one, other], tmp_path / "out", device="cpu"))
    with pytest.raises(DataError, match="would both be written as a"):
        list_scans([write(tmp_path / "z" / "a.png", slice_of()), write(tmp_path / "z" / "a.jpg", slice_of())])
    assert not (tmp_path / "out").exists()


def test_an_image_is_never_overwritten(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.png", slice_of())
    before = write(tmp_path / "a_mask.png", slice_of(20, 20)).read_bytes()
    with pytest.raises(DataError, match=r"a_mask\.png: would be overwritten, but is one of the images; choose another"):
        list(predict(folder, [tmp_path], tmp_path, device="cpu"))
    assert (tmp_path / "a_mask.png").read_bytes() == before


@pytest.mark.parametrize("out", [".", "predicted", "link"])
def test_masks_are_not_written_where_images_are_looked_for(folder: Path, tmp_path: Path, out: str) -> None:
    write(tmp_path / "in" / "a.png", slice_of())
    (tmp_path / "in" / "link").symlink_to(tmp_path / "in")
    with pytest.raises(DataError, match=rf"--out .*: is, or lies in, {tmp_path}/in, whose images are segmented"):
        list(predict(folder, [tmp_path / "in"], tmp_path / "in" / out, device="cpu"))
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["a.png", "link"]


@pytest.mark.parametrize("name", ["a_mask.png", "a_overlay.png", "predictions.csv"])
def test_what_is_no_earlier_prediction_is_not_overwritten(folder: Path, tmp_path: Path, name: str) -> None:
    """A mask that somebody drew is called as a predicted one is."""
    image = write(tmp_path / "a.png", slice_of())
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / name).write_bytes(b"somebody's own")
    with pytest.raises(DataError, match=f"masks/{name}: would be overwritten, but is no earlier prediction"):
        list(predict(folder, [image], tmp_path / "masks", device="cpu"))
    assert [path.read_bytes() for path in (tmp_path / "masks").iterdir()] == [b"somebody's own"]


def test_earlier_predictions_are_replaced_also_after_a_kill(folder: Path, tmp_path: Path) -> None:
    images = [write(tmp_path / name, slice_of()) for name in ("a.png", "b.png")]
    killed = predict(folder, images, tmp_path / "out", device="cpu")
    next(killed)
    assert (tmp_path / "out" / "predictions.csv").read_text().count("a_mask.png") == 1
    for _ in range(2):
        assert len(list(predict(folder, images, tmp_path / "out", device="cpu"))) == 2


def rows_of(out: Path) -> list[tuple[str, str, str]]:
    with (out / "predictions.csv").open(newline="") as file:
        return [(Path(row["image"]).name, row["mask"], row["model"]) for row in csv.DictReader(file)]


def test_rows_of_earlier_images_stay_while_their_masks_do(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, gone = (write(tmp_path / name, slice_of()) for name in ("a.png", "b.png", "c.png"))
    monkeypatch.chdir(tmp_path)
    list(predict(folder, [first, second, gone], Path("out"), device="cpu"))
    (tmp_path / "out" / "c_mask.png").unlink()
    monkeypatch.chdir("/")
    other = Segmenter.load(folder, "cpu")
    other.postprocessing = Postprocessing(0.3, 0.001)
    out = tmp_path / "out"
    list(predict(other, [second], out))
    assert rows_of(out) == [
        ("a.png", str(out / "a_mask.png"), str(folder)),
        ("b.png", str(out / "b_mask.png"), f"{folder}, threshold 0.3, smallest region 0.001"),
    ]


def test_annotations_of_other_images_are_not_lost(folder: Path, tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, slice_of()) for name in ("a.png", "b.png"))
    out = tmp_path / "out"
    for images in ([first], [first, second]):
        list(predict(folder, images, out, device="cpu", formats=["coco", "png"]))
    with pytest.raises(
        DataError, match=r"predictions\.json: has annotations of .*b\.png, which is not segmented again"
    ):
        list(predict(folder, [first], out, device="cpu", formats=["coco"]))
    list(predict(folder, [first], out, device="cpu"))
    assert [name for name, _, _ in rows_of(out)] == ["b.png", "a.png"]


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such image or folder"):
        list_scans([tmp_path / "nowhere"])


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(DataError, match=r"holds no image \(PNG, JPEG, TIFF, GIF, BMP, WebP, NPY, NIfTI or DICOM\)"):
        list_scans([tmp_path])


def test_a_broken_image_is_named_and_those_before_it_are_written(folder: Path, tmp_path: Path) -> None:
    good = write(tmp_path / "a.png", slice_of())
    (tmp_path / "b.png").write_bytes(b"not an image")
    predictions = predict(folder, [good, tmp_path / "b.png"], tmp_path / "out", device="cpu")
    assert next(predictions).mask == tmp_path / "out" / "a_mask.png"
    with pytest.raises(DataError, match=r"b\.png: is not an image"):
        next(predictions)
    assert (tmp_path / "out" / "a_mask.png").is_file()


def test_a_model_trained_in_float16_predicts_on_a_cpu(folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    card = json.loads((copy / "model.json").read_text())
    card["config"]["precision"] = "float16"
    (copy / "model.json").write_text(json.dumps(card))
    image = write(tmp_path / "a.png", slice_of())
    one, other = (next(predict(model, [image], tmp_path / model.name, device="cpu")) for model in (folder, copy))
    assert np.array_equal(read(one.mask), read(other.mask))


def test_a_run_without_a_model_is_refused(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", slice_of())
    with pytest.raises(RunError, match="the saved model cannot be read"):
        list(predict(tmp_path / "model", [image], tmp_path / "out", device="cpu"))


def test_a_name_that_is_no_text_stands_in_the_table_as_it_is(folder: Path, tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", slice_of()).rename(tmp_path / "a\udcff.png")
    (found,) = predict(folder, [image], tmp_path / "out", device="cpu")
    assert found.mask.is_file()
    assert b"/a\xff.png," in (tmp_path / "out" / "predictions.csv").read_bytes()


def test_where_nothing_can_be_written_one_sentence_says_so(folder: Path, tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", slice_of())
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/a_mask\.png: cannot be written: .*\.$"):
        list(predict(folder, [image], tmp_path / "file", device="cpu"))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_masks_lie_on_the_image_as_a_viewer_shows_it(folder: Path, tmp_path: Path, suffix: str) -> None:
    """A turned photograph and the same one saved upright get the same mask, without a tag."""
    shown = slice_of(60, 90)
    tag = Image.Exif()
    tag[0x0112] = 6
    stored = Image.fromarray(np.rot90(shown))
    (tmp_path / "in").mkdir()
    stored.save(tmp_path / "in" / f"turned{suffix}", exif=tag, quality=100)
    write(tmp_path / "in" / "upright.png", shown)
    turned, upright = predict(folder, [tmp_path / "in"], tmp_path / "out", device="cpu")
    assert read(upright.mask).any()
    assert read(turned.mask).shape == (60, 90)
    assert (read(turned.mask) != read(upright.mask)).mean() < 0.01 * (suffix == ".jpg") + 1e-9
    assert read(turned.overlay).shape == (60, 90, 3)
    assert Image.open(turned.mask).getexif().get(0x0112) is None
    assert Segmenter.load(folder, "cpu").predict(tmp_path / "in" / f"turned{suffix}").shape == (60, 90)


def test_white_is_zero_in_sixteen_bits_too(folder: Path, tmp_path: Path) -> None:
    values = slice_of(60, 90).astype(np.uint16) * 16
    tifffile.imwrite(tmp_path / "black.tif", values)
    tifffile.imwrite(tmp_path / "white.tif", 4080 - values, photometric="miniswhite")
    black, white = predict(folder, [tmp_path / "black.tif", tmp_path / "white.tif"], tmp_path / "out", device="cpu")
    assert read(black.mask).any()
    assert np.array_equal(read(black.mask), read(white.mask))


def test_of_a_folder_nothing_is_opened_that_links_take_out_of_it(folder: Path, tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.png", slice_of())
    images = write(tmp_path / "in" / "a.png", slice_of()).parent
    (images / "b.png").symlink_to("a.png")
    assert len(list(predict(folder, [images], tmp_path / "out", device="cpu"))) == 2
    (images / "c.png").symlink_to(secret)
    with pytest.raises(DataError, match=r"c\.png: is, or lies, behind a link that leads out of the folder, .*cp -rL"):
        next(predict(folder, [images], tmp_path / "out", device="cpu"))
    # A file that is named itself is meant.
    assert len(list(predict(folder, [images / "c.png"], tmp_path / "out", device="cpu"))) == 1


def test_a_link_to_itself_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "loop.png").symlink_to("loop.png")
    with pytest.raises(DataError, match=r"loop\.png: cannot be read: Too many levels of symbolic links"):
        list(predict(Bright(), [tmp_path / "in"], tmp_path / "out"))
