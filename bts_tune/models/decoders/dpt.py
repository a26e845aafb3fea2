"""Dense prediction transformer (Ranftl et al., ICCV 2021)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("dpt")
class DPT(SmpDecoder):
    """Dense prediction transformer, by SMP. `decoder_dropout` acts after each block but the last."""

    source = "Ranftl et al., ICCV 2021"
