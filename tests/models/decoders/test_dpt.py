from __future__ import annotations

from bts_tune.testing.decoders import DecoderContract


class TestDpt(DecoderContract):
    name = "dpt"
    encoder = "tu-vit_tiny_patch16_224"
