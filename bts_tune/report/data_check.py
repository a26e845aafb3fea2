"""The section on the data check: what was found in the dataset when the run began."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bts_tune.report.document import Block, paragraph, table
from bts_tune.report.words import MISSING, plural


def data_check(run: Mapping[str, Any]) -> Iterable[Block]:
    """Yield a summary of what the data check found when the run began."""
    dataset = run.get("dataset")
    check = dataset.get("check") if isinstance(dataset, Mapping) else None
    if not isinstance(check, Mapping):
        return
    yield paragraph(f"{_findings(check.get('errors'), 'error')}; {_findings(check.get('warnings'), 'warning')}.")
    splits = check.get("splits")
    if not isinstance(splits, Mapping):
        return
    rows = []
    for name, split in splits.items():
        if isinstance(split, Mapping):
            shares = split.get("tumor_share") or {}
            rows.append(
                [
                    name,
                    split.get("images", MISSING),
                    split.get("without_tumor", MISSING),
                    split.get("several_annotations", MISSING),
                    *(f"{shares[key]:.2%}" if key in shares else MISSING for key in ("0", "0.5", "1")),
                    ", ".join(split.get("sizes") or ()) or MISSING,
                ]
            )
    if rows:
        header = ["split", "images", "without tumour", "several annotations", "smallest tumour", "median tumour"]
        yield table([*header, "largest tumour", "sizes"], rows, right=range(1, 7))


def _findings(found: Any, noun: str) -> str:
    """Return `no errors`, `3 warnings`, or with their kinds `22 warnings (no-tumor 22)`."""
    if isinstance(found, Mapping):
        number = sum(found.values())
        kinds = f" ({', '.join(f'{kind} {amount}' for kind, amount in found.items())})" if number else ""
    else:
        number, kinds = int(found or 0), ""
    return f"no {noun}s" if not number else f"{plural(number, noun)}{kinds}"
