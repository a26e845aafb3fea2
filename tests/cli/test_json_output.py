"""What `--json` prints: one object, alone on standard output, with the fields that docs/json.md names and no others."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bts_tune.cli.json_output import print_json, rows_of
from bts_tune.cli.main import main
from bts_tune.testing.runs import make_baselines, make_final, make_run, make_search, make_split, write_run
from tests.data.builders import noise, write_image

pytestmark = pytest.mark.usefixtures("empty_folder")

PAGE = Path(__file__).parents[2] / "docs" / "json.md"


def documented(command: str) -> set[str]:
    """Return the fields of a command that the page names."""
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        if f"`command` is `{command}`." in section:
            rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
            return {"version", "command", *(name for row in rows for name in re.findall(r"`([^`]+)`", row))}
    raise AssertionError(f"docs/json.md does not describe {command}")


def paths(content: Any, prefix: str = "") -> Iterator[str]:
    """Yield the path of every value."""
    if isinstance(content, dict):
        for name, inner in content.items():
            yield from paths(inner, f"{prefix}.{name}" if prefix else name)
    elif isinstance(content, list):
        yield f"{prefix}[]"
        for inner in content:
            yield from paths(inner, f"{prefix}[]")
    else:
        yield prefix


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Runs a command, and returns the object that it prints, whose fields the page must name."""

    def run(command: str, *arguments: str, code: int = 0) -> dict[str, Any]:
        assert main([*arguments, "--json"]) == code
        content: dict[str, Any] = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert content["version"] == 1
        assert content["command"] == command
        names = documented(command)
        open_ones = tuple(name.removesuffix("…") for name in names if name.endswith("…"))
        found = {path for path in paths(content) if not path.startswith(open_ones or ("\0",))}
        lists = {name[: match.end()] for name in names for match in re.finditer(r"\[\]", name)}
        assert found <= names | lists, found - names - lists
        return content

    return run


def test_list(printed: Callable[..., dict[str, Any]]) -> None:
    write_run(Path("results/a"), make_baselines(epochs=2), make_run(run="a"))
    write_run(Path("results/b"), [], make_run(run="b", status="interrupted"))
    Path("results/c").mkdir()
    Path("results/c/run.json").write_text("{")
    content = printed("list", "list")
    assert {run["run"]: run["state"] for run in content["runs"]} == {
        "a": "complete",
        "b": "interrupted",
        "c": "unreadable",
    }
    assert {f"runs[].{name}" for name in content["runs"][0]} == {
        name for name in documented("list") if name.startswith("runs[].")
    }


def test_data_check(printed: Callable[..., dict[str, Any]]) -> None:
    for number in range(12):
        mask = np.zeros((40, 60), dtype=np.uint8)
        mask[5:20, 10:30] = 255
        write_image(Path(f"slices/images/{number}.png"), noise(seed=number))
        write_image(Path(f"slices/masks/{number}.png"), mask)
    write_image(Path("slices/images/lone.png"), noise(seed=99))
    content = printed("data check", "data", "check", "slices", "--cache", "cache", code=1)
    assert content["errors"] == {"missing-mask": 1}
    assert {f"issues[].{name}" for name in content["issues"][0]} == {
        f"issues[].{name}" for name in ("level", "code", "file", "annotation", "message")
    }


def test_report(printed: Callable[..., dict[str, Any]]) -> None:
    search = make_search(epochs=3)
    write_run(Path("results/a"), search + make_final(search), make_run(run="a", status="interrupted"))
    content = printed("report", "report", "a")
    assert content["state"] == "interrupted"
    assert content["files"]["page"] == "results/a/report.html"
    assert Path(content["files"]["page"]).is_file()
    assert [row["rank"] for row in content["configurations"]] == [1, 2, 3, 4, 5]
    for rows, table in (("configurations", "configurations"), ("trials", "leaderboard")):
        with Path(content["files"][table]).open(newline="") as file:
            header, *lines = csv.reader(file)
        assert [list(row) for row in content[rows]] == [header] * len(lines)
        assert {row["profile"] for row in content[rows]} == {"data"}
    assert len(content["trials"]) == len(search) + 15
    assert any("PARTIAL" in warning for warning in content["warnings"])
    failed = next(row for row in content["trials"] if row["status"] == "failed")
    assert (failed["val_dice_loss"], failed["best_epoch"], failed["rank"]) == (None, None, None)
    assert isinstance(content["trials"][0]["best_epoch"], int)


