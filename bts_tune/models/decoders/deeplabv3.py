"""DeepLabv3 (Chen et al., 'Rethinking atrous convolution for semantic image segmentation', 2017)."""

from bts_tune.models.decoders._smp import SmpDecoder
from bts_tune.models.decoders.base import DECODERS


@DECODERS.register("deeplabv3")
class DeepLabV3(SmpDecoder):
    """DeepLabv3, by SMP. `decoder_dropout` acts where SMP has it."""

    source = "Chen et al., 'Rethinking atrous convolution for semantic image segmentation', 2017"
    dropout_option = "decoder_aspp_dropout"
