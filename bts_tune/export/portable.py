"""A trained network with what stands before and behind it, in torch alone, so that it can leave this program whole.

An image of any size goes in and its probability map of the same size comes out, as `Segmenter.probability` has it:
equalised, resized, standardised, segmented, resized back. OpenCV does the resizing there. Here it is done by products
with matrices whose sizes follow from the image, which every exporter can carry. They have OpenCV's values:
the same ones where a side is enlarged, otherwise up to rounding of sums, which is one grey level in a few pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from bts_tune.config import AugmentationPart, PreprocessingPart
from bts_tune.data.prepared.prepare import Level
from bts_tune.training.prediction.ensemble import members_of, views
from bts_tune.training.prediction.segmenter import Segmenter

_GREY_VALUES = 256


class PortableModel(nn.Module):
    """The networks of a segmenter with its preprocessing, on the CPU in float32 and in evaluation mode.

    Of an ensemble and of test-time augmentation it gives the mean probability, as `Segmenter` does.

    CLAHE is left to whoever calls it: its tiles and their interpolation are OpenCV's own.

    Attributes:
        equalizes: whether the image is equalised inside; if not and the configuration has an equalisation, the caller
            does it.
    """

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        preprocessing = segmenter.config.part(PreprocessingPart)
        members, self._augmented = members_of(segmenter)
        self.networks = nn.ModuleList(member.network for member in members)
        self.equalizes = preprocessing.equalization == "histogram"
        self._size, self._channels = preprocessing.image_size, preprocessing.channels
        self._augmentations = [member.config.part(AugmentationPart) for member in members]
        self._standards = [(_of_channels(member.mean), _of_channels(member.std)) for member in members]
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the tumour probability of each pixel, float32 [n, 1, H, W].

        Args:
            image: values from 0 to 255, uint8 [n, C, H, W] of C channels; equalised already where `equalizes` is not
                enough.
        """
        height, width = image.shape[2], image.shape[3]
        if self.equalizes:
            image = equalize_histogram(image) if self._channels == 1 else _each_channel(equalize_histogram, image)
        prepared = resize_by_area(image.float(), self._size)
        probability = self._over_views(prepared) if self._augmented else self._mean_probability(prepared)
        rows, columns = _linear(self._size, height), _linear(self._size, width)
        return rows @ probability @ columns.T

    def _over_views(self, prepared: torch.Tensor) -> torch.Tensor:
        seen, back = zip(*views(prepared, self._augmentations), strict=True)
        # All views as one batch: the program that is exported then holds each network once.
        found = self._mean_probability(torch.cat(seen)).unflatten(0, (len(seen), -1))
        return torch.stack([turn(one) for turn, one in zip(back, found, strict=True)]).mean(dim=0)

    def _mean_probability(self, prepared: torch.Tensor) -> torch.Tensor:
        found = [
            torch.sigmoid(network((prepared - mean) / std).float())
            for network, (mean, std) in zip(self.networks, self._standards, strict=True)
        ]
        return torch.stack(found).mean(dim=0)


