"""Names of files that would lead elsewhere or be taken for another: found before any image is opened."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bts_tune.data.files import leads_out
from bts_tune.data.records import Dataset, Issue, SliceRecord

_FEW = 3
"""Links that lead out are named one by one up to this number; above it they have one cause."""


def without_unsafe_names(dataset: Dataset) -> Dataset:
    """Return a dataset without the slices that must not be opened, and with an issue for each such name.

    An error is a file that a link takes out of the dataset's folder, and a name that is not UTF-8. Names that differ
    only in case are a warning: on some systems they are one file.
    """
    issues = list(dataset.issues)
    records: dict[str, tuple[SliceRecord, ...]] = {}
    leading_out: list[tuple[str, Path]] = []
    for split, members in dataset.records.items():
        kept = []
        for record in members:
            problem = _not_utf8(record)
            outside = None if problem is not None else _outside(dataset, record)
            if problem is not None:
                issues.append(problem)
            elif outside is not None:
                leading_out.append((record.name, outside))
            else:
                kept.append(record)
        records[split] = tuple(kept)
    if len(leading_out) > _FEW:
        issues.append(_links(dataset, leading_out))
    else:
        issues += [_links(dataset, [one]) for one in leading_out]
    issues += _differing_in_case(record for members in records.values() for record in members)
    return replace(dataset, records=records, issues=tuple(issues))


def _not_utf8(record: SliceRecord) -> Issue | None:
    for path in (path for path in (record.image, record.mask) if path is not None):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            return Issue("error", "unsafe-path", record.name, None, f"the name of {path.name} is not UTF-8.")
    return None


def _outside(dataset: Dataset, record: SliceRecord) -> Path | None:
    """Return the file of a slice that a link takes out of the dataset's folder, if any."""
    return next(
        (path for path in (record.image, record.mask) if path is not None and leads_out(dataset.root, path)), None
    )


def _links(dataset: Dataset, found: Sequence[tuple[str, Path]]) -> Issue:
    """Return the one issue of slices behind links that lead out: hubs, DVC and datalad lay out whole datasets so.

    Args:
        dataset: what they are of.
        found: the slice's name, and the file that is the link or lies behind it.
    """
    names = [name for name, _ in found]
    what = f"{found[0][1].name} is, or lies," if len(found) == 1 else f"{len(found)} slices lie"
    examples = "" if len(found) == 1 else f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
    message = (
        f"{what} behind a link that leads out of the dataset's folder{examples}, and what lies there is not opened; "
        f"copy the files themselves: cp -rL {shlex.quote(str(dataset.root))} COPY."
    )
    return Issue("error", "unsafe-path", names[0], None, message)


def _differing_in_case(records: Iterator[SliceRecord]) -> Iterator[Issue]:
    groups: dict[str, list[str]] = defaultdict(list)
    for record in records:
        groups[record.name.casefold()].append(record.name)
    for first, *others in groups.values():
        for other in others:
            if other != first:
                message = f"its name differs from {first} in case only; some systems take both for one file."
                yield Issue("warning", "similar-names", other, None, message)
