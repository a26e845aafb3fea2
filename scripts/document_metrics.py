"""Write docs/metrics.md: the tables of metrics and losses, from their own declarations.

python scripts/document_metrics.py
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bts_tune.config import parameters_of
from bts_tune.registry import LOSSES
from bts_tune.report.definitions import DEFINITION_HEADER, metric_definitions

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"

INTRODUCTION = """# Metrics and losses

This page is made from the declarations in `bts_tune/metrics/` and `bts_tune/losses/`, by
`python scripts/document_metrics.py`.

p is the sigmoid output and y the truth of a pixel; the threshold is 0.5 where one is needed. Metrics are computed over
a whole split, at the trial's image size, from figures of single images, so that neither the batch size nor the order of
the images has an effect.

## Metrics

A column `val_…` is of the validation split after each epoch, `test_…` of the test split at the best epoch.
"""

LOSSES_INTRODUCTION = """
## Losses

`loss: NAME` in a space chooses one; its parameters are fields of the trials that choose it.
"""


def page() -> str:
    """Return the content of the page."""
    metrics = [(f"`{column}`", *others) for column, *others in metric_definitions({}, [])]
    losses = []
    for name in LOSSES.names():
        loss = LOSSES.get(name)
        own = ("dice_weight", "bce_weight") if name == "dice-bce" else parameters_of(LOSSES, name).model_fields
        fields = ", ".join(f"`{field}`" for field in own)
        losses.append((f"`{name}`", loss.definition, fields or "none", loss.source))
    header = ("loss", "definition", "parameters", "source")
    return INTRODUCTION + _table(DEFINITION_HEADER, metrics) + LOSSES_INTRODUCTION + _table(header, losses)


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    escaped = (
        [cell.replace("|", "\\|").replace("*", "\\*") if "`" not in cell else cell for cell in line] for line in lines
    )
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in escaped)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
