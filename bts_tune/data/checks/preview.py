"""A contact sheet: slices with the outlines of their masks, suspicious ones first, so that a wrong mask is seen.

Each part of the sheet shows a few slices for one reason, and a slice stands in the first part that it belongs to.
Slices that nothing is odd about come last, evenly spread over the dataset.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bts_tune.data.parallel import Progress, parallel_map
from bts_tune.data.prepared.images import read_mask, view_slice
from bts_tune.data.records import Dataset, SliceRecord
from bts_tune.data.scan.scan import Scan
from bts_tune.errors import DataError
from bts_tune.results.record.files import write_atomically

COLUMNS = 6
PER_PART = 12
"""Slices that are shown for one reason at most."""
MOST_OPENED = 5_000
"""Slices that are opened for the sheet at most, evenly spread over the dataset."""

OUTSIDE = 0.2
"""Share of a tumour that lies outside of the head from which on it is suspicious."""

IN_RUN, PER_PART_IN_RUN, OPENED_IN_RUN = 18, 6, 1_000
"""Of the sheet that a run keeps: slices that are shown, those for one reason, and those that are opened for it."""

_TILE, _LINE, _GAP = 192, 16, 6
_TILE_IN_RUN = 160
_OUTLINE = (60, 60, 255)  # BGR
_HARDLY_SEEN = 12
"""Tumours of fewer pixels on a tile get a circle around them."""
_ODD_CODES = (
    *("odd-mask", "large-mask", "full-mask", "outline-mask", "mask-is-image", "unclear-mask", "wrong-mask-size"),
    "wrong-size",
)

_SHORT = {
    "The check found something odd": "odd mask",
    "The tumour lies outside of the head": "outside of the head",
    "The tumour touches the border of the image": "at the border",
    "The largest tumours": "largest",
    "The smallest tumours": "smallest",
    "No tumour": "no tumour",
    "Others, spread over the dataset": "others",
}
"""What the parts are called under a small picture."""


@dataclass(frozen=True, eq=False)
class Look:
    """What a slice shows of its mask.

    Attributes:
        record: the slice.
        share: the tumour's share of the image's area.
        at_border: whether the tumour touches the border of the image.
        outside: share of the tumour that lies outside of the head.
    """

    record: SliceRecord
    share: float
    at_border: bool
    outside: float


@dataclass(frozen=True)
class Part:
    """A part of the sheet: slices that are shown for one reason.

    Attributes:
        title: the reason.
        number: of slices that it holds for, as far as slices were opened.
        slices: those that are shown, each with a few words.
    """

    title: str
    number: int
    slices: tuple[tuple[SliceRecord, str], ...]


def choose_slices(
    dataset: Dataset,
    scan: Scan,
    *,
    progress: Progress | None = None,
    per_part: int = PER_PART,
    most_others: int = PER_PART,
    most_opened: int = MOST_OPENED,
) -> list[Part]:
    """Return the parts of a dataset's sheet, the suspicious ones first; empty ones are left out.

    Args:
        dataset: as it was scanned.
        scan: of the dataset; it knows which values of masks are tumour.
        progress: called after each slice that is opened.
        per_part: slices that are shown for one reason at most.
        most_others: slices that are shown though nothing is odd about them, at most.
        most_opened: slices that are opened at most, evenly spread over the dataset.
    """
    records = list(dataset)
    opened = records[:: max(1, -(-len(records) // most_opened))]
    found = parallel_map(lambda record: _look(record, scan), opened, progress=progress)
    looks = [look for look in found if look is not None]
    odd = _odd(dataset, scan)
    with_tumor = sorted((look for look in looks if look.share > 0), key=lambda look: look.share)
    few = min(per_part, max(1, len(with_tumor) // 10))
    reasons: list[tuple[str, Sequence[Look | SliceRecord], Callable[[Look], str]]] = [
        ("The check found something odd", odd, _area),
        ("The tumour lies outside of the head", _outside(looks), lambda look: f"{look.outside:.0%} outside"),
        ("The tumour touches the border of the image", [look for look in with_tumor if look.at_border], _area),
        ("The largest tumours", with_tumor[::-1][:few], _area),
        ("The smallest tumours", with_tumor[:few], _area),
        ("No tumour", [look for look in looks if look.share == 0], _area),
        ("Others, spread over the dataset", looks, _area),
    ]
    parts: list[Part] = []
    shown: set[str] = set()
    by_name = {look.record.name: look for look in looks}
    for title, members, words in reasons:
        left = [one for one in (_record(member) for member in members) if one.name not in shown]
        most = per_part if members is not looks else most_others
        spread = left if members is not looks else left[:: max(1, len(left) // most)]
        chosen = spread[:most]
        shown |= {record.name for record in chosen}
        said = [words(by_name[record.name]) if record.name in by_name else "" for record in chosen]
        if chosen:
            parts.append(Part(title, len(members), tuple(zip(chosen, said, strict=True))))
    return parts


def require_format(path: Path) -> None:
    """Raise a `DataError` where a sheet cannot be written under this name."""
    if path.suffix.lower() not in (".png", ".html"):
        raise DataError(f"--preview {path}: must end in .png or .html.")


def write_preview(path: Path, dataset: Dataset, scan: Scan, *, progress: Progress | None = None) -> None:
    """Write a dataset's sheet as a picture or a page.

    Args:
        path: a file that ends in `.png` or `.html`.
        dataset: as it was scanned.
        scan: of the dataset.
        progress: called after each slice that is opened.

    Raises:
        DataError: the file's name ends in something else, or it cannot be written.
    """
    require_format(path)
    parts = choose_slices(dataset, scan, progress=progress)
    content = _png(parts, scan) if path.suffix.lower() == ".png" else _page(dataset, parts, scan).encode()
    try:
        write_atomically(path, content)
    except OSError as error:
        raise DataError(f"--preview {path}: cannot be written: {error.strerror}.") from None


def sheet_of_run(dataset: Dataset, scan: Scan, *, progress: Progress | None = None) -> bytes | None:
    """Return the small sheet that a run keeps for its report, as PNG; None where no slice can be shown.

    It has the suspicious slices first, then others up to `IN_RUN`. Of each grey value the last bits are dropped, which
    nobody sees and leaves a smaller file.
    """
    parts = choose_slices(
        dataset, scan, progress=progress, per_part=PER_PART_IN_RUN, most_others=IN_RUN, most_opened=OPENED_IN_RUN
    )
    listed = [(part.title, record, words) for part in parts for record, words in part.slices][:IN_RUN]
    if not listed:
        return None
    rows: list[np.ndarray] = []
    for start in range(0, len(listed), COLUMNS):
        tiles = []
        for title, record, words in listed[start : start + COLUMNS]:
            resized = cv2.resize(_tile(record, scan), (_TILE_IN_RUN, _TILE_IN_RUN), interpolation=cv2.INTER_AREA)
            lines = [_text(text, _TILE_IN_RUN) for text in (_SHORT[title], words, Path(record.name).name)]
            tiles.append(np.vstack([np.asarray(resized, dtype=np.uint8) & 0xF8, *lines]))
        empty = np.zeros_like(tiles[0])
        rows.append(np.hstack([*tiles, *[empty] * (COLUMNS - len(tiles))]))
    return cv2.imencode(".png", np.vstack(rows), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def _look(record: SliceRecord, scan: Scan) -> Look | None:
    """Open a slice; None where it or its mask cannot be read, or they are of different sizes."""
    try:
        grey, mask = view_slice(record), read_mask(record, scan.masks.rule)
    except DataError:
        return None
    if grey.shape != mask.shape:
        return None
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    outside = float(mask[head(grey) == 0].sum() / mask.sum()) if mask.any() else 0.0
    return Look(record, float(mask.mean()), bool(border.any()), outside)


def head(grey: np.ndarray) -> np.ndarray:
    """Return the head on an image (uint8 [height, width]) as uint8 0 and 1: the hull of its largest bright region.

    Where the background is not dark, it is the whole image.
    """
    smooth = cv2.blur(grey, (5, 5))
    bright = (smooth > 0.12 * np.quantile(smooth, 0.99)).astype(np.uint8)
    regions, labels, statistics, _ = cv2.connectedComponentsWithStats(bright)
    found = np.zeros(grey.shape, dtype=np.uint8)
    if regions < 2:
        return found + 1
    largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
    outlines, _ = cv2.findContours((labels == largest).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.fillConvexPoly(found, cv2.convexHull(np.vstack(list(outlines))), 1)
    return found


def _odd(dataset: Dataset, scan: Scan) -> list[SliceRecord]:
    """Return the slices whose masks the check names."""
    named = {issue.file for issue in scan.masks.issues if issue.code in _ODD_CODES}
    for name, one in scan.slices.items():
        if any(issue.code in _ODD_CODES for issue in one.issues):
            named.add(name)
    return [record for record in dataset if record.name in named]


def _outside(looks: Sequence[Look]) -> list[Look]:
    return sorted((look for look in looks if look.outside >= OUTSIDE), key=lambda look: -look.outside)


def _record(member: Look | SliceRecord) -> SliceRecord:
    return member.record if isinstance(member, Look) else member


def _area(look: Look) -> str:
    return f"{look.share:.2%}"


def _tile(record: SliceRecord, scan: Scan) -> np.ndarray:
    """Return a slice with its mask's outline, uint8 [side, side, 3] in BGR; grey where it cannot be shown."""
    tile = np.full((_TILE, _TILE, 3), 40, dtype=np.uint8)
    try:
        grey = view_slice(record)
    except DataError:
        return tile
    scale = _TILE / max(grey.shape)
    width, height = (max(1, round(side * scale)) for side in grey.shape[::-1])
    tile[:] = 0
    tile[:height, :width] = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)[..., None]
    try:
        mask = read_mask(record, scan.masks.rule)
    except DataError:
        return tile
    resized = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT if scale > 1 else cv2.INTER_AREA)
    outlines, _ = cv2.findContours(resized, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, outlines, -1, _OUTLINE, 1)
    if mask.any() and resized.sum() < _HARDLY_SEEN:
        y, x = np.argwhere(mask).mean(axis=0) * scale
        cv2.circle(tile, (round(x), round(y)), 9, _OUTLINE, 1)
    return tile


