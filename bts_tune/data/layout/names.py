"""What the names of folders and files say: the split, images or masks, the kind of tumour, the plane.

A folder's name is taken apart into words, whatever its case and whatever stands between them: `Train`, `train2017`,
`Training Set`, `train_images` and `TrainImages` all name the training split.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Literal

Kind = Literal["images", "masks"]

_SPLITS = {
    **dict.fromkeys(("train", "training", "trainset", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "valset", "validset", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "testset", "tst"), "test"),
}
_IMAGES = ("images", "image", "imgs", "img", "scans", "slices")
_MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "annots", "segmentations", "segmentation"),
    *("segs", "seg", "segm", "gtv", "gt", "gts", "groundtruth", "ground", "truth", "msk", "msks"),
)
_IMAGES_IN_A_PAIR = ("x", "input", "inputs")
_MASKS_IN_A_PAIR = ("y", "target", "targets", "ann", "anns", "output", "outputs")
_OUTPUTS = ("output", "outputs")
_FILLERS = (
    "tumor",
    "tumour",
    "tumors",
    "tumours",
    "lesion",
    "lesions",
    "binary",
    "dir",
    "set",
    "data",
    "dataset",
    "split",
    "mri",
    "all",
    "files",
    "png",
    "jpg",
    "jpeg",
    "tif",
    "tiff",
    "npy",
    "nii",
)

INITIALS = 3
"""Letters of a name that may be a patient's initials."""

SEQUENCES = frozenset(
    ("t1", "t1w", "t1c", "t1ce", "t1gd", "t1n", "t2", "t2w", "t2f", "flair", "pd", "dwi", "adc", "swi")
)
"""Words for sequences of MRI."""

_STRATA = {
    **dict.fromkeys(("glioma", "gliomas"), ("tumour", "glioma")),
    **dict.fromkeys(("meningioma", "meningiomas"), ("tumour", "meningioma")),
    "pituitary": ("tumour", "pituitary"),
    **dict.fromkeys(("notumor", "notumour", "healthy"), ("tumour", "none")),
    **dict.fromkeys(("axial", "transversal"), ("plane", "axial")),
    "coronal": ("plane", "coronal"),
    "sagittal": ("plane", "sagittal"),
}
PLANES = frozenset(word for word, (stratum, _) in _STRATA.items() if stratum == "plane")
"""Words for planes."""
_WITHOUT_TUMOUR = (["no", "tumor"], ["no", "tumour"], ["normal"])
# BRISC 2025: brisc2025_train_00001_gl_ax_t1
_BRISC = re.compile(r"_(gl|me|pi|nt|no)_(ax|co|sa)_t1", re.IGNORECASE)
_BRISC_WORDS = {
    "gl": "glioma",
    "me": "meningioma",
    "pi": "pituitary",
    "nt": "none",
    "no": "none",
    "ax": "axial",
    "co": "coronal",
    "sa": "sagittal",
}

