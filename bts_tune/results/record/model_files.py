"""The names of what a trial leaves in `models/<trial>/`."""

from __future__ import annotations

LAST = "last.pt"
"""Its last state, to go on from; gone when the trial has ended."""

WEIGHTS = "model.safetensors"
"""Its best weights."""

CARD = "model.json"
"""What model the weights are of, and how it sees images."""
