"""SegFormer's decoder (Xie et al., NeurIPS 2021)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("segformer")
class Segformer(SmpDecoder):
    """SegFormer's decoder, by SMP. `decoder_dropout` acts after the decoder."""

    source = "Xie et al., NeurIPS 2021"
