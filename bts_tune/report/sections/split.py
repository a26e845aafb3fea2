"""The section on the split: how it was made, the hash that names it, and how much it leaks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bts_tune.registry import SPLIT_METHODS
from bts_tune.report.blocks import Block, Code, paragraph, table
from bts_tune.report.context import ReportContext
from bts_tune.report.sections.base import SECTIONS, Section
from bts_tune.report.wording import MISSING, share
from bts_tune.results.record.leaks import MEASURED_ON, RELATIONS, meanings, unknown_patients
from bts_tune.text import percent


@SECTIONS.register("split")
class Split(Section):
    """The split of the dataset."""

    title = "Split"
    after = "best-configuration"

    def blocks(self, context: ReportContext) -> Iterable[Block]:
        """Yield method, hash, sizes, shares, groups and leakage of the run's split."""
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
            f".{patients} Metrics of two runs can be compared only where this hash is the same. ",
            Code("split.csv"),
            " in the run's folder has the split and the group of every slice.",
        )
        yield from map(paragraph, _shares(context.run["dataset"]))
        groups = split.get("groups") or {}
        if groups:
            yield paragraph(
                f"{groups.get('count', MISSING)} groups of related slices, the largest of "
                f"{groups.get('largest', MISSING)}, the median of {_number(groups.get('median'))}; "
                f"{groups.get('in_several_splits', MISSING)} of them lie in more than one split."
            )
        recorded = split.get("leak") or {}
        leaks = recorded.get("splits") or {}
        classes = [relation.replace(" ", "_") for relation in RELATIONS]
        classed = any(one.get("identical") is not None for one in leaks.values())
        rows = []
        for name, one in (split.get("splits") or {}).items():
            leak = leaks.get(name) or {}
            rows.append(
                [
                    name,
                    one.get("images", MISSING),
                    one.get("groups", MISSING),
                    one.get("largest_group", MISSING),
                    MISSING if one.get("tumor_share") is None else percent(one["tumor_share"], 2),
                    MISSING if leak.get("related_share") is None else share(leak["related_share"]),
                    *(
                        [leak.get(key, MISSING) for key in classes]
                        if classed
                        else [MISSING if leak.get("look_alike_share") is None else share(leak["look_alike_share"])]
                    ),
                ]
            )
        if rows:
            header = ["split", "images", "groups", "largest group", "mean tumour area"]
            header += ["related to training", *(RELATIONS if classed else ["near-duplicate in training"])]
            yield table(header, rows, right=range(1, len(header)))
            related = (
                "Related to training: the share of a split's images of whose group a slice is in the training split."
            )
            if not classed:
                yield paragraph(
                    f"{related} Near-duplicate: the share of those with an image there whose correlation with them is "
                    "above 0.9 at 32 x 32 pixels."
                )
            else:
                meant = "; ".join(f"{name} is {meaning}" for name, meaning in meanings(recorded).items())
                yield paragraph(
                    f"{related} The others are numbers of images by the closest image in the training split: "
                    f"{meant} ({MEASURED_ON}, where nothing else is said). ",
                    Code("leaks.csv"),
                    " in the run's folder names each with its closest one.",
                )
        if classed and split.get("group_by") is None:
            yield paragraph(unknown_patients(recorded))


def recorded_split(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what `run.json` says of the split; empty where it says nothing."""
    dataset = run.get("dataset")
    split = dataset.get("split") if isinstance(dataset, Mapping) else None
    return split if isinstance(split, Mapping) else {}


def _shares(dataset: Mapping[str, Any]) -> Iterator[str]:
    """Yield how many training images each share of them is."""
    train = (dataset.get("splits") or {}).get("train")
    for one in dataset.get("train_shares") or ():
        fewest, most = min(one["images"]), max(one["images"])
        several = len(one["images"]) > 1
        number = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        of = "those of each fold" if several else f"the {train} below" if train else "those below"
        yield (
            f"Where train_share is {one['share']:g}, an epoch trains on {number} images of {of}: whole groups are "
            "drawn, the same for every trial."
        )


def _described(method: str, seed: Any) -> str:
    known = SPLIT_METHODS.get(method) if method in SPLIT_METHODS else None
    description = "of a method that this version does not know" if known is None else known.description
    return description if known is not None and not known.uses_seed else f"{description}, seed {seed}"


def _number(content: Any) -> str:
    return f"{content:g}" if isinstance(content, int | float) else MISSING
