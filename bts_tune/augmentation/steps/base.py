"""What an augmentation step is. To add one, add a file: see `Step`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeAlias

if TYPE_CHECKING:
    import albumentations
    import numpy as np
    import torch

Kind = Literal["geometry", "intensity"]

Transform: TypeAlias = "albumentations.BasicTransform"
"""Not imported here: albumentations takes seconds."""

Pair: TypeAlias = tuple["torch.Tensor", "torch.Tensor"]
"""Images, float32 [n, C, S, S] of C channels, and masks, float32 [n, 1, S, S]."""


class BatchOperation(ABC):
    """A step on a whole batch, on the device that trains.

    Each image has parameters of its own. They are drawn on the CPU by the threads that read batches ahead; `apply` runs
    on the device. It must read nothing back from the device, and no tensor's shape may depend on what was drawn, so
    that the CPU never waits for a GPU.

    Attributes:
        identity: the parameters [m] of an image that the step does not change. With them, `apply` must return the image
            and the mask as they are, to the last bit.
    """

    identity: np.ndarray

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Draw the parameters of `count` images that the step changes, [count, m]."""

    @abstractmethod
    def apply(self, parameters: torch.Tensor, images: torch.Tensor, masks: torch.Tensor) -> Pair:
        """Change images and masks.

        Args:
            parameters: [n, 1, 1, m], on the device.
            images: whole numbers from 0 to 255, float32 [n, C, S, S]; they must be left as they are.
            masks: 0 and 1, float32 [n, 1, S, S]; they must be left as they are.

        Returns:
            New images and masks of the same kind.
        """


@dataclass(frozen=True)
class Step(ABC):
    """One random change of an image and its mask.

    A step is a frozen dataclass. Its first field is its probability, its other fields are its magnitudes: how far the
    change goes at most. It is registered under the name of its file, with hyphens:

        @AUGMENTATION_STEPS.register("ghosting")
        @dataclass(frozen=True)
        class Ghosting(Step): ...

    What it must keep (`bts_tune.testing.augmentation.StepContract` tests it):

    - A uint8 image stays uint8, a mask stays 0 and 1, and both keep their shape. An image may have several channels,
      [S, S, C], more than the four that many functions of OpenCV take; all are moved alike.
    - A step of the kind 'geometry' moves an image and its mask alike; a step of the kind 'intensity' changes grey
      values and leaves the mask alone.
    - It happens to an image with its probability, whatever the other steps do.
    - The same seed gives the same change.

    Attributes:
        name: what it is registered under; `register` sets it.
        kind: 'geometry' or 'intensity'.
        probability: that an image is changed.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]

    probability: float

    @classmethod
    @abstractmethod
    def standard(cls, strength: float, image_size: int) -> Self:
        """Return the step with its standard magnitudes, each multiplied by `strength`.

        A configuration that names the step itself (`medium+noise`) gets it. A policy passes its own magnitudes, for
        which a step may take further keyword arguments; their defaults are the standard magnitudes. Lengths should be
        shares of `image_size`, so that a step means the same at any size.

        Args:
            strength: `augmentation_strength`; above 0 for a step that has magnitudes, which is left out at 0.
            image_size: side of the image in pixels.
        """

    @abstractmethod
    def transform(self) -> Transform:
        """Return the step as an albumentations transform, for one image at a time.

        Import albumentations here, not at the top of the file: it takes seconds. A transform of your own must draw from
        `self.random_generator` or `self.py_random`, which follow the seed.
        """

    def batched(self, image_size: int, generator: torch.Generator) -> BatchOperation | None:
        """Return the step as an operation on a batch, or None if it has no such form.

        The distribution of the changed images must be that of `transform`. If one step of a trial has no batched form,
        all of its steps are applied image by image, on a GPU too.

        Args:
            image_size: side of the images in pixels.
            generator: for what is drawn for every pixel, on the device of the images.
        """
        return None
