"""MA-Net: a U-Net with attention (Fan et al., IEEE Access 2020)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("manet")
class MAnet(SmpDecoder):
    """MA-Net: a U-Net with attention, by SMP. `decoder_dropout` acts after each block but the last."""

    source = "Fan et al., IEEE Access 2020"
