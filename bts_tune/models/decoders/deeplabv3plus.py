"""DeepLabv3+ (Chen et al., ECCV 2018)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("deeplabv3plus")
class DeepLabV3Plus(SmpDecoder):
    """DeepLabv3+, by SMP. `decoder_dropout` acts where SMP has it."""

    source = "Chen et al., ECCV 2018"
    dropout_option = "decoder_aspp_dropout"
