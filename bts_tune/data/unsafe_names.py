"""Names of files that would lead elsewhere or be taken for another: found before any image is opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from bts_tune.data.files import Links, behind_links
from bts_tune.data.records import Dataset, Issue, SliceRecord
from bts_tune.text import plural

Item = TypeVar("Item")

_FEW = 3
"""Links that lead out are named one by one up to this number; above it they have one cause."""


def without_unsafe_names(dataset: Dataset) -> Dataset:
    """Return a dataset without the slices that must not be opened, and with an issue for each such name.

    An error is a file that a link takes out of the dataset's folder, and a name that is not UTF-8. Names that differ
    only in case are a warning: on some systems they are one file.
    """
    issues = list(dataset.issues)
    records = []
    for record in (one for members in dataset.records.values() for one in members):
        problem = _not_utf8(record)
        if problem is None:
            records.append(record)
        else:
            issues.append(problem)
    records = inside(dataset.root, records, lambda one: one.name, _files, issues, "slice")
    issues += _differing_in_case(records)
    of_split: dict[str, list[SliceRecord]] = {split: [] for split in dataset.records}
    for record in records:
        of_split[record.split].append(record)
    return replace(
        dataset, records={split: tuple(members) for split, members in of_split.items()}, issues=tuple(issues)
    )


def inside(
    root: Path,
    items: Iterable[Item],
    name: Callable[[Item], str],
    files: Callable[[Item], Iterable[Path]],
    issues: list[Issue],
    kind: str = "file",
) -> list[Item]:
    """Return what may be opened of a dataset; of the rest, which links take out of its folder, add an error.

    Args:
        root: the dataset's folder.
        items: slices, or what slices are made from.
        name: of an item, what to call it.
        files: of an item, its files.
        issues: what the error is added to; hubs, DVC and datalad lay out whole datasets as links, which is one error.
        kind: of the items, what one is.
    """
    links = Links(root)
    kept: list[Item] = []
    outside: list[tuple[str, Path]] = []
    for item in items:
        found = next((path for path in files(item) if links.lead_out(path)), None)
        if found is None:
            kept.append(item)
        else:
            outside.append((name(item), found))
    if len(outside) > _FEW:
        issues.append(_links(root, outside, kind))
    else:
        issues += [_links(root, [one], kind) for one in outside]
    return kept


def _files(record: SliceRecord) -> Iterator[Path]:
    yield record.image
    if record.mask is not None:
        yield record.mask
    if record.source is not None:
        yield from record.source.files()


def _not_utf8(record: SliceRecord) -> Issue | None:
    for path in (path for path in (record.image, record.mask) if path is not None):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            return Issue("error", "unsafe-path", record.name, None, f"the name of {path.name} is not UTF-8.")
    return None


def _links(root: Path, found: Sequence[tuple[str, Path]], kind: str) -> Issue:
    """Return the one issue of what lies behind links that lead out.

    Args:
        root: the dataset's folder.
        found: names, and the file of each that is the link or lies behind it.
        kind: what one of the names is of.
    """
    names = [name for name, _ in found]
    what = f"{found[0][1].name} is, or lies," if len(found) == 1 else f"{plural(len(found), kind)} lie"
    examples = "" if len(found) == 1 else f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
    return Issue("error", "unsafe-path", names[0], None, f"{what} {behind_links(root, examples)}")


def _differing_in_case(records: Iterable[SliceRecord]) -> Iterator[Issue]:
    groups: dict[str, list[str]] = defaultdict(list)
    for record in records:
        groups[record.name.casefold()].append(record.name)
    for first, *others in groups.values():
        for other in others:
            if other != first:
                message = f"its name differs from {first} in case only; some systems take both for one file."
                yield Issue("warning", "similar-names", other, None, message)
