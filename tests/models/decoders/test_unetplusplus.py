from __future__ import annotations

from bts_tune.testing.decoders import DecoderContract


class TestUnetplusplus(DecoderContract):
    name = "unetplusplus"
