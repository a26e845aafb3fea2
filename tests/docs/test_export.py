"""The lines of docs/export.md load what the commands there wrote."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bts_tune import api
from bts_tune.registry import EXPORTS
from bts_tune.testing.exports import example_run, validation_images

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
@pytest.mark.parametrize("deep", [False, True])
def test_a_file_is_loaded_in_a_few_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, deep: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    run = api.Run(example_run())
    run.export("onnx" if "onnx" in code else "torch-export", re.findall(r"tumour\.\w+", code)[0], trial="plain")
    image = validation_images()[0, 0]
    # The darkest and the brightest pixel of 16 bits are not 0 and 65535.
    assert cv2.imwrite("scan.png", image.astype(np.uint16) * 13 + 100 if deep else image)
    names: dict[str, Any] = {}
    exec(code, names)
    expected = run.best_model("plain", device="cpu").probability("scan.png")
    np.testing.assert_allclose(names["probability"], expected, atol=1e-4)


def test_every_format_has_a_row() -> None:
    assert {f"| `{name}` |" for name in EXPORTS if not EXPORTS.is_plugin(name)} <= set(
        re.findall(r"^\| `[\w-]+` \|", PAGE, re.M)
    )
