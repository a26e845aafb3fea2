"""An export of one's own: the best model's weights as a NumPy archive, for programs that do without torch.

    bts-tune export RUN --to npz --plugin npz_weights.py
    bts-tune export RUN --to npz --plugin npz_weights.py --output weights.npz --trial unet-b0

An export of files derives from `FileExport`, writes to the path that it is given, and returns what a person should
know of it. The file appears under its name when it is whole, and never in place of another. `--ensemble` and `--tta`
are refused, but where an export says that it `averages`. The classes of `bts_tune.testing.exports` check one:
`class TestNpz(ExportContract): name = "npz"`.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bts_tune.export.formats.base import EXPORTS, ExportContext, FileExport
from bts_tune.text import plural


@EXPORTS.register("npz")
class NpzWeights(FileExport):
    """One array for each tensor of the network, and the numbers that images are standardised with."""

    title = "the weights as a NumPy archive"
    suffix = ".npz"

    def write_to(self, context: ExportContext, target: Path) -> Iterable[str]:
        segmenter = context.segmenter
        arrays = {name: tensor.numpy() for name, tensor in segmenter.network.state_dict().items()}
        with target.open("wb") as file:
            np.savez(file, mean=np.array(segmenter.mean), std=np.array(segmenter.std), **arrays)
        yield f"{plural(len(arrays), 'tensor')} of trial {context.model_folder.name}, epoch {segmenter.epoch}."