def _png(parts: Sequence[Part], scan: Scan) -> bytes:
    width = COLUMNS * (_TILE + _GAP) + _GAP
    rows: list[np.ndarray] = [_text(scan.masks.sentence() if scan.masks.number else "", width)]
    for part in parts:
        rows.append(_text(f"{part.title} ({part.number})", width, 0.5))
        for start in range(0, len(part.slices), COLUMNS):
            row = np.zeros((_TILE + 2 * _LINE + _GAP, width, 3), dtype=np.uint8)
            for place, (record, words) in enumerate(part.slices[start : start + COLUMNS]):
                left = _GAP + place * (_TILE + _GAP)
                row[:_TILE, left : left + _TILE] = _tile(record, scan)
                row[_TILE : _TILE + _LINE, left : left + _TILE] = _text(f"{record.split}  {words}", _TILE)
                row[_TILE + _LINE : _TILE + 2 * _LINE, left : left + _TILE] = _text(Path(record.name).name, _TILE)
            rows.append(row)
    return cv2.imencode(".png", np.vstack(rows))[1].tobytes()


def _text(text: str, width: int, size: float = 0.38) -> np.ndarray:
    """Return one line of text, white on black; where it does not fit, '..' and its end, as names differ there."""
    line = np.zeros((_LINE + (6 if size > 0.4 else 0), width, 3), dtype=np.uint8)
    whole = printable = text.encode("ascii", "replace").decode()
    for start in range(1, len(whole)):
        if cv2.getTextSize(printable, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] <= width - 4:
            break
        printable = f"..{whole[start:]}"
    cv2.putText(line, printable, (2, len(line) - 5), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
    return line


def _page(dataset: Dataset, parts: Sequence[Part], scan: Scan) -> str:
    return "\n".join(_lines(dataset, parts, scan)) + "\n"


def _lines(dataset: Dataset, parts: Sequence[Part], scan: Scan) -> Iterator[str]:
    yield '<!DOCTYPE html><html lang="en"><meta charset="utf-8">'
    yield f"<title>{_escaped(f'Masks of {dataset.root}')}</title>"
    yield (
        "<style>body{background:#111;color:#ddd;font:14px sans-serif;margin:1.5em}"
        "figure{display:inline-block;margin:4px;width:192px;vertical-align:top;overflow-wrap:anywhere}"
        "img{display:block}figcaption{font-size:12px}</style>"
    )
    yield f"<h1>{_escaped(f'Masks of {dataset.root}')}</h1>"
    if scan.masks.number:
        yield f"<p>{_escaped(scan.masks.sentence())}</p>"
    for part in parts:
        yield f"<h2>{_escaped(f'{part.title} ({part.number})')}</h2>"
        for record, words in part.slices:
            picture = base64.b64encode(cv2.imencode(".png", _tile(record, scan))[1].tobytes()).decode()
            yield f'<figure><img alt="" src="data:image/png;base64,{picture}">'
            yield f"<figcaption>{_escaped(f'{record.split} {words}')}<br>{_escaped(record.name)}</figcaption></figure>"


def _escaped(text: str) -> str:
    return html.escape(text.encode("utf-8", "backslashreplace").decode())
