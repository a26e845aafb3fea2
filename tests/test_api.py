"""The Python API as a whole: its names, their types, their examples, and what importing them costs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import bts_tune as bt
from bts_tune import api
from bts_tune.registry import METRICS


def test_the_examples_in_the_docstrings_run() -> None:
    modules = [importlib.import_module(f"bts_tune.api.{found.name}") for found in pkgutil.iter_modules(api.__path__)]
    results = [doctest.testmod(module) for module in modules]
    assert sum(tried for _, tried in results) > 0
    assert not any(failed for failed, _ in results)


def test_every_public_function_has_an_example_and_says_what_it_raises() -> None:
    for name in bt.__all__:
        found = getattr(bt, name)
        if inspect.isfunction(found):
            text = inspect.getdoc(found) or ""
            assert "Examples:" in text, name
            assert "Raises:" in text or "as for" in text, name


@pytest.mark.parametrize("module", ["bts_tune", "bts_tune.registry", "bts_tune.errors"])
def test_importing_it_imports_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print(sorted({{'torch', 'ray', 'pandas', 'numpy', 'pydantic'}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_is_there_and_others_are_not() -> None:
    assert set(bt.__all__) < set(dir(bt))
    assert {name for name in bt.__all__ if not name.isupper()} == {*api.__all__, "BtsTuneError"}
    with pytest.raises(AttributeError, match="no attribute 'tun'"):
        bt.tun  # type: ignore[attr-defined] # noqa: B018


def test_every_public_name_is_typed(tmp_path: Path) -> None:
    """`mypy --strict` on a user's script: nothing is `Any` that need not be, and a wrong argument is told."""
    script = tmp_path / "script.py"
    script.write_text(
        f"from bts_tune import (\n    {', '.join(bt.__all__)},\n)\n"
        + """
import bts_tune


def study() -> None:
    load_plugin("mine.py")
    dataset = open_dataset("slices", tumor_categories=["1"])
    count: int = len(check_dataset(dataset).errors)
    config = TrialConfig.parse({"encoder": "resnet18"})
    for epoch in train(config, dataset, folder="kept"):
        loss: float = epoch.val_dice_loss
    space: Space = build_space(name="a", description="b", trials={"c": {}})
    run: Run = tune(space, "slices", num_trials=3)
    run = resume(run, concurrent=2)
    run = extend(run, 5)
    run = train_final(open_run("results/a"), top=2, seeds=3)
    print(bts_tune.load_spaec("baseline"))
    reveal_type(run.leaderboard)
    reveal_type(run.best_config)
    reveal_type(run.best_model())
    reveal_type(run.predict("a.png", "out"))
    reveal_type(run.report())
    reveal_type(load_space("baseline"))
    names: tuple[str, ...] = METRICS.names() + LOSSES.names() + DECODERS.names() + READERS.names()
    names += SECTIONS.names() + SPLIT_METHODS.names() + AUGMENTATION_STEPS.names() + TRACKERS.names()
    try:
        tune(3)
    except BtsTuneError as error:
        print(error, count, loss, names)
"""
    )
    # Reading these takes most of the time, and nothing here depends on them.
    skipped = [f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in ("torch", "ray", "optuna", "matplotlib")]
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\nfollow_imports = silent\n" + "".join(skipped))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-incremental", str(script)],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    lines = [line.removeprefix("script.py:") for line in done.stdout.splitlines()]
    errors = [line for line in lines if ": error: " in line]
    assert len(errors) == 2, done.stdout
    assert 'Module has no attribute "load_spaec"' in errors[0]
    assert 'Argument 1 to "tune" has incompatible type "int"' in errors[1]
    revealed = " ".join(line for line in lines if "Revealed type" in line)
    for kind in ("DataFrame", "TrialConfig", "Segmenter", "list[bts_tune", "ReportFiles", "Space"):
        assert kind in revealed
    assert '"Any"' not in revealed


def test_metrics_are_found_through_the_registry() -> None:
    assert bt.METRICS is METRICS
    assert "dice-loss" in bt.METRICS