def test_compare(printed: Callable[..., dict[str, Any]]) -> None:
    for name, split in (("a", make_split()), ("b", make_split("grouped", "d" * 64))):
        run = make_run(run=name)
        run["dataset"] |= {"split": split, "fingerprint": name}
        write_run(Path("results") / name, make_baselines(epochs=2), run)
    content = printed("compare", "compare", "a", "b", "--out", "out", code=1)
    assert content["ranked"] is False
    assert content["groups"] == [["a"], ["b"]]
    assert "different splits" in content["reasons"][0]["differences"][0]
    assert [len(run["configurations"]) for run in content["runs"]] == [3, 3]
    assert {row["profile"] for run in content["runs"] for row in run["configurations"]} == {"data"}
    assert sorted(content["files"]) == ["out/compare.html", "out/compare.md"]


def test_spaces(printed: Callable[..., dict[str, Any]]) -> None:
    assert {space["name"] for space in printed("spaces list", "spaces", "list")["spaces"]} >= {"baseline", "extended"}
    assert set(printed("spaces show", "spaces", "show", "extended")["space"]["trials"]) >= {"unet-b0"}


def test_dry_run(printed: Callable[..., dict[str, Any]], phantom: Path) -> None:
    given = ["--data", str(phantom), "--dry-run", "--no-timing", "--epochs", "3"]
    content = printed("dry-run", "--space", "extended", *given, "--num-trials", "5")
    counted = {"trials": 23, "epochs_at_most": 69, "images_at_most": 966}
    assert content["cost"] == {**counted, "seconds": None, "models": None, "models_timed": None}
    assert content["search"]["num_trials"] == 5
    assert content["search"]["parameters"]["learning_rate"]["log"] is True
    assert content["final"] == {"top": 2, "seeds": 3}
    assert content["trials"][0]["changed"] == ["epochs"]
    plain = printed("dry-run", "--space", "baseline", *given)
    assert (plain["search"], plain["final"], plain["folds"]) == (None, None, None)
    assert not Path("results").exists()


def test_dry_run_of_a_benchmark(printed: Callable[..., dict[str, Any]], phantom: Path) -> None:
    Path("bench.yaml").write_text(
        "name: small\nseeds: 2\n"
        "set: {epochs: 3, image_size: 32, encoder: tu-test_efficientnet, encoder_weights: none}\n"
        "configurations: {unet: {config: {}}, fpn: {config: {decoder: fpn}}}\n"
        f"datasets: {{phantom: {phantom}}}\n"
    )
    content = printed("benchmark", "benchmark", "bench.yaml", "--dry-run")
    assert (content["benchmark"], content["seeds"]) == ("small", [0, 1])
    assert content["configurations"]["fpn"]["config"]["decoder"] == "fpn"
    (run,) = content["runs"]
    assert (run["state"], run["split"], run["cost"]["epochs_at_most"]) == ("to do", None, 12)


def test_the_banner_of_a_demo_does_not_come_into_the_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--space", "baseline", "--dry-run", "--no-timing", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["train_images"] == [168]
    assert captured.err.startswith("DEMO")


def test_a_run_that_trains_prints_no_object(refused: Callable[..., str]) -> None:
    assert "--json goes with --dry-run" in refused("--space", "baseline", "--json")


def test_what_json_has_no_word_for(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"number": pd.array([1, None], dtype="Int64"), "share": [0.5, math.nan], "text": ["a", None]})
    print_json("x", {"rows": rows_of(frame), "path": Path("a"), "numpy": np.float32(0.5), "far": math.inf})
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "command": "x",
        "rows": [{"number": 1, "share": 0.5, "text": "a"}, {"number": None, "share": None, "text": None}],
        "path": "a",
        "numpy": 0.5,
        "far": None,
    }
