"""A trained model with its preprocessing: images of any size in, probabilities and masks of the same size out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bts_tune.config import PreprocessingPart, TrialConfig
from bts_tune.data.prepared.images import preprocess, read_image, to_channels
from bts_tune.data.volumes.dicom_files import is_dicom
from bts_tune.data.volumes.nifti import is_nifti
from bts_tune.errors import DataError
from bts_tune.models.build import to_device
from bts_tune.paths import user_path
from bts_tune.text import quoted
from bts_tune.training.checkpoint import SavedModel, load_model
from bts_tune.training.device import MixedPrecision, resolve_device
from bts_tune.training.loader import channels_first, standardize
from bts_tune.training.prediction.postprocessing import Postprocessing

Image = NDArray[np.generic] | Path | str
"""An image as it is stored: its pixels, or its file."""


class Segmenter(nn.Module):
    """A trained network that takes images as they are stored.

    An image is made grey, or of the channels that the network has, equalised and resized as the training images were.
    The probability map is resized back to the image's own size before it is cut at the threshold.

    Attributes:
        postprocessing: what makes masks of probabilities; a threshold of 0.5 unless another is set.
        network: the network, in evaluation mode.
        config: the configuration that it was trained with.
        epoch: the epoch that the weights are from.
        mean: of the training split's pixels, which images are standardised with; in 0..255; of several channels one
            each.
        std: their standard deviation.
        source: where it was loaded from, in words, for the table of predictions.
    """

    postprocessing = Postprocessing()
    source = ""

    def __init__(self, saved: SavedModel, device: str = "auto") -> None:
        """Take a saved model to a device: 'auto', 'cpu', 'cuda' or 'cuda:N'."""
        super().__init__()
        self._arithmetic = MixedPrecision.for_inference(
            resolve_device(device), saved.config.precision, saved.cpu_precision
        )
        self.network = to_device(saved.model, self._arithmetic.device).eval()
        self.config: TrialConfig = saved.config
        self.epoch = saved.epoch
        self.mean, self.std = saved.mean, saved.std

    @classmethod
    def load(cls, folder: Path, device: str = "auto") -> Segmenter:
        """Return the model in a trial's folder, `models/<trial>/` of a run.

        Raises:
            RunError: it cannot be read.
        """
        found = cls(load_model(folder), device)
        found.source = str(folder)
        return found

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, [n, 1, S, S].

        Args:
            images: prepared values from 0 to 255, of any dtype, [n, C, S, S] with S as in `config.image_size` and C as
                in `config.channels`.
        """
        batch = standardize(images.to(self._arithmetic.device), self.mean, self.std)
        with self._arithmetic.autocast():
            logits: torch.Tensor = self.network(batch)
        return logits

    def prepared_probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the tumour probability of each pixel, [n, S, S], of prepared images, uint8 [n, S, S].

        Images of several channels are [n, S, S, C].
        """
        with torch.inference_mode():
            logits = self(channels_first(images))
        return torch.sigmoid(logits.float()).squeeze(1).cpu().numpy()

    def probability(self, image: Image) -> NDArray[np.float32]:
        """Return the tumour probability of each pixel, float32 [H, W].

        Args:
            image: grey [H, W], RGB [H, W, 3], RGBA [H, W, 4] or of the network's channels [H, W, C], of 8 or 16 bits or
                floats, or an image file. Anything but 8 bits is scaled by its own smallest and largest value.

        Raises:
            DataError: the image cannot be read or used.
        """
        return self.probability_batch([image])[0]

    def predict(self, image: Image) -> NDArray[np.uint8]:
        """Return the predicted tumour, uint8 0 and 1, [H, W]; arguments as for `probability`."""
        return self.predict_batch([image])[0]

    def probability_batch(self, images: Iterable[Image]) -> list[NDArray[np.float32]]:
        """Return what `probability` does for images, of any sizes, that go through the network together."""
        if isinstance(images, str | Path) or not isinstance(images, Iterable):
            raise DataError(f"images: must be several images, got {quoted(images)}; predict takes one.")
        listed = list(images)
        if not listed:
            return []
        part = self.config.part(PreprocessingPart)
        channels = self.config.channels
        read = [
            _of_file(user_path(image, "image", recorded=False), channels)
            if isinstance(image, str | Path)
            else _channels(np.asarray(image), channels)
            for image in listed
        ]
        found = self.prepared_probabilities(np.stack([preprocess(one, part) for one in read]))
        return [
            cv2.resize(probability, one.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            for probability, one in zip(found, read, strict=True)
        ]

    def predict_batch(self, images: Iterable[Image]) -> list[NDArray[np.uint8]]:
        """Return what `predict` does for images, of any sizes, that go through the network together."""
        return [self.postprocessing.mask(one) for one in self.probability_batch(images)]


def _of_file(file: Path, channels: int) -> NDArray[np.uint8]:
    if is_nifti(file) or is_dicom(file):
        raise DataError(
            f"{file}: is a NIfTI or DICOM file, and a model's predict takes images; Run.predict(FILES, OUT) and "
            "'bts-tune predict' segment volumes."
        )
    return read_image(file, channels)


def _channels(pixels: NDArray[np.generic], channels: int) -> NDArray[np.uint8]:
    allowed = sorted({1, 3, 4, channels})
    if pixels.ndim != 2 and not (pixels.ndim == 3 and pixels.shape[2] in allowed):
        listed = f"{', '.join(map(str, allowed[:-1]))} or {allowed[-1]}"
        raise DataError(f"image: has the shape {pixels.shape}; allowed are [H, W] and [H, W, C] with C {listed}.")
    if pixels.dtype.kind not in "buif":
        raise DataError(f"image: holds {pixels.dtype}; an image holds integers, booleans or real numbers.")
    if not pixels.size:
        raise DataError(f"image: has {pixels.shape[1]} x {pixels.shape[0]} pixels; an image needs at least one.")
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        # The files' reader has colours as OpenCV does, blue first.
        pixels = np.ascontiguousarray(pixels[:, :, [2, 1, 0, *range(3, pixels.shape[2])]])
    single = pixels.ndim == 3 and pixels.shape[2] == 1
    return to_channels(pixels.squeeze(-1) if single else pixels, channels, "image")
