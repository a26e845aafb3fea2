"""Pyramid attention network (Li et al., BMVC 2018)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("pan")
class PAN(SmpDecoder):
    """Pyramid attention network, by SMP. `decoder_dropout` acts after the decoder."""

    source = "Li et al., BMVC 2018"
    smallest_image = 128  # its pyramid halves the encoder's last map, a sixteenth of the image, three times
