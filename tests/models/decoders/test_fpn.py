from __future__ import annotations

from bts_tune.testing.decoders import DecoderContract


class TestFpn(DecoderContract):
    name = "fpn"
