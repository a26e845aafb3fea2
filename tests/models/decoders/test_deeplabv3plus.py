from __future__ import annotations

from bts_tune.testing.decoders import DecoderContract


class TestDeeplabv3Plus(DecoderContract):
    name = "deeplabv3plus"
