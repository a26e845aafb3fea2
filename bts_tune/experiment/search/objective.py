"""What a search minimises: the names under which a trial reports it to Ray Tune and Optuna."""

from __future__ import annotations

METRIC = "best_val_dice_loss"
"""The running best: Optuna learns from a trial's last value, and the last epoch is rarely the best."""

EPOCH = "epoch"

WORST = 1.0
"""The worst Dice loss there is; what the sampler is told of a configuration that diverges."""
