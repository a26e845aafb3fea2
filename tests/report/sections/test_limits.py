"""The section on the limits."""

from __future__ import annotations

from dataclasses import replace

from bts_tune.report.sections.limits import limits
from bts_tune.testing.runs import make_baselines, make_row, make_run, make_search, make_trial
from bts_tune.testing.sections import SectionContract


class TestLimits(SectionContract):
    name = "limits"


def test_limits_are_honest_about_seeds_and_unlike_trials() -> None:
    run = make_run()
    assert "single seed" in limits(run, make_search())
    assert "Every ranked configuration ran with more than one seed" in limits(run, make_baselines(seeds=2))
    assert "3 of the 6 ranked configurations" in limits(run, make_search(seeds=2))
    assert "image sizes" not in limits(run, make_search())
    sizes = [make_trial(f"t{size}", rows=[make_row("t", 1, 0.3)], image_size=size) for size in (96, 224)]
    assert "different image sizes" in limits(run, sizes)
    budgets = [make_trial(f"t{epochs}", rows=[make_row("t", 1, 0.3)], epochs=epochs) for epochs in (5, 35)]
    assert "different numbers of epochs" in limits(run, budgets)
    running = [replace(record, status="running") for record in make_baselines(seeds=3)]
    assert "single seed" not in limits(run, running)
    assert "Nothing is ranked yet" in limits(run, running)
    assert "generated phantoms" in limits(make_run(profile="demo"), make_search())
