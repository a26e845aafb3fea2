"""Pairing images with their masks, by the folders and the stems of their files."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from bts_tune.data.layout.names import (
    SEQUENCES,
    bare,
    examples,
    folded,
    mask_of,
    meaning,
    one_of_several_masks,
    split_words,
)
from bts_tune.data.layout.patients import Folders, folders_between
from bts_tune.data.layout.split_folders import Place
from bts_tune.data.records import Issue, SliceRecord
from bts_tune.data.volumes.nifti import NIFTI_SUFFIXES, is_nifti, volume_stem
from bts_tune.text import plural

_FEWEST = 3
"""Images and masks whose names are compared to find what all of them have."""

_OF_SEQUENCES = (
    "Where each mask is of several sequences, put it beside its volumes (x_flair.nii.gz, x_t1.nii.gz, x_seg.nii.gz): "
    "--sequence chooses one then."
)

_Key = tuple[str, str]
"""Of a file: the folder below that of images or masks, and the stem."""


class Pairs:
    """Images with their masks, and what is wrong with the others."""

    def __init__(self) -> None:
        self.records: list[SliceRecord] = []
        self.issues: list[Issue] = []


def pair(root: Path, split: str, images: Place, masks: Place, *, volumes: bool = False) -> Pairs:
    """Pair the files of two folders by their stems: image files, or volumes.

    A stem's own mask is taken first; then one whose stem says whose it is (`x_mask` of `x`); then one whose stem has
    the same number or name in it (`mask12` of `image12`); then one whose stem differs in case or in how accents are put
    together; then one whose folders and stem have the same words, tumours included (`tumor/1` for `tumor1`); then one
    in another folder, unless images and masks both have a folder of that name, or each lies in a folder that the other
    does not (`P4/7` is no mask of `P3/7`); then one whose folders and stem have the same words and numbers (`P1_007`
    for `P1/7`); then, of volumes, the only one in a folder for the only one in that folder, which is said.
    Only one may fit each time, and what names an image is of no other. Where none at all fits so, what all images or
    all masks have more in their stems is left out (`P1_seg` for `P1_t1`), which is said.
    """
    result = Pairs()
    of_image, of_mask = _by_key(images, volumes), _by_key(masks, volumes)
    open_images, open_masks = dict(of_image), dict(of_mask)
    pairs: dict[_Key, _Key] = {}
    shared = {folded(folder) for folder, _ in of_image} & {folded(folder) for folder, _ in of_mask} - {"."}

    def may(image: _Key, mask: _Key) -> bool:
        named = {name for name in (mask_of(mask[1]), bare(mask[1])) if name and (mask[0], name) in of_image}
        return not named or image[1] in named

    def fit(image: _Key, mask: _Key) -> bool:
        apart = folded(image[0]) not in shared and folded(mask[0]) not in shared
        return apart and may(image, mask) and _folders_agree(image, mask)

    def lie_in_folders(image: _Key, mask: _Key) -> bool:
        return (image[0], mask[0]) != (".", ".") and may(image, mask) and _folders_agree(image, mask)

    steps: list[Callable[[], list[tuple[_Key, _Key]]]] = [
        lambda: _matches(open_images, open_masks, _itself),
        lambda: _named(open_images, open_masks),
        lambda: _matches(open_images, open_masks, _bare, may),
        lambda: _matches(open_images, open_masks, _folded, may),
        lambda: _matches(open_images, open_masks, _in_such_folders, fit),
        lambda: _matches(open_images, open_masks, _all_words, lie_in_folders),
        lambda: _matches(open_images, open_masks, _stem_alone, fit),
        lambda: _matches(open_images, open_masks, _words, may),
    ]
    for step in steps:
        for image, mask in step():
            pairs[image] = mask
            del open_images[image], open_masks[mask]
    lone_ones = _only_ones(of_image, of_mask, open_images, open_masks) if volumes else []
    for image, mask in lone_ones:
        pairs[image] = mask
        del open_images[image], open_masks[mask]
    if lone_ones:
        image, mask = lone_ones[0]
        names = [path.relative_to(root).as_posix() for path in (of_image[image][0], of_mask[mask][0])]
        message = (
            f"the masks of {plural(len(lone_ones), 'volume')} are the only ones in their folders, such as {names[1]} "
            f"for {names[0]}."
        )
        result.issues.append(Issue("warning", "masks-by-folder", names[0], None, message))
    if not pairs:
        pairs = _by_what_differs(open_images, open_masks)
        for image, mask in pairs.items():
            del open_images[image], open_masks[mask]
        if pairs:
            image, mask = next(iter(pairs.items()))
            name = of_image[image][0].relative_to(root).as_posix()
            message = (
                f"the masks of {plural(len(pairs), 'image')} are found by what their names have in common, such as "
                f"{of_mask[mask][0].name} for {of_image[image][0].name}."
            )
            result.issues.append(Issue("warning", "masks-by-common-name", name, None, message))
    several = _further_masks(of_image, open_masks, pairs)
    lone: list[str] = []
    for key, files in of_image.items():
        name = files[0].relative_to(root).as_posix()
        of_stem = [
            *of_mask.get(pairs.get(key, key), []),
            *(path for one in several.get(key, []) for path in of_mask[one]),
        ]
        if len(files) > 1 or len(of_stem) > 1:
            listed = ", ".join(f"{path.parent.name}/{path.name}" for path in (*files, *of_stem))
            message = f"several files share the stem {key[1]!r}, so image and mask cannot be paired: {listed}."
            result.issues.append(Issue("error", "duplicate-stem", name, None, message))
        elif not of_stem:
            lone.append(name)
        else:
            result.records.append(SliceRecord(name, split, files[0], key[1], mask=of_stem[0]))
    taken = {*pairs.values(), *(key for keys in several.values() for key in keys)}
    masks_left = [path for key, files in of_mask.items() if key not in taken for path in files]
    of_several = _images_with_several(images, [root / name for name in lone], masks, masks_left)
    if of_several:
        result.issues.append(_several_masks(root, of_several, len(of_image)))
        lone = [name for name in lone if root / name not in of_several]
        masks_left = [path for path in masks_left if not any(path in of for of in of_several.values())]
    if lone:
        result.issues.append(_missing_masks(root, lone, len(of_image), images, masks, masks_left))
        fitting = [path for key, files in open_images.items() for path in files if masks_left]
        result.issues[-1] = _with_several(root, result.issues[-1], fitting, masks_left)
        if volumes and len(lone) >= 2 * len(masks_left) > 0:
            issue = result.issues[-1]
            result.issues[-1] = replace(issue, message=f"{issue.message} {_OF_SEQUENCES}")
    for path in masks_left:
        stem = _below_and_stem(masks, path)
        message = f"no image of the stem {stem!r} in {images.folder.name}/, hence not used."
        result.issues.append(Issue("warning", "unlisted-file", path.relative_to(root).as_posix(), None, message))
    result.issues.sort(key=lambda issue: (issue.level, issue.file))
    result.records.sort(key=lambda record: record.image)
    return result


def _images_with_several(
    images: Place, lone: Sequence[Path], masks: Place, left: Sequence[Path]
) -> dict[Path, list[Path]]:
    """Return the images without a mask that several masks fit, which lie in folders such as `masks/tumor`."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in left:
        by_stem[folded(bare(_stem(path)))].append(path)
    found: dict[Path, list[Path]] = {}
    for image in lone:
        above = set(map(folded, folders_below(images.folder, image)))  # the mask of another patient does not fit
        fitting = [
            path
            for path in by_stem[folded(bare(_stem(image)))]
            if above <= set(map(folded, folders_below(masks.folder, path)))
        ]
        if len(fitting) > 1:
            found[image] = fitting
    return found


