"""Names of files that would lead elsewhere or be taken for another: found before any image is opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from bts_tune.data.files import leads_out
from bts_tune.data.records import Dataset, Issue, SliceRecord


def without_unsafe_names(dataset: Dataset) -> Dataset:
    """Return a dataset without the slices that must not be opened, and with an issue for each such name.

    An error is a file that a link takes out of the dataset's folder, and a name that is not UTF-8. Names that differ
    only in case are a warning: on some systems they are one file.
    """
    issues = list(dataset.issues)
    records: dict[str, tuple[SliceRecord, ...]] = {}
    for split, members in dataset.records.items():
        problems = {record.name: _problem(dataset, record) for record in members}
        records[split] = tuple(record for record in members if problems[record.name] is None)
        issues += [problem for problem in problems.values() if problem is not None]
    issues += _differing_in_case(record for members in records.values() for record in members)
    return replace(dataset, records=records, issues=tuple(issues))


def _problem(dataset: Dataset, record: SliceRecord) -> Issue | None:
    for path in (record.image, record.mask):
        if path is None:
            continue
        try:
            str(path).encode()
        except UnicodeEncodeError:
            return Issue("error", "unsafe-path", record.name, None, f"the name of {path.name} is not UTF-8.")
        if leads_out(dataset.root, path):
            message = f"{path.name} is, or lies behind, a link that leads out of the dataset's folder."
            return Issue("error", "unsafe-path", record.name, None, message)
    return None


def _differing_in_case(records: Iterator[SliceRecord]) -> Iterator[Issue]:
    groups: dict[str, list[str]] = defaultdict(list)
    for record in records:
        groups[record.name.casefold()].append(record.name)
    for first, *others in groups.values():
        for other in others:
            if other != first:
                message = f"its name differs from {first} in case only; some systems take both for one file."
                yield Issue("warning", "similar-names", other, None, message)