def _each_channel(function: Callable[[torch.Tensor], torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    return torch.cat([function(channel) for channel in image.split(1, dim=1)], dim=1)


def _of_channels(level: Level) -> float | torch.Tensor:
    return torch.tensor(level)[:, None, None] if isinstance(level, tuple) else level


def equalize_histogram(image: torch.Tensor) -> torch.Tensor:
    """Return images with their histogram equalised as `cv2.equalizeHist` does, uint8 [n, 1, H, W], each by itself."""
    values = image.flatten(1).long()
    counts = torch.zeros(image.shape[0], _GREY_VALUES).scatter_add(1, values, torch.ones(values.shape))
    total = counts.sum(1, keepdim=True)
    lowest = counts.gather(1, (counts > 0).float().argmax(1, keepdim=True))
    # The lowest value becomes 0 and the highest 255. By a tensor, because torch takes the reciprocal below a number.
    scale = torch.full_like(total, _GREY_VALUES - 1) / (total - lowest).clamp(min=1)
    table = ((counts.cumsum(1) - lowest).clamp(min=0) * scale).round().clamp(max=_GREY_VALUES - 1)
    unchanged = torch.arange(_GREY_VALUES, dtype=torch.float32).unsqueeze(0)
    table = torch.where(total == lowest, unchanged, table)  # an image of one value stays as it is
    return table.gather(1, values).to(torch.uint8).reshape(image.shape)


def resize_by_area(image: torch.Tensor, size: int) -> torch.Tensor:
    """Return float32 images of whole numbers, [n, C, H, W], as `cv2.resize` with `INTER_AREA` makes them [n, C, S, S].

    OpenCV averages over areas where neither side is enlarged, and otherwise interpolates along both.
    """
    height, width = image.shape[2], image.shape[3]
    sides = torch.stack([torch.full((), height), torch.full((), width)])
    # OpenCV rounds halves up where four pixels become one, and elsewhere to the even number.
    halves_up = 0.1 * (sides == 2 * size).all()
    averaged = (_area(height, size) @ image @ _area(width, size).T + halves_up).round()
    return torch.where((sides >= size).all(), averaged, _interpolated(image, size))


def _interpolated(image: torch.Tensor, size: int) -> torch.Tensor:
    """Return what OpenCV's `INTER_AREA` makes of images where a side is enlarged: of two pixels along each side.

    OpenCV computes in whole numbers and drops what is behind the point in between; so is it here, in floats that hold
    all of these numbers.
    """
    top, upper, bottom, lower = _pairs(image.shape[2], size)
    left, before, right, after = _pairs(image.shape[3], size)
    along = image @ (before * left + after * right).float().T
    along = (along / 2**4).floor()
    from_top = (upper * (top.float() @ along).double() / 2**16).floor()
    from_bottom = (lower * (bottom.float() @ along).double() / 2**16).floor()
    return ((from_top + from_bottom + 2) / 2**2).floor().float()


def _area(old: int, new: int) -> torch.Tensor:
    """Return the matrix [new, old] that averages over what each new pixel covers."""
    scale, old_pixels, new_pixels = _grid(old, new)
    overlap = torch.minimum((new_pixels + 1) * scale, old_pixels + 1) - torch.maximum(new_pixels * scale, old_pixels)
    return (overlap.clamp(min=0) / scale).float()


def _pairs(old: int, new: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return which old pixels a new one lies between, as matrices [new, old] of 0 and 1, and in how many 2048ths.

    First the one before and its weight [new, 1], then the one behind and its weight; float64.
    """
    scale, old_pixels, new_pixels = _grid(old, new)
    first = (new_pixels * scale).floor().clamp(max=old - 1)
    share = ((new_pixels + 1) - (first + 1) * (1 / scale)).float()
    share = torch.where((share <= 0) | (first >= old - 1), torch.zeros_like(share), share - share.floor())
    second = (first + 1).clamp(max=old - 1)
    weights = ((1 - share) * 2**11).round().double(), (share * 2**11).round().double()
    return (old_pixels == first).double(), weights[0], (old_pixels == second).double(), weights[1]


def _linear(old: int, new: int) -> torch.Tensor:
    """Return the matrix [new, old] of linear interpolation between the centres of pixels."""
    scale, old_pixels, new_pixels = _grid(old, new)
    place = ((new_pixels + 0.5) * scale - 0.5).clamp(0, old - 1)
    return (1 - (place - old_pixels).abs()).clamp(min=0).float()


def _grid(old: int, new: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return how many old pixels a new one is, the old pixels as a row, and the new ones as a column.

    In float64, as OpenCV has them: where the edges of pixels meet, a hair decides which pixel is taken.
    """
    scale = 1 / (torch.full((), new, dtype=torch.float64) / torch.full((), old, dtype=torch.float64))
    old_pixels = torch.arange(old, dtype=torch.float64).unsqueeze(0)
    new_pixels = torch.arange(new, dtype=torch.float64).unsqueeze(1)
    return scale, old_pixels, new_pixels
