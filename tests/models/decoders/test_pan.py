from __future__ import annotations

from bts_tune.testing.decoders import DecoderContract


class TestPan(DecoderContract):
    name = "pan"
    smallest = 128
