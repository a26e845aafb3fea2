"""The section on the split: how it was made, the hash that names it, and how much it leaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bts_tune.registry import SPLIT_METHODS
from bts_tune.report.blocks import Block, Code, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING, share

_LEAKS = ("related_share", "look_alike_share")


@SECTIONS.register("split")
class Split(Section):
    """The split of the dataset."""

    title = "Split"
    after = "best-configuration"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield method, hash, sizes, groups and leakage of the run's split."""
        split = recorded_split(context.run)
        if not split:
            if context.run.get("dataset"):
                yield paragraph("The split's hash and groups are not on record: the run is of an earlier version.")
            return
        method = str(split.get("method"))
        patients = (
            f" Patients were given by {split['group_by']}." if split.get("group_by") else " No patients were given."
        )
        taken = split.get("validation_from")
        taken = f"; validation taken from {taken} by groups, seed {split.get('seed')}" if taken else ""
        yield paragraph(
            f"Split {method} ({_described(method, split.get('seed'))}{taken}), SHA-256 of the assignment ",
            Code(str(split.get("hash", MISSING))),
            f".{patients} Metrics of two runs can be set beside each other only where this hash is the same; ",
            Code("split.csv"),
            " has the split and the group of every slice.",
        )
        groups = split.get("groups") or {}
        if groups:
            yield paragraph(
                f"{groups.get('count', MISSING)} groups of related slices, the largest of "
                f"{groups.get('largest', MISSING)}, the median of {_number(groups.get('median'))}; "
                f"{groups.get('in_several_splits', MISSING)} of them lie in more than one split."
            )
        leaks = (split.get("leak") or {}).get("splits") or {}
        rows = []
        for name, one in (split.get("splits") or {}).items():
            leak = leaks.get(name) or {}
            rows.append(
                [
                    name,
                    one.get("images", MISSING),
                    one.get("groups", MISSING),
                    one.get("largest_group", MISSING),
                    MISSING if one.get("tumor_share") is None else f"{one['tumor_share']:.2%}",
                    *(MISSING if leak.get(key) is None else share(leak[key]) for key in _LEAKS),
                ]
            )
        if rows:
            header = ["split", "images", "groups", "largest group", "mean tumour area"]
            yield table([*header, "related to training", "near-duplicate in training"], rows, right=range(1, 7))
            yield paragraph(
                "Related to training: the share of a split's images of whose group a slice is in the training split. "
                "Near-duplicate: the share that resembles an image there, by the correlation of small versions."
            )


def recorded_split(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what `run.json` says of the split; empty where it says nothing."""
    dataset = run.get("dataset")
    split = dataset.get("split") if isinstance(dataset, Mapping) else None
    return split if isinstance(split, Mapping) else {}


def _described(method: str, seed: Any) -> str:
    known = SPLIT_METHODS.get(method) if method in SPLIT_METHODS else None
    description = "of a method that this version does not know" if known is None else known.description
    return description if known is not None and not known.uses_seed else f"{description}, seed {seed}"


def _number(content: Any) -> str:
    return f"{content:g}" if isinstance(content, int | float) else MISSING
