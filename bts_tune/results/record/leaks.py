"""How images outside the training split are related to it by appearance: three classes, and the file that keeps them.

Of each image outside, `leaks.csv` names the training image that is closest to it. The classes:

- *identical*: the same picture, also mirrored, rotated or compressed anew.
- *same scan*: so alike, as a whole or in their detail, that nearly all pairs measured were of one patient.
- *similar*: of one patient more often than not, the more so the higher the correlation; many are not.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from bts_tune.errors import RunError
from bts_tune.results.record.files import write_atomically
from bts_tune.results.record.schema import check_leak
from bts_tune.text import percent, plural

Relation = Literal["identical", "same scan", "similar"]
RELATIONS: tuple[Relation, ...] = get_args(Relation)

SIMILAR_ABOVE = 0.9
"""Correlation at 32 x 32 pixels, as they are, above which two images are similar."""
SAME_SCAN_ABOVE = 0.96
"""The same for one scan."""
DETAIL_ABOVE = 0.54
"""Correlation of detail at 64 x 64 pixels above which two images, as they are, are of one scan, whatever the others."""
TURNED_ABOVE = 0.98
"""The same for one scan where one of the two is mirrored or rotated; there is no similar below."""
IDENTICAL_ABOVE = 0.995
"""Correlation at 256 x 256 pixels above which two images are identical."""

MEASURED_ON = "measured on 1,373 slices of 110 known patients"

MEANINGS: Mapping[Relation, str] = {
    "identical": (
        f"the same picture, also mirrored or rotated: a correlation above {IDENTICAL_ABOVE:g} at 256 x 256 pixels"
    ),
    "same scan": (
        f"a correlation above {SAME_SCAN_ABOVE:g} at 32 x 32 pixels, where all pairs were of one patient, above "
        f"{TURNED_ABOVE:g} with one of the two mirrored or rotated, or above {DETAIL_ABOVE:g} in the detail at 64 x 64 "
        "pixels, where 40 of 42 pairs of BRISC 2025 that were looked at showed one patient"
    ),
    "similar": (
        f"{SIMILAR_ABOVE:g} to {SAME_SCAN_ABOVE:g} at 32 x 32 pixels, where 31 % of the pairs at 0.90 to "
        "0.92, 65 % at 0.92 to 0.94 and 92 % at 0.94 to 0.96 were of one patient"
    ),
}
"""What each class means and how often its pairs were of one patient; `MEASURED_ON` says on what, where nothing else is
said."""

_PARTLY = "Patients are not known: groups by appearance find only part of what belongs together "
_SO = ", so that slices of one patient may stand in several splits; --group-by tells the patients."

UNKNOWN_PATIENTS = (
    f"{_PARTLY}(without their numbers, 25 % of the pairs of neighbouring slices in 2,146 numbered ones, at a pair "
    f"precision of 0.96){_SO}"
)

_COARSE_MEANINGS: Mapping[Relation, str] = {
    **MEANINGS,
    "same scan": (
        f"a correlation above {SAME_SCAN_ABOVE:g} at 32 x 32 pixels, where all pairs were of one patient, or above "
        f"{TURNED_ABOVE:g} with one of the two mirrored or rotated"
    ),
}
_COARSE_UNKNOWN_PATIENTS = f"{_PARTLY}(57 % of a patient's pairs of slices, at a precision of 0.99, {MEASURED_ON}){_SO}"


def meanings(leak: Mapping[str, Any]) -> Mapping[Relation, str]:
    """Return what each class meant in a run.

    Args:
        leak: as `run.json` has it; runs of earlier versions did not compare detail.
    """
    return MEANINGS if "threshold_detail" in leak else _COARSE_MEANINGS


def unknown_patients(leak: Mapping[str, Any]) -> str:
    """Return what a run's split leaves open where patients are not known."""
    return UNKNOWN_PATIENTS if "threshold_detail" in leak else _COARSE_UNKNOWN_PATIENTS


MAX_BYTES = 2**26


@dataclass(frozen=True)
class LeakPair:
    """An image outside the training split and the training image that is closest to it.

    Attributes:
        file: the image outside.
        split: that it is in.
        train_file: the training image.
        correlation: at 32 x 32 pixels.
        orientation: how the training image is turned to look like the other.
        relation: the class of the two.
        correlation_256: at 256 x 256 pixels; None where it was not looked at.
        mask_dice: of identical images, the Dice of their masks; None where both are empty or nobody looked.
    """

    file: str
    split: str
    train_file: str
    correlation: float
    orientation: str
    relation: Relation = "similar"
    correlation_256: float | None = None
    mask_dice: float | None = None


_COLUMNS = [one.name for one in fields(LeakPair)]


def leaks_csv(pairs: Iterable[LeakPair]) -> str:
    """Return pairs as CSV, a column a field."""
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    table.writeheader()
    for pair in pairs:
        table.writerow({name: "" if value is None else value for name, value in asdict(pair).items()})
    return text.getvalue()


def write_leaks(path: Path, pairs: Iterable[LeakPair]) -> None:
    """Write pairs to a file.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(path, leaks_csv(pairs).encode(errors="replace"))


def read_leaks(path: Path) -> list[LeakPair] | None:
    """Return what `write_leaks` wrote; None without a file, as in a run of an earlier version.

    Raises:
        RunError: it cannot be read, or holds what no run writes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{path.name} cannot be read: {error.strerror}.") from None
    if len(data) > MAX_BYTES:
        raise RunError(f"{path.name} is larger than {MAX_BYTES} bytes, hence not what a run writes.")
    try:
        table = csv.DictReader(io.StringIO(data.decode(), newline=""), restkey="more")
        missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise RunError(f"{path.name} cannot be used: it has no column {missing[0]}.")
        pairs = []
        for row in table:
            content: dict[str, Any] = {name: row[name] or None for name in _COLUMNS}
            pairs.append(LeakPair(**check_leak(content, f"{path.name}, line {table.line_num}")))
    except (csv.Error, UnicodeDecodeError) as error:
        raise RunError(f"{path.name} cannot be read: {error}.") from None
    return pairs


def of_the_same_scan(pairs: Iterable[LeakPair], split: str) -> set[str]:
    """Return the images of a split that have an identical or a same-scan image in training."""
    return {pair.file for pair in pairs if pair.split == split and pair.relation != "similar"}


def agreement_sentence(pairs: int, different: int, median: float) -> str:
    """Return what the masks of identical images say of the annotators.

    Args:
        pairs: of images that are identical as they are.
        different: how many have different masks.
        median: the median Dice of those.
    """
    return (
        f"Of {plural(pairs, 'pair')} of images that are identical as they are, {different} have different masks, with "
        f"a median Dice of {median:.3f} between the two: the ceiling of annotators' agreement. A higher Dice of an "
        "image means no better model."
    )


def closest_sentence(splits: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return what share of each split has which closest relation in training; None where that is not on record.

    Args:
        splits: by name, numbers of images, as `run.json` has them under `leak.splits`.
    """
    counted = {name: one for name, one in splits.items() if one.get("identical") is not None and one.get("images")}
    if not counted:
        return None
    shares = [
        " and ".join(f"{percent(one[key] / one['images'], 1)} of {name}" for name, one in counted.items())
        for key in ("identical", "same_scan", "similar")
    ]
    return (
        f"The closest image in train is identical for {shares[0]}, of the same scan for {shares[1]}, no more than "
        f"similar for {shares[2]}."
    )
