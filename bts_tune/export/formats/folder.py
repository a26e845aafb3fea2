"""A folder for SMP's `from_pretrained` and for the Hugging Face Hub, with a model card. Nothing is uploaded."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError

from bts_tune.export.context import ExportContext
from bts_tune.export.formats.base import EXPORTS, FileExport
from bts_tune.export.model_card import model_card
from bts_tune.results.record.model_files import CARD, WEIGHTS
from bts_tune.text import first_line

SMP_CONFIG = "config.json"
_ROUNDING = 1e-4
"""Largest difference of two logits, as a share of the largest logit, that is no difference of two networks."""


@EXPORTS.register("folder")
class Folder(FileExport):
    """The weights as they are in the run, and what SMP, the Hub and bts-tune need beside them.

    `config.json` is there where SMP can build the network by itself: where it gives the very same logits.
    """

    title = "a folder for smp.from_pretrained and the Hugging Face Hub, with a model card; nothing is uploaded"

    def write_to(self, context: ExportContext, target: Path) -> Iterable[str]:
        """Write the folder."""
        network = context.segmenter.network
        target.mkdir()
        smp = _write_smp_config(network, target)
        shutil.copyfile(context.model_folder / WEIGHTS, target / WEIGHTS)
        if smp and not _same_as_smp(context, target):
            (target / SMP_CONFIG).unlink()
            smp = False
        card = json.loads((context.model_folder / CARD).read_text(encoding="utf-8"))
        # Where a plugin lay on this computer is nobody else's business.
        card["plugins"] = [{**one, "name": Path(str(one["name"])).name} for one in card.get("plugins", [])]
        (target / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
        (target / "README.md").write_text(model_card(context, smp=smp), encoding="utf-8")
        if smp:
            yield "smp.from_pretrained loads it, and so does bts_tune.load_model; README.md says how."
        else:
            yield (
                f"The decoder {context.segmenter.config.decoder} is not one of SMP's, so bts_tune.load_model loads it "
                "and smp.from_pretrained does not; README.md says how."
            )
        yield "To share it: look up the licences that README.md asks for, then hf upload NAME FOLDER."


def _write_smp_config(network: Any, target: Path) -> bool:
    """Write what SMP builds the network from, and return whether it can; dropout that was added needs none of it."""
    import segmentation_models_pytorch as smp

    if getattr(smp, type(network).__name__, None) is not type(network):
        return False
    try:
        network.save_pretrained(target)
    except SafetensorError as error:  # where the disk is full, for one
        raise OSError(first_line(error).rstrip(".")) from None
    (target / WEIGHTS).unlink()  # those of the run take its place
    return True


def _same_as_smp(context: ExportContext, target: Path) -> bool:
    """Whether SMP alone gives the same logits: a plugin may have changed the network after SMP had built it."""
    import segmentation_models_pytorch as smp

    size, channels = context.segmenter.config.image_size, context.segmenter.config.channels
    images = torch.from_numpy(np.random.default_rng(0).normal(size=(1, channels, size, size))).float()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the Hub's library prints what it does
            loaded = smp.from_pretrained(target).eval()
        with torch.inference_mode():
            theirs, ours = loaded(images), context.segmenter.network(images)
        # Rounding grows with the largest logit, which on noise may be some hundreds.
        return bool((theirs - ours).abs().max() <= _ROUNDING * ours.abs().max().clamp(min=1))
    except Exception:  # whatever a network that is not SMP's makes it stumble on
        return False
