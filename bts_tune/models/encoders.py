"""Encoders by name: SMP's own, and timm's under 'tu-' names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bts_tune.errors import ConfigError
from bts_tune.text import first_line, nearest

if TYPE_CHECKING:
    from torch import nn

NO_ENCODER = "none"
"""Stands for the encoder of a decoder that has none."""


@dataclass(frozen=True)
class EncoderFacts:
    """What is to be known of an encoder before it is used.

    Attributes:
        parameters: of the encoder alone, with one input channel, in millions.
        licence: of its pretrained weights.
        source: where those come from.
    """

    parameters: float
    licence: str
    source: str


FACTS: Mapping[str, EncoderFacts] = {
    "efficientnet-b0": EncoderFacts(
        4.01,
        "Apache-2.0 where they are from; smp-hub says 'other'",
        "smp-hub/efficientnet-b0.imagenet, EfficientNet-PyTorch",
    ),
    "efficientnet-b5": EncoderFacts(
        28.34,
        "Apache-2.0 where they are from; smp-hub says 'other'",
        "smp-hub/efficientnet-b5.imagenet, EfficientNet-PyTorch",
    ),
    "resnet34": EncoderFacts(
        21.28, "BSD-3-Clause where they are from; smp-hub says 'other'", "smp-hub/resnet34.imagenet, torchvision"
    ),
    "tu-tf_efficientnet_lite0": EncoderFacts(
        2.96, "Apache-2.0", "timm/tf_efficientnet_lite0.in1k, or the extra bts-tune[offline-weights]"
    ),
    "tu-tf_efficientnet_lite2": EncoderFacts(
        4.36, "Apache-2.0", "timm/tf_efficientnet_lite2.in1k, or the extra bts-tune[offline-weights]"
    ),
    "tu-mobilenetv4_conv_medium": EncoderFacts(7.20, "Apache-2.0", "timm/mobilenetv4_conv_medium.e500_r256_in1k"),
    "tu-convnext_tiny": EncoderFacts(27.82, "Apache-2.0", "timm/convnext_tiny.in12k_ft_in1k"),
    "tu-convnext_tiny.dinov3_lvd1689m": EncoderFacts(
        27.82, "DINOv3 License: Meta's own, with conditions", "timm/convnext_tiny.dinov3_lvd1689m"
    ),
}
"""The encoders that the shipped spaces offer."""


def check_encoder(name: str) -> None:
    """Raise a `ConfigError` that names the nearest encoders where there is none of this name."""
    if name == NO_ENCODER:
        return
    import segmentation_models_pytorch as smp
    import timm

    # SMP maps most of its old 'timm-' names to others itself; it says so where it does not.
    if name in smp.encoders.encoders or name.startswith("timm-"):
        return
    if name.startswith("tu-") and timm.is_model(name.removeprefix("tu-")):
        return
    known = [*smp.encoders.encoders, *(f"tu-{model}" for model in timm.list_models())]
    raise ConfigError(
        f"encoder: unknown encoder {name!r}.{nearest(name, known)} Allowed are SMP's and, as 'tu-<name>', timm's."
    )


def build_encoder(name: str) -> nn.Module:
    """Build an encoder alone: random weights, one input channel, all of its stages.

    Raises:
        ConfigError: there is no such encoder, or SMP has no use for it.
    """
    import segmentation_models_pytorch as smp

    check_encoder(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return smp.encoders.get_encoder(name, in_channels=1)
        except Exception as error:
            try:  # plain vision transformers fit DPT alone
                return smp.create_model("dpt", name, encoder_weights=None, in_channels=1).encoder
            except Exception:
                raise ConfigError(f"encoder {name!r} cannot be built: {first_line(error)}") from None


def any_image_size(create: Callable[..., Any], encoder: str) -> Callable[..., Any]:
    """Return `create` with the option that lets a timm transformer take other images than it was pretrained on.

    Those that lack the option keep their one image size, and refuse others when they see one.
    """
    import timm

    pretrained = timm.get_pretrained_cfg(encoder.removeprefix("tu-")) if encoder.startswith("tu-") else None
    if pretrained is None or not pretrained.fixed_input_size:
        return create

    def create_for_any(*args: Any, **options: Any) -> Any:
        try:
            return create(*args, dynamic_img_size=True, **options)
        except TypeError:
            return create(*args, **options)

    return create_for_any
