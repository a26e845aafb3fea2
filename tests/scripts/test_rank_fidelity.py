from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from scripts import rank_fidelity


def write(folder: Path, curves: dict[float, list[float]]) -> Path:
    """Write a run of one trial for each learning rate."""
    folder.mkdir()
    rows, trials = [], []
    for number, (rate, losses) in enumerate(curves.items()):
        trials.append({"trial": f"{folder.name}-{number}", "learning_rate": rate})
        best = pd.Series(losses).cummin()
        rows += [
            {"trial": f"{folder.name}-{number}", "epoch": e + 1, "best_val_dice_loss": v} for e, v in enumerate(best)
        ]
    pd.DataFrame(trials).to_csv(folder / "leaderboard.csv", index=False)
    pd.DataFrame(rows).to_csv(folder / "epochs.csv", index=False)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["rank_fidelity.py", *map(str, folders)])
    return rank_fidelity.main()


def test_correlations_are_with_the_end_of_the_full_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = [0.1, 0.2, 0.3, 0.4]
    full = write(tmp_path / "full", {rate: [0.9 - rate, rate] for rate in rates})  # the order turns round
    cheap = write(tmp_path / "cheap", {rate: [rate * 1.1] for rate in [*rates[::-1], 0.5]})  # one is not in the other
    assert run(monkeypatch, cheap, full) == 0
    out = capsys.readouterr().out
    assert "4 configurations, each trained in both ways" in out
    assert "| 1 | 1.00 | 1.00 | -1.00 | -1.00 |" in out
    assert "| 2 | – | – | 1.00 | 1.00 |" in out


def test_too_few_that_match_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = write(tmp_path / "a", {0.1: [0.5], 0.2: [0.4]}), write(tmp_path / "b", {0.1: [0.5], 0.3: [0.4]})
    assert run(monkeypatch, one, other) == 2
    assert "only 1 configurations" in capsys.readouterr().out
