"""A `.pt2` file of torch.export: the model as a program that torch alone runs, without the code that built it.

TorchScript, which used to do this, is deprecated in PyTorch.
"""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bts_tune.export.formats._portable import Calculate, PortableExport
from bts_tune.export.formats.base import EXPORTS
from bts_tune.export.portable import PortableModel

DESCRIPTION = "description.json"
"""Where the file keeps what it is, for `torch.export.load(..., extra_files=...)`."""


@EXPORTS.register("torch-export")
class TorchExport(PortableExport):
    """`torch.export.load(FILE).module()` is the model."""

    title = "one .pt2 file that torch.export.load reads, pre- and postprocessing inside; follows TorchScript"
    suffix = ".pt2"

    def convert(self, model: PortableModel, example: torch.Tensor, description: dict[str, Any], path: Path) -> None:
        """Write the model."""
        free = torch.export.Dim.DYNAMIC
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, (example,), dynamic_shapes=({0: free, 2: free, 3: free},))
            # Into memory, since PyTorch ends the process where a disk is full.
            content = io.BytesIO()
            torch.export.save(program, content, extra_files={DESCRIPTION: json.dumps(description)})
        path.write_bytes(content.getbuffer())

    def load(self, path: Path) -> Calculate:
        """Return the model that was written."""
        module = torch.export.load(path).module()

        def calculate(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.no_grad():
                found: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
            return found

        return calculate