def _several_masks(root: Path, of_several: Mapping[Path, Sequence[Path]], count: int) -> Issue:
    image, fitting = next(iter(of_several.items()))
    listed = examples([path.relative_to(root).as_posix() for path in fitting])
    name = image.relative_to(root).as_posix()
    message = (
        f"several masks fit {len(of_several)} of {plural(count, 'image')}, such as {name}: {listed}; keep those of one "
        "folder, or unite them."
    )
    return Issue("error", "duplicate-stem", name, None, message)


def _missing_masks(root: Path, lone: list[str], count: int, images: Place, masks: Place, left: list[Path]) -> Issue:
    stem, where = _below_and_stem(images, root / lone[0]), f"{masks.folder.name}/"
    message = f"no mask of the stem {stem!r} in {where}; a slice without a tumour needs an all-zero mask."
    if len(lone) > 1:
        message = f"{len(lone)} of {count} images have no mask of their stem in {where} ({examples(lone)}); "
        if left:
            message += f"it holds {plural(len(left), 'file')} that fit no image, such as {left[0].name}: "
            message += "give a mask the name of its image, with _mask behind it if you like."
        else:
            message += "a slice without a tumour needs an all-zero mask."
    return Issue("error", "missing-mask", lone[0], None, message)


def _further_masks(images: Iterable[_Key], masks: Iterable[_Key], pairs: Mapping[_Key, _Key]) -> dict[_Key, list[_Key]]:
    """Return the masks without an image that are further ones of an image: `x_mask_1`, or `x_2` beside the mask `x`.

    Where images are called `x_1` and `x_3`, `x_2` is no mask of `x`: its own image is missing.
    """
    of_key = {_folded(image): image for image in images}
    of_key |= {_folded((mask[0], image[1])): image for image, mask in pairs.items()}
    longer = {(folder, start) for folder, stem in of_key for start in _beginnings(stem)}
    found: dict[_Key, list[_Key]] = defaultdict(list)
    for mask in masks:
        folder, stem = _folded(mask)
        named = one_of_several_masks(mask[1])
        keys = [] if named is None else [_folded((mask[0], named))]
        keys += [key for start in _beginnings(stem) if (key := (folder, start)) not in longer]
        image = next((of_key[key] for key in keys if key in of_key), None)
        if image is not None and (image in pairs or named is not None):
            found[image].append(mask)
    return found