_OF_WHAT = r"(?:tumou?rs?|lesions?|rois?|gtvs?)"
_IS_MASK = r"(?:masks?|msk|segm?s?|segmentations?|segmented|labels?|lbl|gts?|ground[_-]?truth|annotations?|annot)"
# BIDS: sub-01_space-T1w_label-lesion_mask, where `L` is a lesion too; UPENN-GBM: x_automated_approx_segm; the NIfTI
# files of TCGA-GBM and TCGA-LGG: x_GlistrBoost, and x_GlistrBoost_ManuallyCorrected.
_ENTITY = r"(?:(?:space[-_]|res-|label-|desc-)[a-z\d]+_)"
_LESION = r"(?:t1|t2|flair|whole)?(?:lesions?|tumou?rs?|gtv)"
_BIDS = rf"{_ENTITY}*(?:(?:label|desc)-(?:l|{_LESION})_{_ENTITY}*(?:mask|roi|dseg)|label-{_LESION})"
_AUTOMATED = r"auto(?:mated|matic)?(?:[_-]approx)?"
_GLISTR = "GlistrBoost(?:_ManuallyCorrected|_out)?"
_AFFIX = rf"(?:{_BIDS}|{_GLISTR}|(?:{_AUTOMATED}[_\-. ])?(?:(?:{_OF_WHAT}[_\-. ]?)?{_IS_MASK}|{_OF_WHAT}))"
_MASK_NAME = re.compile(rf"(?:(.+?)[_\-. ]+{_AFFIX}|{_AFFIX}[_\-. ]+(.+))", re.IGNORECASE | re.DOTALL)
_LAST_AFFIX = re.compile(rf"(.+)[_\-. ]+{_IS_MASK}", re.IGNORECASE | re.DOTALL)
_SEVERAL = re.compile(rf"(.+?)[_\-. ]+{_AFFIX}[_\-. ]?\d+", re.IGNORECASE | re.DOTALL)
_NUMBERED = re.compile(rf"(?:image|img|slice|{_AFFIX})s?[_\-. ]*(\d.*)", re.IGNORECASE | re.DOTALL)
_BY_PROGRAM = re.compile(
    rf"(?:.*[_\-. ])?(?:{_AUTOMATED}[_\-. ]{_AFFIX}|GlistrBoost(?:_out)?)", re.IGNORECASE | re.DOTALL
)
_SUFFIX = re.compile(r"\.(?:png|jpe?g|tiff?|gif|bmp|webp|npy)", re.IGNORECASE)
_IMAGE_NAME = re.compile(r"(?:(.+?)[_\-. ]+(?:image|img)|(?:image|img)[_\-. ]+(.+))", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Meaning:
    """What a folder's name says; None of what it does not say.

    Attributes:
        split: the split.
        kind: whether it holds images or masks.
        in_a_pair: whether it says so only beside a folder of the other kind, as `x` does beside `y`.
        is_output: whether it is of masks only beside a folder that is one of images in a pair, such as `input`.
    """

    split: str | None = None
    kind: Kind | None = None
    in_a_pair: bool = False
    is_output: bool = False


@cache
def meaning(name: str) -> Meaning | None:
    """Return what a folder's name says; None where it has a word that says neither split nor images nor masks."""
    words = _words(name)
    splits = {_SPLITS[word] for word in words if word in _SPLITS}
    if not words or len(splits) > 1:
        return None
    kinds: tuple[tuple[Kind, bool, tuple[str, ...]], ...] = (
        ("masks", False, _MASKS),  # `mask_images` too
        ("images", False, _IMAGES),
        ("masks", True, _MASKS_IN_A_PAIR),
        ("images", True, _IMAGES_IN_A_PAIR),
    )
    if not all(word in _SPLITS or word in _FILLERS or any(word in of for *_, of in kinds) for word in words):
        return None
    kind, in_a_pair = next(
        ((kind, pair) for kind, pair, of in kinds if any(word in of for word in words)), (None, False)
    )
    split = splits.pop() if splits else None
    is_output = in_a_pair and any(word in _OUTPUTS for word in words)
    return None if split is None and kind is None else Meaning(split, kind, in_a_pair, is_output)


def split_in(name: str) -> str | None:
    """Return the one split that a word of a file's name says, such as that of `instances_train2017.json`."""
    found = {_SPLITS[word] for word in _words(name) if word in _SPLITS}
    return found.pop() if len(found) == 1 else None


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", name))
    return [word for word in re.split(r"[\W\d_]+", apart.lower()) if word]


def split_words(name: str, *, digits: bool = False) -> list[str]:
    """Return the words of a name in small letters; with `digits`, those in them are kept, as in `t1`."""
    return [word for word in re.split(r"[\W_]+", name.lower()) if word] if digits else _words(name)


def strata_of(name: str) -> tuple[tuple[str, str], ...]:
    """Return the kind of tumour and the plane that a slice's name tells, sorted; nothing where it tells neither."""
    found: dict[str, str] = {}
    path = PurePosixPath(name)
    code = _BRISC.search(path.stem)
    if code is not None:
        found = {"tumour": _BRISC_WORDS[code[1].lower()], "plane": _BRISC_WORDS[code[2].lower()]}
    else:
        for words in map(_words, (*path.parts[:-1], path.stem)):
            for word in words:
                if word in _STRATA:
                    found.setdefault(*_STRATA[word])
        if any(_words(folder) in _WITHOUT_TUMOUR for folder in path.parts[:-1]):
            found.setdefault("tumour", "none")
    return tuple(sorted(found.items()))


def tells_strata(folder: str) -> bool:
    """Return whether a folder's name is that of a kind of tumour or of a plane, hence no patient's."""
    words = _words(folder)
    return any(word in _STRATA for word in words) or words in _WITHOUT_TUMOUR


def mask_of(stem: str) -> str | None:
    """Return the stem of the image that a file's stem says it is the mask of; None where it does not say so."""
    match = _MASK_NAME.fullmatch(stem)
    return None if match is None else match[1] or match[2]


def is_mask_alone(stem: str) -> bool:
    """Return whether a stem says that it is a mask and no more, such as `mask` or `seg`."""
    return re.fullmatch(_AFFIX, stem, re.IGNORECASE) is not None


def ends_as_mask(stem: str) -> bool:
    """Return whether a stem ends in a word for masks, such as `x_seg`, and not only in one for tumours."""
    return _LAST_AFFIX.fullmatch(stem) is not None


def is_mask_by_program(stem: str) -> bool:
    """Return whether a mask's stem says that a program drew it, such as `x_automated_approx_segm`."""
    return _BY_PROGRAM.fullmatch(stem) is not None


def one_of_several_masks(stem: str) -> str | None:
    """Return the stem of the image of which `x_mask_1` is one of several masks; None of any other stem."""
    match = _SEVERAL.fullmatch(stem)
    return None if match is None else match[1]


def bare(stem: str) -> str:
    """Return a stem without what says image or mask: what is left is the same for an image and its mask.

    The mask of `x.jpg` may be called `x.jpg.png`, and spaces may stand at the end of a stem.
    """
    stem = stem.strip()
    suffix = _SUFFIX.search(stem, max(0, len(stem) - 5))
    if suffix is not None and suffix.end() == len(stem):
        stem = stem[: suffix.start()]
    match = _MASK_NAME.fullmatch(stem) or _IMAGE_NAME.fullmatch(stem)
    stem = stem if match is None else match[1] or match[2]
    numbered = _NUMBERED.fullmatch(stem)  # image12 and mask12; and slice_12 of slice_12_mask
    return stem if numbered is None else numbered[1]


def pair_key(stem: str) -> tuple[str, bool]:
    """Return what an image and its mask side by side share, and whether a stem is the mask's.

    Beside `x_mask` the image is `x`, `x_image` or `x_img`; beside `mask` it is `image` or `img`.
    """
    if is_mask_alone(stem):
        return "", True
    if re.fullmatch("image|img", stem, re.IGNORECASE):
        return "", False
    of = one_of_several_masks(stem) or mask_of(stem)
    return (bare(stem), False) if of is None else (of, True)


def masks_among(stems: Iterable[str]) -> dict[str, str]:
    """Return which of the stems in one folder are those of masks, each with what `pair_key` says that it shares.

    A stem that another one names is an image's, though it may look like a mask's: `tumor_1` beside `tumor_1_mask`, and
    `x_tumor` beside `x_tumor_mask`, though this is the mask of `x` elsewhere.
    """
    keys = {stem: pair_key(stem) for stem in stems}
    whole = {
        stem: match[1]
        for stem, (key, _) in keys.items()
        if (match := _LAST_AFFIX.fullmatch(stem)) and match[1] in keys and match[1] != key
    }
    keys |= {stem: (image, True) for stem, image in whole.items()}
    named = {key for key, is_mask in keys.values() if is_mask}
    images = set(whole.values())
    return {
        stem: key
        for stem, (key, is_mask) in keys.items()
        if is_mask and stem not in images and (stem not in named or key in keys or not key)
    }


def folded(name: str) -> str:
    """Return a name without the differences that systems make: case, and how accents are put together."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def examples(names: Iterable[str], shown: int = 3) -> str:
    """Return the first names, and how many more there are."""
    listed = list(names)
    more = len(listed) - shown
    return ", ".join(listed[:shown]) + (f", … and {more} more" if more > 0 else "")
