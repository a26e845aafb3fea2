"""LinkNet (Chaurasia and Culurciello, VCIP 2017)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("linknet")
class Linknet(SmpDecoder):
    """LinkNet, by SMP. `decoder_dropout` acts after each block but the last."""

    source = "Chaurasia and Culurciello, VCIP 2017"