def _beginnings(stem: str) -> list[str]:
    """Return what stands before each separator in a stem, the longest first."""
    return [stem[: match.start()] for match in reversed(list(re.finditer(r"[\W_]+", stem))) if match.start()]


def _below_and_stem(place: Place, path: Path) -> str:
    """Return the folders below a place and the stem: `P1/7` is another one than `P2/7`."""
    return (path.parent.relative_to(place.folder) / path.stem).as_posix()


def _with_several(root: Path, issue: Issue, lone: Sequence[Path], left: Sequence[Path]) -> Issue:
    """Return an issue on images without a mask, with the cause where a mask fits several of them."""
    fitting: dict[str, list[Path]] = defaultdict(list)
    for path in lone:
        fitting[folded(bare(_stem(path)))].append(path)
    for mask in left:
        images = fitting[folded(bare(_stem(mask)))]
        if len(images) > 1:
            names = examples([path.relative_to(root).as_posix() for path in images])
            also = f" {mask.relative_to(root).as_posix()} fits {len(images)} images ({names}): keep one."
            return replace(issue, message=issue.message + also)
    return issue


def _named(images: Iterable[_Key], masks: Iterable[_Key]) -> list[tuple[_Key, _Key]]:
    """Return the images with the masks that say that they are of just these, where only one does."""
    there = set(images)
    naming: dict[_Key, list[_Key]] = defaultdict(list)
    for folder, stem in masks:
        named = mask_of(stem)
        if named is not None and (folder, named) in there:
            naming[folder, named].append((folder, stem))
    return sorted((image, of[0]) for image, of in naming.items() if len(of) == 1)


def _only_ones(
    images: Iterable[_Key], masks: Iterable[_Key], open_images: Iterable[_Key], open_masks: Iterable[_Key]
) -> list[tuple[_Key, _Key]]:
    """Return the images and masks without each other that are alone in folders of one name."""
    of_image, of_mask = (_grouped(keys, lambda key: folded(key[0])) for keys in (images, masks))
    left = {*open_images}, {*open_masks}
    both = [
        (of_image[folder][0], of_mask[folder][0])
        for folder in of_image.keys() & of_mask.keys()
        if len(of_image[folder]) == len(of_mask[folder]) == 1
    ]
    return sorted((image, mask) for image, mask in both if image in left[0] and mask in left[1])


def _itself(key: _Key) -> _Key:
    return key


def _bare(key: _Key) -> _Key:
    return key[0], bare(key[1])


def _folded(key: _Key) -> _Key:
    return folded(key[0]), folded(bare(key[1]))


def _in_such_folders(key: _Key) -> tuple[frozenset[str], str]:
    return _places(key[0]), _folded(key)[1]


def _stem_alone(key: _Key) -> str:
    return _folded(key)[1]


def _folders_agree(image: _Key, mask: _Key) -> bool:
    """Return whether one of the two lies in no folder that the other does not lie in too."""
    of_image, of_mask = _places(image[0]), _places(mask[0])
    return of_image <= of_mask or of_mask <= of_image


@cache
def _places(folder: str) -> frozenset[str]:
    """Return the names of the folders, without words for images and masks: `P1_masks` is the place that `P1` is."""
    places: set[str] = set()
    for part in folders_between(Path(folder).parts):
        if meaning(part) is None:
            words = split_words(folded(part), digits=True)
            kept = [word for word in words if (said := meaning(word)) is None or said.in_a_pair]
            places.add(" ".join(kept))
    return frozenset(places - {""})


