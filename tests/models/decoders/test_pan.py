from __future__ import annotations

import pytest

from bts_tune.testing.decoders import DecoderContract

pytestmark = pytest.mark.slow  # tests/models/test_build.py builds every decoder


class TestPan(DecoderContract):
    name = "pan"
