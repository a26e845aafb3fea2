"""What the exports of a model in one file share: any number of images of any size in, probabilities out."""

from __future__ import annotations

import json
import platform
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from bts_tune.config import AugmentationPart, PreprocessingPart
from bts_tune.errors import RunError
from bts_tune.export.context import ExportContext
from bts_tune.export.formats.base import FileExport
from bts_tune.export.parity import check_parity
from bts_tune.export.portable import PortableModel
from bts_tune.results.warnings import demo_sentence
from bts_tune.text import first_line
from bts_tune.training.measure import THRESHOLD
from bts_tune.training.prediction.ensemble import members_of, views

INPUT, OUTPUT = "image", "probability"

VERSION = 2
"""Of the JSON file beside a model."""

_EQUALIZATION = {
    "none": "none",
    "histogram": "inside the model",
    "clahe": "before the model: cv2.createCLAHE(2.0, (8, 8)).apply(image), at the image's own size{each}",
}

Calculate = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Images uint8 [n, C, H, W] of C channels to probabilities float32 [n, 1, H, W]."""


class PortableExport(FileExport):
    """One file with the network, what stands before it and what stands behind it; beside it what it is, as JSON."""

    averages = True
    packages: ClassVar[tuple[str, ...]] = ("torch",)

    @abstractmethod
    def convert(self, model: PortableModel, example: torch.Tensor, description: dict[str, Any], path: Path) -> None:
        """Write the model; the number of images, their height and their width are free."""

    @abstractmethod
    def load(self, path: Path) -> Calculate:
        """Return the model that was written, to be checked."""

    def write_to(self, context: ExportContext, target: Path) -> Iterable[str]:
        """Write the file, check it and write what was found beside it."""
        model = PortableModel(context.segmenter)
        description = self.describe(context)
        # Sizes that differ from one another and from the network's, so that the exporter takes none for another.
        size = context.segmenter.config.image_size
        channels = context.segmenter.config.channels
        example = torch.zeros(2, channels, size + 3, size + 5, dtype=torch.uint8)
        try:
            self.convert(model, example, description, target)
        except OSError:
            raise
        except Exception as error:  # whatever an exporter stumbles on in a network; PyTorch's have errors of many kinds
            config = context.segmenter.config
            raise RunError(
                f"--to {self.name}: cannot write decoder {config.decoder!r} on encoder {config.encoder!r}: "
                f"{first_line(error)}"
            ) from None
        parity = check_parity(context, self.load(target), equalizes=model.equalizes)
        text = json.dumps({**description, "checked": asdict(parity)}, indent=2, ensure_ascii=False)
        target.with_name(f"{target.name}.json").write_text(text + "\n", encoding="utf-8")
        yield parity.sentence()
        if context.segmenter.config.equalization == "clahe":
            yield f"CLAHE is not in the file; it is done {description['input']['equalization']}."
        yield f"What goes in and comes out, and how it was checked: {target.name}.json"

    def describe(self, context: ExportContext) -> dict[str, Any]:
        """Return what a user of the file must know, as JSON has it."""
        segmenter = context.segmenter
        members, augmented = members_of(segmenter)
        trained = [member.config.part(AugmentationPart) for member in members]
        count = len(list(views(torch.zeros(1, 1, 2, 2), trained))) if augmented else 1
        preprocessing = segmenter.config.part(PreprocessingPart)
        channels = preprocessing.channels
        order = "in the order of the files" + " (red, green, blue)" * (channels == 3)
        kind = "grey" if channels == 1 else f"{channels} channels, {order}"
        each = "" if channels == 1 else ", each channel by itself"
        return {
            "version": VERSION,
            "format": self.name,
            "run": context.run_name,
            "trials": [folder.name for folder in context.model_folders],
            "epochs": [member.epoch for member in members],
            "averaged_inside": f"probabilities of {len(members)} networks, {count} view{'s' if count > 1 else ''} each",
            "input": {
                "name": INPUT,
                "type": "uint8",
                "shape": ["n", channels, "height", "width"],
                "values": f"{kind}, 0 to 255, of any height and width; images of more bits are scaled to that",
                "equalization": _EQUALIZATION[preprocessing.equalization].format(each=each),
                "resized_inside_to": preprocessing.image_size,
                "standardised_inside_with": [{"mean": member.mean, "std": member.std} for member in members],
            },
            "output": {
                "name": OUTPUT,
                "type": "float32",
                "shape": ["n", 1, "height", "width"],
                "values": "the tumour's probability, of the image's own size",
                "threshold": THRESHOLD,
            },
            "config": segmenter.config.to_dict(),
            "limits": " ".join(filter(None, (demo_sentence(context.run), "Not for diagnosis."))),
            "versions": {
                "python": platform.python_version(),
                **{name: import_module(name).__version__ for name in self.packages},
            },
        }
