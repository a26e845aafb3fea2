"""Means of probabilities: of one network over flips of an image, and of several networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from bts_tune.augmentation.policies import names_of_steps
from bts_tune.config import AugmentationPart, PreprocessingPart
from bts_tune.errors import RunError
from bts_tune.training.prediction.segmenter import Segmenter

# A probability of 0 or 1 has no logit; float32 holds none between this and them.
_EPS = 1e-7


def views(
    images: torch.Tensor, configs: Sequence[AugmentationPart]
) -> Iterator[tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]]:
    """Yield flips of images, [n, 1, S, S], beginning with the images themselves, each with what takes a map of it back.

    A head is nearly the same mirrored, so every network is shown that. Upside down it looks like nothing that a network
    has seen, unless its own augmentation has flipped images so; then all four flips are shown, as nnU-Net shows the
    mirror images that it trains on. Views that a network was not trained on cost more than the mean gains, so that
    several networks are shown what all of them were trained on.

    Args:
        images: [n, C, S, S].
        configs: how each of the networks was trained.
    """
    upside_down = all("vertical-flip" in names_of_steps(config) for config in configs)
    sides: list[tuple[int, ...]] = [(), (3,), (2,), (2, 3)] if upside_down else [(), (3,)]
    for flipped in sides:

        def back(found: torch.Tensor, flipped: tuple[int, ...] = flipped) -> torch.Tensor:
            return found.flip(flipped)

        yield images.flip(flipped), back


class TestTimeAugmented(Segmenter):
    """A trained network that is shown flips of an image, see `views`; the mean probability is its answer.

    Two or four times the time of the network alone. As in nnU-Net (Isensee et al., Nature Methods 2021), which takes
    the mean over mirror images.
    """

    __test__ = False  # no test, whatever pytest makes of the name

    def __init__(self, segmenter: Segmenter) -> None:
        """Take a segmenter, which may be an ensemble."""
        nn.Module.__init__(self)
        self.inner, self.config, self.epoch = segmenter, segmenter.config, segmenter.epoch

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logit of the mean probability, [n, 1, S, S]; images as for `Segmenter.forward`."""
        members, _ = members_of(self)
        seen = views(images, [member.config.part(AugmentationPart) for member in members])
        return _logit_of_mean([back(torch.sigmoid(self.inner(view).float())) for view, back in seen])


class Ensemble(Segmenter):
    """Several trained networks with one preprocessing; the mean of their probabilities is the answer."""

    def __init__(self, members: Sequence[Segmenter]) -> None:
        """Take at least one segmenter.

        Raises:
            RunError: they do not preprocess images alike.
        """
        nn.Module.__init__(self)
        # How many images they were trained on does not matter here.
        parts = [member.config.part(PreprocessingPart).model_copy(update={"train_share": 1.0}) for member in members]
        if any(part != parts[0] for part in parts):
            raise RunError("the models of an ensemble must have one image_size and one equalization.")
        self._members = nn.ModuleList(members)
        self.config, self.epoch = members[0].config, 0

    @property
    def members(self) -> list[Segmenter]:
        """The segmenters."""
        return [member for member in self._members if isinstance(member, Segmenter)]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logit of the mean probability, [n, 1, S, S]; images as for `Segmenter.forward`."""
        return _logit_of_mean([torch.sigmoid(member(images).float()) for member in self.members])


def load_segmenter(folders: Sequence[Path], device: str = "auto", *, tta: bool = False) -> Segmenter:
    """Return the model of a trial's folder, or the ensemble of those of several, in evaluation mode.

    Args:
        folders: `models/<trial>/` of a run, at least one.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        tta: whether flips of an image are seen too.

    Raises:
        RunError: a model cannot be read, or they do not preprocess images alike.
    """
    members = [Segmenter.load(folder, device) for folder in folders]
    found = members[0] if len(members) == 1 else Ensemble(members)
    found = TestTimeAugmented(found) if tta else found
    found.source = ", ".join([*(member.source for member in members), *(["test-time augmentation"] if tta else [])])
    return found.eval()


def members_of(segmenter: Segmenter) -> tuple[list[Segmenter], bool]:
    """Return the segmenters of one network each that a segmenter is the mean of, and whether over all views."""
    augmented = isinstance(segmenter, TestTimeAugmented)
    inner = segmenter.inner if isinstance(segmenter, TestTimeAugmented) else segmenter
    return (inner.members if isinstance(inner, Ensemble) else [inner]), augmented


def _logit_of_mean(probabilities: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.logit(torch.stack(list(probabilities)).mean(dim=0), eps=_EPS)
