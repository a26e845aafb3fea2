"""Images of several channels, such as MRI sequences stored as red, green and blue: from the files to the masks."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import tifffile
import torch
from safetensors.torch import save_file

from bts_tune.augmentation import policies
from bts_tune.augmentation.batch_wise import BatchAugmenter
from bts_tune.augmentation.image_wise import Augmenter
from bts_tune.config import AugmentationPart, PreprocessingPart
from bts_tune.data.checks.check import check_dataset
from bts_tune.data.open import open_dataset
from bts_tune.data.prepared.decoding import decode
from bts_tune.data.prepared.images import preprocess, read_image, to_channels
from bts_tune.data.prepared.prepare import PreparedData, prepare
from bts_tune.errors import DataError
from bts_tune.export.portable import PortableModel
from bts_tune.models.weights import load_encoder, resolve_weights
from bts_tune.registry import AUGMENTATION_STEPS
from bts_tune.training.evaluation import evaluate_model
from bts_tune.training.loader import BatchLoader
from bts_tune.training.prediction.predict import predict
from bts_tune.training.prediction.segmenter import Segmenter
from tests.training.builders import model_of, tiny, trained

SIDE = 32


def sequences(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a slice [32, 32, 3], whose tumour shows in the second of three sequences alone, and its mask."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    row, column = rng.uniform(0.3, 0.7, 2) * SIDE
    mask = (y - row) ** 2 + (x - column) ** 2 < (rng.uniform(0.15, 0.28) * SIDE) ** 2
    levels = np.array([60, 80, 150]) + rng.normal(0, (30, 8, 30), (SIDE, SIDE, 3))
    levels[..., 1] += 90 * mask
    return levels.clip(0, 255).astype(np.uint8), mask.astype(np.uint8)


def read(path: Path, how: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    pixels = cv2.imread(str(path), how)
    assert pixels is not None
    return pixels


def write(root: Path, counts: dict[str, int]) -> Path:
    """Write folders of such slices as RGB images."""
    for place, (split, count) in enumerate(counts.items()):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            image, mask = sequences(100 * place + index)
            cv2.imwrite(str(root / split / "images" / f"s{index}.png"), image[..., ::-1])
            cv2.imwrite(str(root / split / "masks" / f"s{index}.png"), mask * 255)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("sequences"), {"train": 12, "valid": 4, "test": 4})


@pytest.fixture(scope="module")
def data(root: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    part = PreprocessingPart(image_size=SIDE, equalization="none", channels=3)
    return prepare(open_dataset(root), part, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def folder(data: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    config = tiny(epochs=12, batch_size=2, batch_norm_momentum=0.2, equalization="none", channels=3)
    trained(config, data, folder)
    return folder


# --- files ---


def test_sequences_in_one_file_stay_when_asked_for_and_are_grey_otherwise(root: Path) -> None:
    file = root / "train" / "images" / "s0.png"
    assert np.array_equal(read_image(file, 3), sequences(0)[0])
    assert np.array_equal(read_image(file), cv2.cvtColor(read(file), cv2.COLOR_BGR2GRAY))


def test_equal_channels_and_grey_images_are_repeated() -> None:
    grey = sequences(0)[0][..., 1]
    for pixels in (grey, np.dstack([grey] * 3), np.dstack([grey] * 3 + [np.full_like(grey, 255)])):
        for channels in (2, 3, 5):
            assert np.array_equal(to_channels(pixels, channels, "a"), np.dstack([grey] * channels))
        assert np.array_equal(to_channels(pixels, 1, "a"), grey)


def test_a_fourth_channel_is_transparency_beside_three_and_its_own_beside_four() -> None:
    image, mask = sequences(0)
    pixels = np.dstack([image[..., ::-1], mask * np.uint8(255)])
    assert np.array_equal(to_channels(pixels, 4, "a"), np.dstack([image, mask * 255]))
    assert np.array_equal(to_channels(pixels, 3, "a"), image * mask[..., None])


@pytest.mark.parametrize("channels", [2, 5, 7])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiffs_of_any_channels_are_read_each_scaled_by_itself(channels: int, kind: str, planar: str) -> None:
    planes = np.stack([sequences(seed)[0][..., 0] for seed in range(channels)], axis=2)
    planes[0, 0], planes[0, 1] = 0, 255
    stored = (planes * (np.arange(channels) + 1.0)).astype(kind) if kind != "uint8" else planes
    file = io.BytesIO()
    given = np.moveaxis(stored, 2, 0) if planar == "separate" else stored
    tifffile.imwrite(file, given, photometric="minisblack", planarconfig=planar, compression="zlib")
    pixels = decode(file.getvalue(), "a", many=True)
    assert np.array_equal(pixels, stored)
    assert np.abs(to_channels(pixels, channels, "a").astype(int) - planes).max() <= 1
    with pytest.raises(DataError, match=f"a: has {channels} channels; with channels: 3, an image has 3, or is grey"):
        to_channels(pixels, 3, "a")


@pytest.mark.parametrize("channels", [2, 5])
def test_arrays_of_any_channels_are_read(tmp_path: Path, channels: int) -> None:
    planes = np.stack([sequences(seed)[0][..., 0] for seed in range(channels)], axis=2)
    for number, array in enumerate((planes, np.moveaxis(planes, 2, 0))):
        np.save(tmp_path / f"{number}.npy", array)
        assert np.array_equal(read_image(tmp_path / f"{number}.npy", channels), planes)
        with pytest.raises(DataError, match="3 or 4 channels"):
            read_image(tmp_path / f"{number}.npy")


def test_each_channel_is_equalised_and_resized_by_itself() -> None:
    image, _ = sequences(0)
    part = PreprocessingPart(image_size=64, equalization="histogram", channels=3)
    found = preprocess(image, part)
    assert found.shape == (64, 64, 3)
    for channel in range(3):
        assert np.array_equal(found[..., channel], preprocess(np.ascontiguousarray(image[..., channel]), part))


# --- the check ---


def test_the_check_says_what_becomes_of_channels(root: Path, tmp_path: Path) -> None:
    dataset = open_dataset(root)
    (lost,) = (one for one in check_dataset(dataset).warnings if one.code == "converted-to-grey")
    assert lost.message == (
        "the channels of 20 of 20 images differ, as those of several MRI sequences in one file do; they are converted "
        "to grey, and channels: 3 keeps them apart."
    )
    assert not [one for one in check_dataset(dataset, channels=[3]).issues if "grey" in one.code]
    (wrong,) = check_dataset(dataset, channels=[1, 5]).errors
    assert wrong.message == ("has 3 channels; with channels: 5, an image has 5, or is grey; so 20 of 20 images.")
    grey = write(tmp_path / "grey", {"train": 4, "valid": 2})
    for file in grey.rglob("images/*.png"):
        cv2.imwrite(str(file), read(file, cv2.IMREAD_GRAYSCALE))
    (same,) = (one for one in check_dataset(open_dataset(grey), channels=[3]).warnings if "grey" in one.code)
    assert same.message == "all images are grey; with channels: 3 each channel holds the same."


def test_images_of_channels_that_are_no_colours_must_be_asked_for(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"train": 4, "valid": 2})
    for file in root.rglob("images/*.png"):
        pixels = read(file)
        np.save(file.with_suffix(".npy"), np.dstack([pixels, pixels[..., :2]]))
        file.unlink()
    (error,) = check_dataset(open_dataset(root)).errors
    assert (error.code, error.message.split(";")[0]) == ("channels", "has 5 channels")
    assert check_dataset(open_dataset(root), channels=[5]).errors == ()
    prepared = prepare(open_dataset(root), PreprocessingPart(image_size=32, channels=5), cache=tmp_path / "cache")
    assert prepared.train.images.shape == (4, 32, 32, 5)
    with pytest.raises(DataError, match="3 or 4 channels"):
        prepare(open_dataset(root), PreprocessingPart(image_size=32), cache=tmp_path / "cache")


# --- batches and networks ---


def test_channels_are_standardised_one_by_one(data: PreparedData) -> None:
    images = data.train.images
    assert images.shape == (12, SIDE, SIDE, 3)
    assert data.mean == pytest.approx(images.reshape(-1, 3).mean(axis=0))
    assert data.std == pytest.approx(images.reshape(-1, 3).std(axis=0))
    loader = BatchLoader(data, tiny(channels=3, batch_size=12), torch.device("cpu"))
    try:
        ((batch, masks),) = loader.training(1)
    finally:
        loader.close()
    assert (batch.shape, masks.shape) == ((12, 3, SIDE, SIDE), (12, 1, SIDE, SIDE))
    assert batch.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert batch.std(dim=(0, 2, 3), unbiased=False).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_pretrained_weights_are_adapted_as_smp_does(tmp_path: Path, channels: int) -> None:
    torch.manual_seed(1)
    whole = smp.encoders.get_encoder("resnet18", in_channels=3, weights=None)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    encoder = model_of(encoder="resnet18", channels=channels).encoder
    load_encoder(encoder, resolve_weights("resnet18", str(tmp_path / "w.safetensors")))
    whole.set_in_channels(channels, pretrained=True) if channels != 3 else None
    for name, tensor in whole.state_dict().items():
        assert torch.equal(encoder.state_dict()[name], tensor), name


@pytest.mark.parametrize("channels", [3, 5])
@pytest.mark.parametrize("name", AUGMENTATION_STEPS.names())
def test_augmentation_steps_take_channels_and_move_them_alike(name: str, channels: int) -> None:
    step = replace(AUGMENTATION_STEPS.get(name).standard(1.0, SIDE), probability=1.0)
    plane, mask = sequences(0)[0][..., 1], sequences(0)[1]
    image = np.dstack([plane] * channels)
    changed, moved = Augmenter([step])(image, mask, 7)
    assert (changed.shape, moved.shape) == (image.shape, mask.shape)
    assert changed.dtype == np.uint8
    if step.kind == "geometry":
        assert all(np.array_equal(changed[..., 0], changed[..., other]) for other in range(channels))
    batch = BatchAugmenter.of([step], SIDE, torch.device("cpu"))
    if batch is None:
        return
    images = torch.from_numpy(image).permute(2, 0, 1).expand(4, channels, SIDE, SIDE)
    masks = torch.from_numpy(mask).expand(4, 1, SIDE, SIDE)
    found, moved_masks = batch(images, masks, batch.draw(4, 7), 7)
    assert (found.shape, moved_masks.shape) == (images.shape, masks.shape)
    if name != "noise":
        one, of_one = batch(images[:, :1], masks, batch.draw(4, 7), 7)
        assert torch.equal(of_one, moved_masks)
        assert all(torch.allclose(found[:, other], one[:, 0], atol=1) for other in range(channels))


@pytest.mark.parametrize("policy", ["light", "medium", "strong"])
def test_policies_train_on_channels(policy: str, data: PreparedData) -> None:
    config = tiny(channels=3, augmentation=policy, batch_size=4, equalization="none")
    assert policies.steps(config.part(AugmentationPart), SIDE)
    for batches in (False, True):
        loader = BatchLoader(data, config, torch.device("cpu"), augment_batches=batches)
        try:
            assert {batch.shape for batch, _ in loader.training(1)} == {(4, 3, SIDE, SIDE)}
        finally:
            loader.close()


@pytest.mark.parametrize("freeze", [{"freeze": "stages", "freeze_stages": 2}, {"freeze": "all"}])
def test_encoders_freeze_with_channels(freeze: dict[str, object], data: PreparedData) -> None:
    assert len(trained(tiny(epochs=1, channels=3, equalization="none", **freeze), data)) == 1


# --- what a model is used for ---


def test_a_model_learns_from_the_sequence_that_shows_the_tumour(folder: Path, root: Path, tmp_path: Path) -> None:
    (found,) = predict(folder, [root / "test" / "images" / "s0.png"], tmp_path / "out", device="cpu")
    mask = read(found.mask) == 255
    truth = sequences(200)[1] == 1
    assert (mask & truth).sum() / (mask | truth).sum() > 0.6
    assert read(found.overlay).shape == (SIDE, SIDE, 3)


def test_files_and_arrays_give_the_same(folder: Path, root: Path) -> None:
    segmenter = Segmenter.load(folder, "cpu")
    file = root / "test" / "images" / "s1.png"
    assert np.array_equal(segmenter.probability(file), segmenter.probability(sequences(201)[0]))
    with pytest.raises(DataError, match=r"image: has the shape .*; allowed are .* with C 1, 3 or 4"):
        segmenter.probability(np.zeros((8, 8, 2), np.uint8))


def test_what_is_kept_of_an_evaluation_can_be_looked_at(folder: Path, data: PreparedData) -> None:
    evaluated = evaluate_model(folder, data, device="cpu")
    with np.load(io.BytesIO(evaluated.samples)) as samples:
        assert samples["images"].shape[1:] == (SIDE, SIDE)
        assert samples["images"].dtype == np.uint8
    assert evaluated.scores.splits["test"].brightness.shape == (4,)


@pytest.mark.parametrize("equalization", ["none", "histogram"])
def test_a_portable_model_has_the_same_channels(data: PreparedData, tmp_path: Path, equalization: str) -> None:
    trained(tiny(epochs=1, channels=3, equalization=equalization), data, tmp_path)
    segmenter = Segmenter.load(tmp_path, "cpu")
    image = np.dstack([np.kron(sequences(3)[0][..., channel], np.ones((2, 3), np.uint8)) for channel in range(3)])
    with torch.no_grad():
        found = PortableModel(segmenter)(torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0))
    assert found.shape == (1, 1, 64, 96)
    np.testing.assert_allclose(found[0, 0].numpy(), segmenter.probability(image), atol=1e-3)
