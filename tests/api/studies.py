"""What the tests of the Python API share: a small space, its options, and a run that was carried out."""

from __future__ import annotations

from typing import Any

import bts_tune as bt

FIELDS: dict[str, Any] = {
    "image_size": 32,
    "epochs": 2,
    "batch_size": 8,
    "encoder": "tu-test_efficientnet",
    "encoder_weights": "none",
}
OPTIONS: dict[str, Any] = {"dashboard": False, "device": "cpu", "concurrent": 1, "progress": False}


def small_space(**changes: Any) -> bt.Space:
    content: dict[str, Any] = {
        "name": "small",
        "description": "Two decoders, and a search.",
        "defaults": FIELDS,
        "trials": {
            "unet": {"baseline": True, "config": {"decoder": "unet"}},
            "fpn": {"config": {"decoder": "fpn", "learning_rate": 1e-6}},
        },
        "search": {
            "num_trials": 1,
            "parameters": {"learning_rate": {"float": [1e-4, 1e-2], "log": True}},
            "final": {"top": 0},
        },
    }
    return bt.build_space(**{**content, **changes})


class Study:
    """A run that `tune` carried out, and what was printed meanwhile."""

    def __init__(self, run: bt.Run, printed: str) -> None:
        self.run, self.printed = run, printed