def _words(key: _Key) -> _Key:
    """Return the words of folders and stem, numbers without zeros before them; folders of images and masks say none."""
    folders = [part for part in folders_between(Path(key[0]).parts) if meaning(part) is None]
    words = split_words(folded(" ".join([*folders, bare(key[1])])), digits=True)
    return "", " ".join(word.lstrip("0") or "0" if word.isdecimal() else word for word in words)


def _all_words(key: _Key) -> tuple[str, ...]:
    """Return the words of folders and stem, each once, and the numbers; none of images and masks.

    `tumor1` and `tumor/1` have the same, and `no1` others, though all of them are slice 1.
    """
    parts = re.findall(r"[^\W\d_]+|\d+", folded("/".join(key)))
    words = [part for part in parts if (said := meaning(part)) is None or said.in_a_pair]
    return tuple(
        word.lstrip("0") or "0" if word.isdecimal() else word
        for place, word in enumerate(words)
        if word.isdecimal() or word not in words[:place]
    )


def _by_what_differs(images: Mapping[_Key, list[Path]], masks: Mapping[_Key, list[Path]]) -> dict[_Key, _Key]:
    """Return the mask of each image by what is left of their stems without the words that all of a kind have.

    Words with a number may be patients, and are kept; names of sequences are not. Nothing is returned unless each image
    has a mask of its own so.
    """
    if len(images) < _FEWEST or len(masks) < len(images):
        return {}
    of_image, of_mask = _distinct(images), _distinct(masks)
    by_rest = {rest: key for key, rest in of_mask.items()}
    found = {key: by_rest[rest] for key, rest in of_image.items() if rest and rest in by_rest}
    is_whole = len(found) == len(images) == len(set(of_image.values())) and len(by_rest) == len(masks)
    return found if is_whole and all(_folders_agree(*one) for one in found.items()) else {}


def _distinct(keys: Iterable[_Key]) -> dict[_Key, tuple[str, ...]]:
    """Return the words of each stem without those that all stems begin or end with."""
    words = {key: split_words(folded(bare(key[1])), digits=True) for key in keys}
    rests = list(words.values())
    first = last = 0
    while all(len(rest) > first and _says_nothing(rest[first], rests[0][first]) for rest in rests):
        first += 1
    while all(len(rest) > first + last and _says_nothing(rest[-1 - last], rests[0][-1 - last]) for rest in rests):
        last += 1
    return {key: tuple(rest[first : len(rest) - last]) for key, rest in words.items()}


def _says_nothing(word: str, other: str) -> bool:
    has_number = any(character.isdigit() for character in word)
    return word == other and (not has_number or word in SEQUENCES)


def _matches(
    images: Mapping[_Key, list[Path]],
    masks: Mapping[_Key, list[Path]],
    alike: Callable[[_Key], Hashable],
    fit: Callable[[_Key, _Key], bool] | None = None,
) -> list[tuple[_Key, _Key]]:
    """Return the keys of images and masks that are alike, and fit, where only one of each does."""
    of_image, of_mask = _grouped(images, alike), _grouped(masks, alike)
    found: list[tuple[_Key, _Key]] = []
    for name in of_image.keys() & of_mask.keys():
        both = [(image, mask) for image in of_image[name] for mask in of_mask[name] if fit is None or fit(image, mask)]
        times = Counter(image for image, _ in both), Counter(mask for _, mask in both)
        found += [(image, mask) for image, mask in both if times[0][image] == times[1][mask] == 1]
    return sorted(found)


def _grouped(keys: Iterable[_Key], alike: Callable[[_Key], Hashable]) -> dict[Hashable, list[_Key]]:
    groups: dict[Hashable, list[_Key]] = defaultdict(list)
    for one in keys:
        groups[alike(one)].append(one)
    return groups


def _by_key(place: Place, volumes: bool) -> dict[_Key, list[Path]]:
    files: dict[_Key, list[Path]] = defaultdict(list)
    for path in filter(is_nifti, place.files(*NIFTI_SUFFIXES)) if volumes else place.files():
        files[path.parent.relative_to(place.folder).as_posix(), _stem(path)].append(path)
    return files


def _stem(path: Path) -> str:
    return volume_stem(path) if is_nifti(path) else path.stem


def folders_below(folder: Path, path: Path) -> Folders:
    """Return the folders between a folder and a file."""
    return folders_between(path.parent.relative_to(folder).parts)
