"""The learning-rate schedule of a trial."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import lr_scheduler

from bts_tune.config import OptimizationPart
from bts_tune.metrics.base import objective


class Schedule:
    """The learning rate over the full budget, also for a trial that is stopped early.

    `constant` never changes; `cosine` falls from the learning rate to 0 along half a cosine (Loshchilov and Hutter
    2017, without restarts); `one-cycle` rises for 30 % of the steps to the learning rate and falls to almost 0 (Smith
    and Topin 2018, torch's defaults, but momentum stays as configured); `plateau` halves the rate whenever the
    objective has not improved for more than a tenth of the budget, and more than two epochs; an improvement by less
    than 0.01 % of the best value is none. The first three follow steps, the last one epochs.
    """

    def __init__(self, config: OptimizationPart, optimizer: torch.optim.Optimizer, steps_per_epoch: int) -> None:
        steps = config.epochs * steps_per_epoch
        self._plateau: lr_scheduler.ReduceLROnPlateau | None = None
        self._by_step: lr_scheduler.LRScheduler | None = None
        self._optimizer = optimizer
        if config.schedule == "cosine":
            self._by_step = lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        elif config.schedule == "one-cycle":
            self._by_step = lr_scheduler.OneCycleLR(
                optimizer, max_lr=config.learning_rate, total_steps=steps + 1, cycle_momentum=False
            )
        elif config.schedule == "plateau":
            patience = max(2, config.epochs // 10)
            mode: Any = objective(config.objective).mode
            self._plateau = lr_scheduler.ReduceLROnPlateau(optimizer, mode, factor=0.5, patience=patience)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    def after_step(self) -> None:
        """Advance after an update of the weights."""
        if self._by_step is not None:
            self._by_step.step()

    def after_epoch(self, value: float) -> None:
        """Advance after an epoch's validation, with the objective's value."""
        if self._plateau is not None:
            self._plateau.step(value)

    def state_dict(self) -> dict[str, object]:
        """Return what `load_state_dict` needs to go on."""
        inner = self._by_step or self._plateau
        return inner.state_dict() if inner is not None else {}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from a state."""
        inner = self._by_step or self._plateau
        if inner is not None:
            inner.load_state_dict(state)
