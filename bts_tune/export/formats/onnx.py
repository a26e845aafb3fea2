"""An ONNX file, for onnxruntime and for whatever else reads ONNX."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bts_tune.export.formats._portable import INPUT, OUTPUT, Calculate, PortableExport
from bts_tune.export.formats.base import EXPORTS, require
from bts_tune.export.portable import PortableModel

DESCRIPTION = "bts_tune"
"""Which of the model's metadata says what it is."""


@EXPORTS.register("onnx")
class Onnx(PortableExport):
    """`onnxruntime.InferenceSession(FILE).run(None, {"image": images})[0]` are the probabilities."""

    title = "one ONNX file, pre- and postprocessing inside; needs bts-tune[onnx]"
    suffix = ".onnx"
    packages = ("torch", "onnx", "onnxscript", "onnxruntime")

    def __init__(self) -> None:
        require("onnx", "onnxscript", "onnxruntime", extra="onnx")

    def convert(self, model: PortableModel, example: torch.Tensor, description: dict[str, Any], path: Path) -> None:
        """Write the model."""
        free = {0: "n", 2: "height", 3: "width"}
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (example,),
                dynamo=True,
                dynamic_shapes=(free,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
            assert program is not None  # only the exporter that dynamo replaced returns nothing
            program.model.metadata_props[DESCRIPTION] = json.dumps(description)
            program.save(path)

    def load(self, path: Path) -> Calculate:
        """Return the model that was written."""
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

        def calculate(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            found: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images})[0]
            return found

        return calculate
