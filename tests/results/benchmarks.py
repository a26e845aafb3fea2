"""Invented benchmarks: every number is made up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bts_tune.config import TrialConfig
from bts_tune.results.record.benchmark_folder import BenchmarkFolder
from bts_tune.results.record.run_folder import TrialRecord
from bts_tune.testing.runs import make_row, make_run, make_test, make_trial, write_run, write_scores

DECODERS = {"plain": "unet", "nested": "unetplusplus", "light": "fpn", "wide": "manet"}


def make_benchmark(
    path: Path,
    losses: Mapping[str, Mapping[str, float]],
    *,
    seeds: int = 2,
    test: int = 30,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    begun: int | None = None,
    chosen_on: Mapping[str, str] | None = None,
    scored: bool = True,
    for_all: Mapping[str, Any] | None = None,
) -> BenchmarkFolder:
    """Write a benchmark of which every configuration has about the Dice loss that is given for each run.

    Args:
        path: its folder.
        losses: by run (`<dataset>` or `<dataset>__<split>`) and configuration, of `DECODERS`.
        seeds: of each.
        test: images of the test split; 0 for none.
        changes: of `run.json`, by run.
        begun: how many of the runs have begun; by default all.
        chosen_on: by configuration, the images that an earlier run chose it on.
        scored: whether the scores of single images are there.
        for_all: fields that the benchmark sets for every configuration.
    """
    folder = BenchmarkFolder(path)
    names = list(dict.fromkeys(name for one in losses.values() for name in one))
    configs = {name: TrialConfig.parse({"decoder": DECODERS[name], "epochs": 1}).to_dict() for name in names}
    folder.write(
        {
            "benchmark": path.name,
            "description": "",
            "source": "bench.yaml",
            "definition": {"configurations": {}, "set": dict(for_all or {})},
            "configurations": {
                name: {
                    "config": configs[name],
                    "origin": "the benchmark's file",
                    "changed": [],
                    "chosen_on": (chosen_on or {}).get(name),
                    "published": None,
                    "description": "",
                }
                for name in names
            },
            "runs": {
                run: {"dataset": run.partition("__")[0], "split": run.partition("__")[2] or None, "options": {}}
                for run in losses
            },
        }
    )
    for number, (run, of_run) in enumerate(losses.items()):
        if begun is not None and number >= begun:
            continue
        trials: list[TrialRecord] = []
        for name, loss in of_run.items():
            for seed in range(seeds):
                trial, one = f"{name}-seed{seed}", loss + 0.004 * seed
                trials.append(
                    make_trial(
                        trial,
                        name=name,
                        index=len(trials),
                        baseline=True,
                        rows=[make_row(trial, 1, one)],
                        test=make_test(one) if test else None,
                        **{**configs[name], "seed": seed},
                    )
                )
        dataset = make_run()["dataset"]
        content = {
            "run": run,
            "dataset": {**dataset, "fingerprint": f"f-{run}", "content": f"c-{run.partition('__')[0]}"},
        }
        written = write_run(folder.run_path(run), trials, make_run(**{**content, **(changes or {}).get(run, {})}))
        for record in trials if scored else ():
            write_scores(written, record, images=40, test=test, seed=10 * number)
    return folder
