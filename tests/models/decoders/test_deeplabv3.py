from __future__ import annotations

from bts_tune.testing.decoders import DecoderContract


class TestDeeplabv3(DecoderContract):
    name = "deeplabv3"
