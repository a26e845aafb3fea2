"""How many parameters models have, counted once on a machine: see `known`. Importing this imports no torch."""

from __future__ import annotations

from pathlib import Path

from bts_tune.models.known import keep, recall
from bts_tune.registry import DECODERS


def parameters_of(decoder: str, encoder: str, cache: Path | None = None) -> int:
    """Return the number of parameters of a decoder on an encoder; a plugin's decoder is built each time.

    Raises:
        ConfigError: it cannot be built.
    """
    question = {"parameters of": [decoder, encoder]}
    own = not DECODERS.is_plugin(decoder)
    found = recall(cache, **question) if own else None
    if isinstance(found, int):
        return found
    from bts_tune.models import build

    found = build.parameters_of(decoder, encoder)
    if own:
        keep(cache, found, **question)
    return found
