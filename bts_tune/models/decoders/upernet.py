"""UPerNet (Xiao et al., ECCV 2018)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("upernet")
class UPerNet(SmpDecoder):
    """UPerNet, by SMP. `decoder_dropout` acts after the decoder."""

    source = "Xiao et al., ECCV 2018"
