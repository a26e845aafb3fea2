"""U-Net++ (Zhou et al., DLMIA 2018)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("unetplusplus")
class UnetPlusPlus(SmpDecoder):
    """U-Net++, by SMP. `decoder_dropout` acts after each block but the last."""

    source = "Zhou et al., DLMIA 2018"
