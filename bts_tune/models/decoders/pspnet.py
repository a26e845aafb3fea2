"""Pyramid scene parsing network (Zhao et al., CVPR 2017)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("pspnet")
class PSPNet(SmpDecoder):
    """Pyramid scene parsing network, by SMP. `decoder_dropout` acts where SMP has it."""

    source = "Zhao et al., CVPR 2017"
    dropout_option = "psp_dropout"
