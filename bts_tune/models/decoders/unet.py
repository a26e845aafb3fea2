"""U-Net (Ronneberger et al., MICCAI 2015)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("unet")
class Unet(SmpDecoder):
    """U-Net, by SMP. `decoder_dropout` acts after each block but the last."""

    source = "Ronneberger et al., MICCAI 2015"
