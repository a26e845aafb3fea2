from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from bts_tune.config import OptimizationPart
from bts_tune.training.optimizer import build_optimizer
from bts_tune.training.schedule import Schedule

STEPS = 4


def made(**fields: Any) -> tuple[torch.optim.Optimizer, Schedule]:
    part = OptimizationPart(**fields)
    optimizer = build_optimizer(part, nn.Linear(2, 1))
    return optimizer, Schedule(part, optimizer, STEPS)


def rates(epochs_run: int, losses: list[float] | None = None, **fields: Any) -> list[float]:
    """Return the rate of each step."""
    optimizer, schedule = made(**fields)
    found = []
    for epoch in range(epochs_run):
        for _ in range(STEPS):
            found.append(schedule.learning_rate)
            optimizer.step()
            schedule.after_step()
        schedule.after_epoch(losses[epoch] if losses else 1.0 - 0.1 * epoch)
    return found


def test_constant() -> None:
    assert set(rates(5, schedule="constant", epochs=5, learning_rate=0.3)) == {0.3}


def test_cosine_is_half_a_cosine_over_the_full_budget() -> None:
    found = rates(10, schedule="cosine", epochs=10, learning_rate=0.5)
    expected = [0.25 * (1 + math.cos(math.pi * step / (10 * STEPS))) for step in range(10 * STEPS)]
    assert found == pytest.approx(expected)


def test_one_cycle_rises_for_a_third_of_the_full_budget_and_falls_to_almost_nothing() -> None:
    found = rates(10, schedule="one-cycle", epochs=10, learning_rate=0.5)
    peak = found.index(max(found))
    assert max(found) == pytest.approx(0.5, rel=0.01)
    assert peak == pytest.approx(0.3 * 10 * STEPS, abs=1)
    assert found[0] == pytest.approx(0.5 / 25)
    assert found[-1] < 0.5 / 100
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_length_follows_the_budget_and_not_the_epochs_run(schedule: str) -> None:
    stopped = rates(3, schedule=schedule, epochs=12)
    assert stopped == rates(12, schedule=schedule, epochs=12)[: 3 * STEPS]
    assert stopped != rates(3, schedule=schedule, epochs=3)


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle", "plateau"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_short_budgets(schedule: str, epochs: int) -> None:
    found = rates(epochs, schedule=schedule, epochs=epochs, learning_rate=0.1)
    assert all(0 < rate <= 0.1 for rate in found)


def test_one_cycle_leaves_momentum_as_configured() -> None:
    optimizer, schedule = made(schedule="one-cycle", optimizer="sgd", momentum=0.6, epochs=3)
    for _ in range(3 * STEPS):
        assert optimizer.param_groups[0]["momentum"] == 0.6
        optimizer.step()
        schedule.after_step()


def test_plateau_halves_the_rate_after_epochs_without_an_improvement() -> None:
    by_epoch = rates(8, [0.5] * 8, schedule="plateau", epochs=8, learning_rate=0.8)[::STEPS]
    assert by_epoch == [0.8, 0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2]


def test_plateau_waits_a_tenth_of_a_long_budget() -> None:
    by_epoch = rates(12, [0.5] * 12, schedule="plateau", epochs=60, learning_rate=0.8)[::STEPS]
    assert by_epoch == [0.8] * 8 + [0.4] * 4


def test_plateau_does_nothing_while_the_loss_falls() -> None:
    assert set(rates(8, schedule="plateau", epochs=8, learning_rate=0.8)) == {0.8}


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle", "plateau"])
def test_goes_on_from_its_state(schedule: str) -> None:
    losses = [0.5, 0.4, 0.4, 0.4, 0.4, 0.4]
    whole = rates(6, losses, schedule=schedule, epochs=6)
    optimizer, first = made(schedule=schedule, epochs=6)
    for epoch in range(3):
        for _ in range(STEPS):
            optimizer.step()
            first.after_step()
        first.after_epoch(losses[epoch])
    again, second = made(schedule=schedule, epochs=6)
    again.load_state_dict(optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    found = []
    for epoch in range(3, 6):
        for _ in range(STEPS):
            found.append(second.learning_rate)
            again.step()
            second.after_step()
        second.after_epoch(losses[epoch])
    assert found == whole[3 * STEPS :]
