"""Feature pyramid network (Kirillov et al., 'A unified architecture for instance and semantic segmentation', 2017)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("fpn")
class FPN(SmpDecoder):
    """Feature pyramid network, by SMP. `decoder_dropout` acts where SMP has it."""

    source = "Kirillov et al., 'A unified architecture for instance and semantic segmentation', 2017"
    dropout_option = "decoder_dropout"
