"""Spaces for tests, and a trial to draw from them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bts_tune.space import ResolvedSearch, ResolvedSpace, Space, load_space

EXTENDED = load_space("extended")

SMALL = """
defaults: {epochs: 12, image_size: 128, encoder_weights: none}
demo: {epochs: 2}
seeds: [3, 1]
trials:
  plain: {description: The plain one., config: {decoder: fpn}}
  first: {baseline: true, config: {freeze: stages, freeze_stages: 2}}
search:
  num_trials: 5
  parameters:
    freeze: {choices: [none, all, stages, epochs]}
    freeze_stages: {int: [1, 4], when: {freeze: [stages]}}
    freeze_epochs: {int: [1, 8], when: {freeze: [epochs]}}
    augmentation: {choices: [none, light, strong]}
    augmentation_kind: {choices: [geometry, both], when: {augmentation: [light, strong]}}
    augmentation_strength: {float: [0.5, 1.5], when: {augmentation: [strong], augmentation_kind: [both]}}
    learning_rate: {float: [1e-5, 1e-2], log: true}
    head_dropout: {float: [0.0, 0.6], step: 0.1}
    image_size: {int: [64, 128], step: 32, when: {augmentation_kind: [geometry]}}
  searcher: {startup_trials: 2, seed: 7}
  scheduler: {grace_period: 3, reduction_factor: 2}
  demo: {num_trials: 2, startup_trials: 1}
"""


class RandomTrial:
    """Draws as Optuna's random sampler does, in a few lines, and keeps what it drew."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.params: dict[str, Any] = {}

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        if step is not None:
            value = low + step * self._random.randint(0, round((high - low) / step))
        elif log:
            value = min(high, max(low, low * (high / low) ** self._random.random()))
        else:
            value = self._random.uniform(low, high)
        return float(self._keep(name, value))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._keep(name, self._random.randrange(low, high + 1, step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._keep(name, self._random.choice(choices))

    def _keep(self, name: str, value: Any) -> Any:
        assert name not in self.params, "a parameter is drawn once"
        self.params[name] = value
        return value


def searching(resolved: ResolvedSpace) -> ResolvedSearch:
    assert resolved.search is not None
    return resolved.search


def from_text(folder: Path, text: str, name: str = "space") -> Space:
    path = folder / f"{name}.yaml"
    path.write_text(f"name: {name}\ndescription: d\n{text}", encoding="utf-8")
    return load_space(str(path))
