"""The section on the data check: what was found in the dataset when the run began."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bts_tune.report.blocks import Block, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING
from bts_tune.results.record.leaks import agreement_sentence
from bts_tune.text import percent, plural

_MOST_SIZES = 4


@SECTIONS.register("data-check")
class DataCheck(Section):
    """What the data check found."""

    title = "Data check"
    after = "split"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield a summary of what the data check found when the run began."""
        check = context.run.get("dataset", {}).get("check")
        if check is None:
            return
        found = [_issues(check.get(f"{noun}s", {}), noun) for noun in ("error", "warning")]
        told = "; ".join(found)
        yield paragraph(f"{told[0].upper()}{told[1:]}.")
        masks = check.get("masks")
        if masks is not None and masks.get("says"):
            yield paragraph(f"Masks: {masks['says']}")
        agreement = (check.get("leak") or {}).get("masks_of_identical")
        if agreement and agreement.get("median") is not None:
            yield paragraph(agreement_sentence(agreement["pairs"], agreement["different"], agreement["median"]))
        rows = []
        for name, split in check.get("splits", {}).items():
            shares = split.get("tumor_share", {})
            counts = (split.get(key) for key in ("images", "without_tumor", "several_annotations"))
            rows.append(
                [
                    name,
                    *(MISSING if count is None else count for count in counts),
                    *(percent(shares[key], 2) if key in shares else MISSING for key in ("0", "0.5", "1")),
                    _sizes(split.get("sizes", {})),
                ]
            )
        if rows:
            header = ["split", "images", "without tumour", "several annotations", "smallest tumour", "median tumour"]
            yield table([*header, "largest tumour", "sizes"], rows, right=range(1, 7))


def _sizes(found: Mapping[str, int]) -> str:
    """Return the commonest sizes, and how many others there are."""
    sizes = sorted(found, key=lambda size: -found[size])
    shown = sizes if len(sizes) <= _MOST_SIZES + 1 else [*sizes[:_MOST_SIZES], f"{len(sizes) - _MOST_SIZES} more"]
    return ", ".join(shown) or MISSING


def _issues(found: Mapping[str, int], noun: str) -> str:
    """Return `no errors`, or with their kinds `22 warnings (no-tumor 22)`."""
    number = sum(found.values())
    if not number:
        return f"no {noun}s"
    return f"{plural(number, noun)} ({', '.join(f'{kind} {amount}' for kind, amount in found.items())})"
